import Crypto
import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Store

/// Limits how often a client may guess a password, by account and by address.
///
/// The server charges an attempt before it verifies the password, and refunds the charge if the password is right.
/// Counting after the check would let unlimited parallel guesses through. An unknown account is charged like a known
/// one.
struct AttemptLimits: Sendable {
    let attempts: AttemptStore
    let settings: HTTPSettings

    private var limits: SignInLimits { settings.signIn.limits }

    /// Charges an attempt to sign in.
    ///
    /// - Parameters:
    ///   - account: The e-mail address of the account; nil if the client sent something else.
    ///   - request: The request.
    ///   - context: Its context.
    /// - Returns: What to refund if the password is right.
    /// - Throws: A 429 after too many failed attempts.
    func charge(
        account: EmailAddress?, _ request: Request, _ context: AppContext
    ) async throws -> [AttemptStore.Subject] {
        var subjects: [AttemptStore.Subject] = []
        if let account, limits.perAccount > 0 {
            subjects.append(.init(key: key("account", account.description.utf8), limit: limits.perAccount))
        }
        subjects += origin("address", request, context)
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

    /// Refuses a request from an address that has sent too many bad refresh tokens.
    ///
    /// Nobody can guess 256 bits. This limit only protects the database. Therefore the server charges failures alone.
    ///
    /// - Throws: A 429 after too many bad tokens.
    func checkRefresh(_ request: Request, _ context: AppContext) async throws {
        let subjects = origin("refresh", request, context)
        guard !subjects.isEmpty, let wait = try await attempts.wait(for: subjects, period: limits.period) else {
            return
        }
        throw Problem.limited("Too many invalid refresh tokens.", wait: wait)
    }

    /// Charges a bad refresh token to the address it came from.
    func chargeRefresh(_ request: Request, _ context: AppContext) async throws {
        let subjects = origin("refresh", request, context)
        if !subjects.isEmpty { _ = try await attempts.charge(subjects, period: limits.period) }
    }

    /// The address that a request comes from, as a subject of a limit; empty if the limit is off or the address is
    /// unknown.
    private func origin(_ kind: String, _ request: Request, _ context: AppContext) -> [AttemptStore.Subject] {
        guard limits.perAddress > 0, let peer = context.connection.channel.remoteAddress.flatMap(NetworkAddress.init)
        else { return [] }
        let forwarded = request.headers[values: .forwardedFor].flatMap { $0.split(separator: ",") }
        let client = settings.trustedProxies.client(peer: peer, forwarded: forwarded)
        return [.init(key: key(kind, client.customer), limit: limits.perAddress)]
    }

    /// The name of a subject: a hash, which does not reveal the account or the address.
    private func key(_ kind: String, _ value: some Sequence<UInt8>) -> Data {
        Data(SHA256.hash(data: Data(kind.utf8) + [0] + Data(value)))
    }
}
