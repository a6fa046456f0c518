import AsyncHTTPClient
import Domain
import NIOCore
import NIOSSL
import Synchronization

/// HTTP clients that connect to one address, whatever its name resolves to at that moment.
///
/// The rules check an address, and the connection must go to the same address: a second look-up could bring another one (DNS
/// rebinding). `dnsOverride` of a client replaces the look-up by the address. TLS still asks for the certificate of the name, and the
/// request names the name in `Host`. The override is a setting of the whole client; each pair of name and address therefore has its
/// own client.
final class PinnedClients: Sendable {
    private struct Key: Hashable {
        var host: WebhookURL.Host
        var address: IPAddress
    }

    private struct Entry {
        let client: HTTPClient
        var users = 0
        var lastUse = 0
    }

    private struct State {
        var entries: [Key: Entry] = [:]
        var uses = 0
    }

    /// How many clients are kept for the next delivery.
    ///
    /// A new client reads the certificates of the system, which takes some milliseconds.
    private static let capacity = 64

    private let state = Mutex(State())
    private let configuration: HTTPClient.Configuration

    /// Clients with common settings.
    ///
    /// - Parameters:
    ///   - limits: The times.
    ///   - certificates: A file of certificates to trust in place of the system's; nil for the system's.
    init(limits: DeliveryLimits, certificates: String?) {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let certificates { tls.trustRoots = .file(certificates) }
        // Without `proxy`, the client uses none: it reads no variable of the environment.
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(limits.connect)),
            connectionPool: .init(idleTimeout: .seconds(5)))
        configuration.httpVersion = .http1Only
        // The schedule of the delivery decides about another try.
        configuration.connectionPool.retryConnectionEstablishment = false
        self.configuration = configuration
    }

    /// Lends a client that connects to an address.
    ///
    /// - Throws: What `body` throws.
    func withClient<Result>(
        for host: WebhookURL.Host, at address: IPAddress, _ body: (HTTPClient) async throws -> Result
    ) async throws -> Result {
        let key = Key(host: host, address: address)
        let client = state.withLock { state in
            state.uses += 1
            var entry = state.entries[key] ?? Entry(client: makeClient(key))
            entry.users += 1
            entry.lastUse = state.uses
            state.entries[key] = entry
            return entry.client
        }
        do {
            let result = try await body(client)
            await giveBack(key)
            return result
        } catch {
            await giveBack(key)
            throw error
        }
    }

    private func makeClient(_ key: Key) -> HTTPClient {
        var configuration = configuration
        if case .name(let name) = key.host { configuration.dnsOverride = [name: key.address.description] }
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    private func giveBack(_ key: Key) async {
        let surplus = state.withLock { state -> HTTPClient? in
            state.entries[key]?.users -= 1
            guard state.entries.count > Self.capacity else { return nil }
            let idle = state.entries.filter { $0.value.users == 0 }
            guard let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse }) else { return nil }
            state.entries[oldest.key] = nil
            return oldest.value.client
        }
        try? await surplus?.shutdown()
    }

    /// Closes all connections.
    ///
    /// No client is in use.
    func shutDown() async {
        let entries = state.withLock { state in
            defer { state.entries = [:] }
            return state.entries.values
        }
        for entry in entries { try? await entry.client.shutdown() }
    }
}
