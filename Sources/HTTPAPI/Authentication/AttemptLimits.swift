import Crypto
import Domain
import FoundationEssentials
import Logging
import Store

/// Limits how often a client may guess a password, and how often it may sign in, by account and by address.
///
/// The server charges an attempt before it checks the password, and refunds the charge if the password is right.
/// Counting after the check would let unlimited parallel guesses through. An unknown account is charged like a known
/// one.
///
/// Each sign-in with the right password is charged to a second, wider pair of limits: it costs a hash and some rows.
struct AttemptLimits: Sendable {
    let attempts: AttemptStore
    let settings: HTTPSettings

    private var limits: SignInLimits { settings.signIn.limits }

    /// Charges an attempt to present a password.
    ///
    /// - Parameters:
    ///   - account: The e-mail address of the account; nil if the client sent something else.
    ///   - address: The address of the client; nil if it is unknown.
    /// - Returns: What to refund if the password is right.
    /// - Throws: A 429 after too many failed attempts.
    func charge(account: EmailAddress?, from address: IPAddress?) async throws -> [AttemptStore.Subject] {
        let subjects =
            subject("account", account?.description.utf8, limit: limits.perAccount)
            + subject("address", address?.network.bytes, limit: limits.perAddress)
        guard !subjects.isEmpty else { return [] }
        if let wait = try await attempts.charge(subjects, period: limits.period) {
            throw Problem.limited("Too many failed attempts to sign in.", wait: wait)
        }
        return subjects
    }

    /// Refunds a charge.
    ///
    /// A failure of the refund is logged only: the user has signed in.
    func refund(_ subjects: [AttemptStore.Subject], logger: Logger) async {
        guard !subjects.isEmpty else { return }
        do {
            try await attempts.refund(subjects, period: limits.period)
        } catch {
            logger.warning("cannot refund an attempt to sign in", metadata: ["error": "\(error)"])
        }
    }

    /// Charges a sign-in with the right password.
    ///
    /// - Throws: A 429 after too many sign-ins.
    func chargeSignIn(account: EmailAddress, from address: IPAddress?) async throws {
        let subjects =
            subject("sign-ins of account", account.description.utf8, limit: limits.signInsPerAccount)
            + subject("sign-ins from address", address?.network.bytes, limit: limits.signInsPerAddress)
        if !subjects.isEmpty, let wait = try await attempts.charge(subjects, period: limits.period) {
            throw Problem.limited("Too many sign-ins.", wait: wait)
        }
    }

    /// Refuses a request from an address that has sent too many bad refresh tokens.
    ///
    /// Nobody can guess 256 bits. This limit only protects the database. Therefore the server charges failures alone.
    ///
    /// - Throws: A 429 after too many bad tokens.
    func checkRefresh(from address: IPAddress?) async throws {
        let subjects = refreshSubject(address)
        guard !subjects.isEmpty, let wait = try await attempts.wait(for: subjects, period: limits.period) else {
            return
        }
        throw Problem.limited("Too many invalid refresh tokens.", wait: wait)
    }

    /// Charges a bad refresh token to the address it came from.
    func chargeRefresh(from address: IPAddress?) async throws {
        let subjects = refreshSubject(address)
        if !subjects.isEmpty { _ = try await attempts.charge(subjects, period: limits.period) }
    }

    private func refreshSubject(_ address: IPAddress?) -> [AttemptStore.Subject] {
        subject("refresh", address?.network.bytes, limit: limits.perAddress)
    }

    /// A subject of a limit; none if the limit is off or its value is unknown.
    ///
    /// Its key is a hash, which does not reveal the account or the address.
    private func subject(_ kind: String, _ value: (some Sequence<UInt8>)?, limit: Int) -> [AttemptStore.Subject] {
        guard limit > 0, let value else { return [] }
        return [.init(key: Data(SHA256.hash(data: Data(kind.utf8) + [0] + Data(value))), limit: limit)]
    }
}
