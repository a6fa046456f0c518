public import App

extension DatabaseTimeouts {
    /// As long as a busy machine may take.
    public static var patient: DatabaseTimeouts {
        var timeouts = DatabaseTimeouts()
        timeouts.connect = .seconds(60)
        timeouts.lease = .seconds(60)
        timeouts.query = .seconds(120)
        return timeouts
    }

    /// The server's own: where the database is away, a test that waits for word of that is over sooner.
    public static var impatient: DatabaseTimeouts { DatabaseTimeouts() }
}
