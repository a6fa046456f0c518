import Domain
import Foundation
import Store
import Testing

@testable import Webhooks

/// The bodies and signatures of deliveries.
@Suite struct WebhookMessageTests {
    private static let session = SessionID.random()

    private static func delivery(secrets: [WebhookSecret]) -> ClaimedDelivery {
        ClaimedDelivery(
            id: .random(), lease: UUID(), webhook: .random(), url: "https://a.example/", secrets: secrets,
            status: "processed", at: Timestamp(microsecondsSinceEpoch: 1_700_000_000_123_456), session: session,
            version: 12,
            attempt: 2, tries: 0)
    }

    @Test("The signature is that of the specification's example")
    func example() throws {
        // From the tests of the reference libraries of Standard Webhooks.
        let secret = try #require(WebhookSecret(text: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        let signature = WebhookMessage.signature(
            of: Array(#"{"test": 2432232314}"#.utf8), id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: "1614265330",
            by: secret)
        #expect(signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
    }

    @Test("The body has the type, the time of the transition, and ids and numbers alone")
    func body() throws {
        let message = WebhookMessage(Self.delivery(secrets: [.random()]), at: .now())
        #expect(
            String(decoding: message.body, as: UTF8.self)
                == #"{"data":{"attempt":2,"session_id":"\#(Self.session)","status":"processed","version":12},"#
                + #""timestamp":"2023-11-14T22:13:20.123456Z","type":"session.processed"}"#)
    }

    @Test("Two attempts of a delivery have the same id and body, and each has the time of its attempt")
    func attempts() throws {
        let delivery = Self.delivery(secrets: [.random()])
        let first = WebhookMessage(delivery, at: Timestamp(microsecondsSinceEpoch: 1_700_000_000_999_999))
        let second = WebhookMessage(delivery, at: Timestamp(microsecondsSinceEpoch: 1_700_000_300_000_000))
        #expect(first.body == second.body)
        let (one, two) = (Dictionary(first), Dictionary(second))
        #expect(one["webhook-id"] == delivery.id.description)
        #expect(one["webhook-id"] == two["webhook-id"])
        #expect((one["webhook-timestamp"], two["webhook-timestamp"]) == ("1700000000", "1700000300"))
        #expect(one["webhook-signature"] != two["webhook-signature"])
    }

    @Test("After a change of the secret, both secrets sign, the new one first")
    func rotation() throws {
        let (new, old) = (WebhookSecret.random(), WebhookSecret.random())
        let delivery = Self.delivery(secrets: [new, old])
        let message = WebhookMessage(delivery, at: Timestamp(microsecondsSinceEpoch: 1_700_000_000_000_000))
        let signatures = [new, old].map {
            WebhookMessage.signature(of: message.body, id: delivery.id.description, timestamp: "1700000000", by: $0)
        }
        #expect(Dictionary(message)["webhook-signature"] == signatures.joined(separator: " "))
    }
}

extension Dictionary<String, String> {
    fileprivate init(_ message: WebhookMessage) {
        self.init(uniqueKeysWithValues: message.headers.map { ($0.name, $0.value) })
    }
}
