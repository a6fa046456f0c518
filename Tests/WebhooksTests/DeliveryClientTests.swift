import Domain
import Foundation
import NIOHTTP1
import Polling
import ServerTestSupport
import Store
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import Webhooks

/// A resolver whose answers a test writes.
final class WrittenResolver: NameResolver {
    private let answers: Mutex<[[String]]>
    private let asked = Mutex<[String]>([])

    /// The names that were looked up.
    var names: [String] { asked.withLock { $0 } }

    /// A resolver.
    ///
    /// - Parameter answers: The answer to each look-up; the last one stays.
    init(_ answers: [String]...) { self.answers = Mutex(answers) }

    func addresses(of name: String) -> [IPAddress] {
        asked.withLock { $0.append(name) }
        return answers.withLock { $0.count > 1 ? $0.removeFirst() : $0.first ?? [] }.compactMap { IPAddress($0) }
    }
}

/// One attempt of a delivery, over real sockets.
@Suite(.deadline) struct DeliveryClientTests {
    private static func delivery(to url: String) -> ClaimedDelivery {
        ClaimedDelivery(
            id: .random(), lease: UUID(), webhook: .random(), url: url, secrets: [.random()], status: "processed",
            at: .now(), session: .random(), version: 3, attempt: 1, tries: 0)
    }

    /// Sends one delivery.
    private func send(
        to url: String, allowsPrivateTargets: Bool = true, resolver: any NameResolver = WrittenResolver(["127.0.0.1"]),
        certificates: String? = nil, total: Duration = TestDeadline.event, clock: any MonotonicClock = ContinuousClock()
    ) async -> DeliveryClient.Outcome {
        var limits = DeliveryLimits()
        (limits.total, limits.connect) = (total, TestDeadline.event)
        let clients = PinnedClients(limits: limits, certificates: certificates)
        let client = DeliveryClient(
            rules: WebhookRules(allowsPrivateTargets: allowsPrivateTargets), resolver: resolver, limits: limits,
            clients: clients, clock: clock)
        let outcome = await client.send(Self.delivery(to: url))
        await clients.shutDown()
        return outcome
    }

