public import SettingsReading

/// How long a sign-in lasts, and how many attempts may fail.
public struct SignInSettings: Sendable {
    /// How long an access token is valid.
    public let accessLifetime: Duration
    /// How long a client can refresh a sign-in.
    public let refreshLifetime: Duration
    /// How many attempts to sign in may fail.
    public let limits: SignInLimits

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Sign-in")
        accessLifetime = try reader.seconds(
            "JWT_ACCESS_TTL", in: 1...86_400, default: 1800, "How long an access token is valid.")
        refreshLifetime = try reader.seconds(
            "JWT_REFRESH_TTL", in: 1...31_536_000, default: 604_800, "How long a sign-in can be refreshed.")
        limits = try SignInLimits(reader)
    }
}

/// How many attempts to sign in may fail.
public struct SignInLimits: Sendable {
    /// The maximum on one account; 0 for no limit.
    public let perAccount: Int
    /// The maximum from one address; 0 for no limit.
    public let perAddress: Int
    /// The time in which the attempts count.
    public let period: Duration

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    init(_ reader: SettingsReader) throws(SettingError) {
        perAccount = try reader.integer(
            "LOGIN_MAX_FAILURES_PER_ACCOUNT", in: 0...1_000_000, default: 10,
            "Failed attempts to sign in to one account within `LOGIN_FAILURE_PERIOD`; one more gets 429. 0: no limit; see "
                + "[security](security.md).")
        perAddress = try reader.integer(
            "LOGIN_MAX_FAILURES_PER_ADDRESS", in: 0...1_000_000, default: 100,
            "The same from one address. 0: no limit.")
        period = try reader.seconds(
            "LOGIN_FAILURE_PERIOD", in: 1...86_400, default: 900, "The time in which failed attempts wear off.")
    }
}
