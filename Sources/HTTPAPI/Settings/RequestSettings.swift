public import SettingsReading

/// How slow, and how many, clients may be.
public struct RequestSettings: Sendable {
    /// How long the head of a request may take.
    public let headTimeout: Duration
    /// How long a body may stand still.
    public let bodyTimeout: Duration
    /// The most connections besides the streams.
    public let maximumConnections: Int

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        headTimeout = try reader.seconds(
            "HTTP_HEAD_TIMEOUT", in: 0.1...3600, default: 20,
            "How long the head of a request may take, from its first byte.")
        bodyTimeout = try reader.seconds(
            "HTTP_BODY_TIMEOUT", in: 0.1...3600, default: 30, "How long the body of a request may stand still.")
        maximumConnections = try reader.integer(
            "HTTP_MAX_CONNECTIONS", in: 1...10_000_000, default: 20_000,
            "The most connections besides the streams. One more waits until another is closed.")
    }
}
