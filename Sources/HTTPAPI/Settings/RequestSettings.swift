public import SettingsReading

/// How slow clients may be, how many requests they may send, and how many connections there may be.
public struct RequestSettings: Sendable {
    /// How long the head of a request may take.
    public let headTimeout: Duration
    /// How long the body of a request may stand still.
    public let bodyTimeout: Duration
    /// The maximum number of connections, without the streams.
    public let maximumConnections: Int
    /// How many requests a second may come under one sign-in; 0 for no limit.
    public let perSignIn: Int
    /// How many requests a second may come from one address; 0 for no limit.
    public let perAddress: Int

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
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
        perSignIn = try reader.integer(
            "REQUESTS_PER_SIGN_IN", in: 0...1_000_000, default: 200,
            "Requests a second under one sign-in, averaged over 10 s; one more gets 429. Streams and progress reports "
                + "are free. 0: no limit.")
        perAddress = try reader.integer(
            "REQUESTS_PER_ADDRESS", in: 0...1_000_000, default: 2000,
            "The same from one address. Refused streams and reports count, too. 0: no limit.")
    }
}
