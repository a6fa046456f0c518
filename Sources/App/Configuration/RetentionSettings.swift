public import SettingsReading

/// How long the server keeps what it may forget: the group of `RETAIN_…`.
public struct RetentionSettings: Sendable {
    /// How long transitions are kept, or nil for ever.
    public var events: Duration?
    /// How long records of the audit log are kept, or nil for ever.
    public var audit: Duration?
    /// How long recordings of finished sessions are kept, or nil for ever.
    public var recordings: Duration?
    /// How long the last words of failed stages are kept, or nil for ever.
    public var failures: Duration?

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Retention")
        func age(_ name: String, _ meaning: String) throws(SettingError) -> Duration? {
            let age = try reader.seconds(name, in: 0...1_000_000_000, default: 0, meaning)
            return age == .zero ? nil : age
        }
        events = try age(
            "RETAIN_EVENTS",
            "How long the transitions of sessions are kept, in seconds; 0: as long as their session. The latest one stays. A "
                + "client that resumes a stream after a longer time misses older ones.")
        audit = try age(
            "RETAIN_AUDIT",
            "How long records of the [audit log](http-api.md#audit-log) are kept, in seconds; 0: for ever. Each removal leaves one "
                + "record.")
        recordings = try age(
            "RETAIN_RECORDINGS",
            "How long the recording of a session is kept after the session has been processed or has failed, in seconds; 0: as "
                + "long as its session. Without its recording, a session cannot be retried.")
        failures = try age(
            "RETAIN_FAILURES",
            "How long the last words of failed stages are kept, in seconds; 0: as long as their session.")
    }
}
