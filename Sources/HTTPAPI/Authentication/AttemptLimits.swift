import Crypto
import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Store

/// Limits the guessing of passwords, on an account and from an address.
///
/// An attempt is charged before the password is looked at, and refunded when it was right: what would be counted afterwards
/// would let any number of guesses through that come at once. Whether there is such an account makes no difference here.
struct AttemptLimits: Sendable {
    let attempts: AttemptStore
    let settings: HTTPSettings

    private var limits: SignInLimits { settings.signIn.limits }

    /// Charges an attempt to sign in with an address; nil when what was given is none.
    ///
    /// - Returns: What to refund when the password turns out to be right.
    /// - Throws: A 429 when there were too many.
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

    /// Takes a charge back.
    ///
    /// Who has signed in is not turned away because this failed.
    func refund(_ subjects: [AttemptStore.Subject], logger: Logger) async {
        guard !subjects.isEmpty else { return }
        do {
            try await attempts.refund(subjects, period: limits.period)
        } catch {
            logger.warning("cannot refund an attempt to sign in", metadata: ["error": "\(error)"])
        }
    }

    /// Sees that not too many bad refresh tokens came from where this request does.
    ///
    /// Nobody guesses 256 bits: this spares the database, so it is charged only after a failure.
    ///
    /// - Throws: A 429 when there were too many.
    func checkRefresh(_ request: Request, _ context: AppContext) async throws {
        let subjects = origin("refresh", request, context)
        guard !subjects.isEmpty, let wait = try await attempts.wait(for: subjects, period: limits.period) else {
            return
        }
        throw Problem.limited("Too many refresh tokens that are worth nothing.", wait: wait)
    }

    /// Charges a refresh token that was worth nothing.
    func chargeRefresh(_ request: Request, _ context: AppContext) async throws {
        let subjects = origin("refresh", request, context)
        if !subjects.isEmpty { _ = try await attempts.charge(subjects, period: limits.period) }
    }

    /// Where the request comes from, if that is limited and known.
    private func origin(_ kind: String, _ request: Request, _ context: AppContext) -> [AttemptStore.Subject] {
        guard limits.perAddress > 0, let peer = context.connection.channel.remoteAddress.flatMap(NetworkAddress.init)
        else { return [] }
        let forwarded = request.headers[values: .forwardedFor].flatMap { $0.split(separator: ",") }
        let client = settings.trustedProxies.client(peer: peer, forwarded: forwarded)
        return [.init(key: key(kind, client.customer), limit: limits.perAddress)]
    }

    /// Names a subject without telling what it is.
    private func key(_ kind: String, _ value: some Sequence<UInt8>) -> Data {
        Data(SHA256.hash(data: Data(kind.utf8) + [0] + Data(value)))
    }
}
