/// How long the server waits for its database until it says that it is not there (503).
///
/// These are no settings: a user does not wait for longer, however slow a database is.
public struct DatabaseTimeouts: Sendable {
    /// For a connection to be made.
    public var connect = Duration.seconds(5)
    /// For one of the pool's connections to be free.
    public var lease = Duration.seconds(5)
    /// For an answer.
    public var query = Duration.seconds(10)

    public init() {}
}
