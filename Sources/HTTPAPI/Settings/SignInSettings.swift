public import SettingsReading
import Store

/// How long a sign-in lasts, and how many sign-ins and attempts there may be.
public struct SignInSettings: Sendable {
    /// How long an access token is valid.
    public let accessLifetime: Duration
    /// How long a client can refresh a sign-in.
    public let refreshLifetime: Duration
    /// The time in which a spent refresh token is answered again.
    let refreshGrace: Duration
    /// How long a sign-in lasts with refreshes.
    let maximumAge: Duration
    /// The greatest number of sign-ins of an account.
    let perUser: Int
    /// How many attempts to sign in there may be.
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
            "JWT_REFRESH_TTL", in: 1...31_536_000, default: 604_800, "How long a sign-in lasts without a refresh.")
        refreshGrace = try reader.seconds(
            "JWT_REFRESH_GRACE", in: 0...300, default: 10,
            "How long a spent refresh token is answered again, because its answer may have been lost; see "
                + "[security](security.md#refresh-tokens).")
        maximumAge = try reader.seconds(
            "SIGN_IN_MAX_AGE", in: 1...315_360_000, default: 2_592_000,
            "How long a sign-in lasts with refreshes. Tokens of `token` last as long as their `--ttl`.")
        perUser = try reader.integer(
            "SIGN_INS_PER_USER", in: 1...10_000, default: 50,
            "Sign-ins of one account. One more ends the oldest. Tokens of `token` do not count.")
        limits = try SignInLimits(reader)
    }

    /// The terms of a sign-in, for the database.
    var terms: SignInStore.Terms {
        SignInStore.Terms(
            lifetime: refreshLifetime, maximumAge: maximumAge, maximumCount: perUser, grace: refreshGrace)
    }
}

/// How many attempts to sign in there may be.
public struct SignInLimits: Sendable {
    /// The maximum of failed attempts on one account; 0 for no limit.
    public let perAccount: Int
    /// The maximum of failed attempts from one address; 0 for no limit.
    public let perAddress: Int
    /// The maximum of successful sign-ins to one account; 0 for no limit.
    let signInsPerAccount: Int
    /// The maximum of successful sign-ins from one address; 0 for no limit.
    let signInsPerAddress: Int
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
        signInsPerAccount = try reader.integer(
            "LOGIN_MAX_PER_ACCOUNT", in: 0...1_000_000, default: 300,
            "Successful sign-ins to one account within `LOGIN_FAILURE_PERIOD`; one more gets 429. 0: no limit.")
        signInsPerAddress = try reader.integer(
            "LOGIN_MAX_PER_ADDRESS", in: 0...1_000_000, default: 3000,
            "The same from one address. 0: no limit.")
        period = try reader.seconds(
            "LOGIN_FAILURE_PERIOD", in: 1...86_400, default: 900,
            "How long it takes until a used-up limit of attempts is whole again.")
    }
}
