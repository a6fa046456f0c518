import Domain
import Logging
import Synchronization

/// Warns of proxies that no setting names, once each.
///
/// Behind such a proxy all clients share one address: one that guesses passwords makes the limits refuse everybody.
final class UntrustedPeers: Sendable {
    private let warned = Mutex<Set<IPAddress>>([])

    /// The most addresses to remember: any client may send the header.
    private static let limit = 1000

    /// Logs a warning at the first request from a peer that names another client and is not trusted.
    ///
    /// - Parameters:
    ///   - origin: Where the request comes from.
    ///   - settings: The trusted proxies.
    ///   - logger: Receives the warning.
    func note(_ origin: RequestOrigin, _ settings: HTTPSettings, _ logger: Logger) {
        let peer = origin.peer
        guard origin.client == peer, !settings.trustedProxies.contains(peer) else { return }
        let isNew = warned.withLock { $0.count < Self.limit && $0.insert(peer).inserted }
        guard isNew else { return }
        logger.warning(
            "a peer that is not trusted sends X-Forwarded-For: the address in it does not count",
            metadata: ["peer": "\(peer)", "remedy": "if it is your proxy, add its address to TRUSTED_PROXIES"])
    }
}