    @Test("A delivery is a POST of JSON with the headers of Standard Webhooks, and Host names the name")
    func request() async throws {
        try await WebhookReceiver.with { receiver in
            let outcome = await send(to: "http://hooks.example:\(receiver.port)/in?key=1")
            #expect(outcome == .answered(204))
            let got = try #require(receiver.deliveries.first)
            #expect(got.method == .POST)
            #expect(got.target == "/in?key=1")
            #expect(got.headers["Host"] == ["hooks.example:\(receiver.port)"])
            #expect(got.headers["Content-Type"] == ["application/json"])
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
                #expect(got.headers[name].count == 1)
            }
            #expect(try got.json()["type"] as? String == "session.processed")
        }
    }

    @Test("A name that resolves differently the second time is looked up once, and the request goes to that address")
    func rebinding() async throws {
        try await WebhookReceiver.with(host: "127.0.0.2") { first in
            try await WebhookReceiver.with(port: first.port) { second in
                let resolver = WrittenResolver(["127.0.0.2"], ["127.0.0.1"])
                let outcome = await send(to: "http://hooks.example:\(first.port)/", resolver: resolver)
                #expect(outcome == .answered(204))
                #expect(resolver.names == ["hooks.example"])
                #expect(first.deliveries.count == 1)
                #expect(second.deliveries.isEmpty)
                // The next attempt asks again.
                #expect(await send(to: "http://hooks.example:\(first.port)/", resolver: resolver) == .answered(204))
                #expect(second.deliveries.count == 1)
            }
        }
    }

    @Test(
        "A name with private addresses alone gets no connection, whatever form they have",
        arguments: [
            "127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1", "0.0.0.0",
        ])
    func privateName(address: String) async throws {
        try await WebhookReceiver.with { receiver in
            let resolver = WrittenResolver([address], ["8.8.8.8"])
            let outcome = await send(
                to: "https://hooks.example:\(receiver.port)/", allowsPrivateTargets: false, resolver: resolver)
            #expect(outcome == .failed(.addressForbidden))
            #expect(resolver.names == ["hooks.example"])
            #expect(receiver.deliveries.isEmpty)
        }
    }

    @Test("The rules of the present settings decide, not those of the time when the URL was stored")
    func changedSettings() async {
        for url in ["https://127.0.0.1:1/", "https://[::ffff:7f00:1]:1/", "https://[fd00::1]/"] {
            #expect(await send(to: url, allowsPrivateTargets: false) == .failed(.addressForbidden))
        }
        #expect(await send(to: "http://hooks.example/", allowsPrivateTargets: false) == .failed(.urlForbidden))
        #expect(await send(to: "ftp://hooks.example/") == .failed(.urlForbidden))
    }

    @Test("A name without an address is not found, and one that has a second address uses it if the first refuses")
    func addresses() async throws {
        #expect(await send(to: "http://hooks.example/", resolver: WrittenResolver([])) == .failed(.nameNotFound))
        try await WebhookReceiver.with(host: "127.0.0.3") { receiver in
            let outcome = await send(
                to: "http://hooks.example:\(receiver.port)/", resolver: WrittenResolver(["127.0.0.2", "127.0.0.3"]))
            #expect(outcome == .answered(204))
        }
        let (socket, port) = try listenOnLoopback()
        close(socket)
        #expect(await send(to: "http://127.0.0.1:\(port)/") == .failed(.notConnected))
    }

    @Test("A redirect is not followed", arguments: [301, 302, 303, 307, 308])
    func redirect(status: Int) async throws {
        try await WebhookReceiver.with { inner in
            try await WebhookReceiver.with(answer: { _, _ in
                .status(status, ["Location": "http://127.0.0.1:\(inner.port)/secret"])
            }) { receiver in
                #expect(await send(to: "http://127.0.0.1:\(receiver.port)/") == .answered(status))
                #expect(receiver.deliveries.count == 1)
            }
            #expect(inner.deliveries.isEmpty)
        }
    }

    @Test("By TLS, the certificate has to be valid for the name, not for the address")
    func tls() async throws {
        try await TestCertificate.with(name: "hooks.example") { certificate in
            try await WebhookReceiver.with(certificate: certificate) { receiver in
                let url = "https://hooks.example:\(receiver.port)/"
                #expect(await send(to: url, certificates: certificate.path) == .answered(204))
                #expect(receiver.deliveries.first?.headers["Host"] == ["hooks.example:\(receiver.port)"])
                // The system does not know the certificate.
                #expect(await send(to: url) == .failed(.tls))
                let other = "https://other.example:\(receiver.port)/"
                #expect(await send(to: other, certificates: certificate.path) == .failed(.tls))
                let literal = "https://127.0.0.1:\(receiver.port)/"
                #expect(await send(to: literal, certificates: certificate.path) == .failed(.tls))
                #expect(receiver.deliveries.count == 1)
            }
            try await WebhookReceiver.with { plain in
                let outcome = await send(to: "https://hooks.example:\(plain.port)/", certificates: certificate.path)
                #expect(outcome == .failed(.tls) || outcome == .failed(.closed))
            }
        }
    }

    @Test("A receiver that answers nothing, or slowly, or never ends its answer, ends the attempt in time")
    func slow() async throws {
        for answer in [WebhookReceiver.Answer.hang, .bytes("HTTP/1.1 20"), .bytes("HTTP/1.1 200 OK\r\nX-A: b\r\n")] {
            try await WebhookReceiver.with(answer: { _, _ in answer }) { receiver in
                let clock = ManualClock()
                async let outcome = send(to: "http://127.0.0.1:\(receiver.port)/", total: .seconds(15), clock: clock)
                _ = try await receiver.next()
                try await clock.waitForSleepers(1)
                clock.advance(by: .seconds(15))
                #expect(await outcome == .failed(.timeout))
            }
        }
    }

    @Test("Headers without an end are no answer, and take a bounded memory")
    func endlessHead() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .endlessHead }) { receiver in
            #expect(await send(to: "http://127.0.0.1:\(receiver.port)/") == .failed(.malformedAnswer))
        }
    }

    @Test("The status decides, also if the body never ends or stands still")
    func endlessBody() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .endlessBody(200) }) { receiver in
            #expect(await send(to: "http://127.0.0.1:\(receiver.port)/") == .answered(200))
        }
        try await WebhookReceiver.with(answer: { _, _ in .bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1") }) {
            receiver in
            let outcome = await send(
                to: "http://127.0.0.1:\(receiver.port)/", total: .seconds(1) * TestDeadline.slowness)
            #expect(outcome == .answered(200))
        }
    }

    @Test("A connection that closes, and an answer that is no HTTP, are failures")
    func broken() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .close }) { receiver in
            #expect(await send(to: "http://127.0.0.1:\(receiver.port)/") == .failed(.closed))
        }
        try await WebhookReceiver.with(answer: { _, _ in .bytes("SSH-2.0-OpenSSH_9.2\r\n\r\n") }) { receiver in
            #expect(await send(to: "http://127.0.0.1:\(receiver.port)/") == .failed(.malformedAnswer))
        }
    }

    @Test("A cancelled attempt is interrupted")
    func cancelled() async throws {
        try await WebhookReceiver.with(answer: { _, _ in .hang }) { receiver in
            let task = Task { await send(to: "http://127.0.0.1:\(receiver.port)/") }
            _ = try await receiver.next()
            task.cancel()
            #expect(await task.value == .interrupted)
        }
    }

    @Test("Deliveries to one address share its connection, and a surplus of clients is closed")
    func clients() async throws {
        try await WebhookReceiver.with { receiver in
            let clients = PinnedClients(limits: DeliveryLimits(), certificates: nil)
            let client = DeliveryClient(
                rules: WebhookRules(allowsPrivateTargets: true), resolver: WrittenResolver(["127.0.0.1"]),
                limits: DeliveryLimits(), clients: clients, clock: ContinuousClock())
            for number in 0..<80 {
                let outcome = await client.send(Self.delivery(to: "http://n\(number).example:\(receiver.port)/"))
                #expect(outcome == .answered(204))
            }
            #expect(receiver.deliveries.count == 80)
            await clients.shutDown()
        }
    }
}
