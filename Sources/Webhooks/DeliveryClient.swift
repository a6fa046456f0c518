import AsyncHTTPClient
import Domain
import FoundationEssentials
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Polling
import Store
import Synchronization
import TextForms

/// Makes one attempt of a delivery.
struct DeliveryClient: Sendable {
    /// What came of an attempt.
    enum Outcome: Sendable, Equatable {
        /// The receiver answered with this status.
        case answered(Int)
        /// There was no answer.
        case failed(WebhookFailure)
        /// The task was cancelled. The receiver may have got the request.
        case interrupted
    }

    let rules: WebhookRules
    let resolver: any NameResolver
    let limits: DeliveryLimits
    let clients: PinnedClients
    let clock: any MonotonicClock

    /// Sends a delivery.
    ///
    /// The attempt ends in time, whatever the receiver does.
    func send(_ delivery: ClaimedDelivery) async -> Outcome {
        let answer = Answer()
        let outcome = await withTaskGroup(of: Outcome.self) { group in
            group.addTask { await attempt(delivery, answer) }
            group.addTask {
                try? await clock.sleep(for: limits.total)
                return .failed(.timeout)
            }
            let first = await group.next() ?? .interrupted
            group.cancelAll()
            return first
        }
        // The status of an answer counts, whatever becomes of its body.
        if let status = answer.status.withLock({ $0 }) { return .answered(status) }
        return Task.isCancelled ? .interrupted : outcome
    }

    /// The status of the answer, as soon as it is there.
    private final class Answer: Sendable {
        let status = Mutex<Int?>(nil)
    }

    private func attempt(_ delivery: ClaimedDelivery, _ answer: Answer) async -> Outcome {
        // The settings may have changed since the URL was stored.
        let url: WebhookURL
        do throws(WebhookURL.Fault) {
            url = try WebhookURL(delivery.url, rules: rules)
        } catch {
            return .failed(error == .address ? .addressForbidden : .urlForbidden)
        }
        do {
            let found: [IPAddress]
            switch url.host {
            case .address(let address): found = [address]
            case .name(let name): found = try await resolver.addresses(of: name)
            }
            if found.isEmpty { return .failed(.nameNotFound) }
            let permitted = found.filter(rules.permits).prefix(limits.addresses)
            if permitted.isEmpty { return .failed(.addressForbidden) }
            let message = WebhookMessage(delivery, at: .now())
            var outcome = Outcome.failed(.notConnected)
            for address in permitted {
                outcome = try await post(message, to: url, at: address, answer)
                // Without a connection, no receiver has got the request.
                guard outcome == .failed(.notConnected) else { return outcome }
            }
            return outcome
        } catch {
            return .interrupted
        }
    }

    /// Sends a message to one address.
    ///
    /// - Throws: `CancellationError` if the task is cancelled.
    private func post(
        _ message: WebhookMessage, to url: WebhookURL, at address: IPAddress, _ answer: Answer
    ) async throws -> Outcome {
        var request = HTTPClientRequest(url: url.description)
        request.method = .POST
        request.headers.add(name: "Content-Type", value: "application/json")
        request.headers.add(name: "User-Agent", value: "TherapyBridge-Webhooks")
        for header in message.headers { request.headers.add(name: header.name, value: header.value) }
        request.body = .bytes(message.body)
        // The client reads the URL with Foundation. Its host must be the one that was checked.
        guard Self.isHost(url.host, of: url.description) else { return .failed(.urlForbidden) }
        do {
            return try await clients.withClient(for: url.host, at: address) { [request] client in
                // The limit of `send` comes first. This one also holds if the clock of a test stands still.
                let response = try await client.execute(request, timeout: TimeAmount(limits.total * 2))
                let status = Int(response.status.code)
                answer.status.withLock { $0 = status }
                await drain(response.body)
                return .answered(status)
            }
        } catch {
            if Task.isCancelled { throw CancellationError() }
            return .failed(DeliveryFault.failure(of: error))
        }
    }

    /// Reads the beginning of a body, which nobody looks at.
    ///
    /// The connection of a body that ends here can serve the next delivery. Any other is closed.
    private func drain(_ body: HTTPClientResponse.Body) async {
        var bytes = 0
        do {
            for try await part in body {
                bytes += part.readableBytes
                if bytes > limits.answerBytes { return }
            }
        } catch {
            // The status was there, and decides.
        }
    }

    /// Whether Foundation reads the same host in a URL as the rules did.
    private static func isHost(_ host: WebhookURL.Host, of url: String) -> Bool {
        guard let text = URL(string: url)?.host else { return false }
        return switch host {
        case .name(let name): text == name
        case .address(let address): IPAddress(text.trimmed(of: ["[", "]"])) == address
        }
    }
}

/// Translates the errors of the HTTP client.
enum DeliveryFault {
    /// The errors of a connection that was never made.
    private static let unconnected: Set<CInt> = [
        ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, ENETDOWN, EHOSTDOWN, EAFNOSUPPORT, EACCES, EPERM,
        EMFILE, ENFILE, ETIMEDOUT,
    ]

    static func failure(of error: any Error) -> WebhookFailure {
        switch error {
        case let error as HTTPClientError:
            switch error {
            case .connectTimeout: .notConnected
            case .deadlineExceeded, .readTimeout, .tlsHandshakeTimeout: .timeout
            case .remoteConnectionClosed: .closed
            default: .other
            }
        case ChannelError.connectTimeout, is NIOConnectionError: .notConnected
        case let error as IOError: unconnected.contains(error.errnoCode) ? .notConnected : .closed
        case is ChannelError: .closed
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError: .tls
        case is HTTPParserError: .malformedAnswer
        default: .other
        }
    }
}
