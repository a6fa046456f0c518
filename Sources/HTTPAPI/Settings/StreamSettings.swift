public import SettingsReading

/// How streams behave, and how many there may be.
public struct StreamSettings: Sendable {
    /// How long a stream may be silent before a heartbeat.
    public let heartbeatInterval: Duration
    /// The time between two reads of the poll.
    public let updateInterval: Duration
    /// The maximum number of streams of all users.
    public let maximumStreams: Int
    /// The maximum number of streams of one user.
    public let maximumStreamsPerUser: Int
    /// How long a stream lives, ±10 %.
    public let maximumLifetime: Duration

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Streams")
        heartbeatInterval = try reader.seconds(
            "SSE_HEARTBEAT_INTERVAL", in: 0.1...3600, default: 15, "The longest silence on a stream.")
        updateInterval = try reader.seconds(
            "SSE_UPDATE_INTERVAL", in: 0.05...3600, default: 2, "The time between two reads of the poll.")
        maximumStreams = try reader.integer(
            "SSE_MAX_STREAMS", in: 0...10_000_000, default: 100_000,
            "The most streams of all users. One more gets `unavailable`.")
        maximumStreamsPerUser = try reader.integer(
            "SSE_MAX_STREAMS_PER_USER", in: 0...10_000_000, default: 50, "The most streams of one user.")
        maximumLifetime = try reader.seconds(
            "SSE_MAX_LIFETIME", in: 1...31_536_000, default: 3600,
            "A stream ends cleanly around then (±10 %), and the client resumes.")
    }
}
