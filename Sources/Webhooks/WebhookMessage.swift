import Crypto
public import Domain
import FoundationEssentials
public import Store

/// The request of a delivery, without its target: a body and the headers of Standard Webhooks.
///
/// The body has ids and numbers, and no data of a patient. A receiver with the right to more asks the API.
public struct WebhookMessage: Sendable {
    /// The body, the same in every attempt.
    public let body: [UInt8]
    /// The headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    public let headers: [(name: String, value: String)]

    private struct Body: Encodable {
        struct Content: Encodable {
            var sessionID: SessionID
            var status: String
            var version: Int64
            var attempt: Int

            enum CodingKeys: String, CodingKey {
                case sessionID = "session_id"
                case status, version, attempt
            }
        }

        var type: String
        var timestamp: Timestamp
        var data: Content
    }

    /// Writes and signs a delivery.
    ///
    /// - Parameters:
    ///   - delivery: The delivery.
    ///   - time: The time of the attempt, by which a receiver refuses a message that somebody replays.
    public init(_ delivery: ClaimedDelivery, at time: Timestamp) {
        let content = Body(
            type: "session." + delivery.status, timestamp: delivery.at,
            data: .init(
                sessionID: delivery.session, status: delivery.status, version: delivery.version,
                attempt: delivery.attempt))
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(content) else {
            preconditionFailure("a message cannot be encoded as JSON")
        }
        let bytes = Array(data)
        body = bytes
        let id = delivery.id.description
        let seconds = "\(time.microsecondsSinceEpoch / 1_000_000)"
        let signatures = delivery.secrets.map { Self.signature(of: bytes, id: id, timestamp: seconds, by: $0) }
        headers = [
            ("webhook-id", id), ("webhook-timestamp", seconds),
            ("webhook-signature", signatures.joined(separator: " ")),
        ]
    }

    /// Signs a message.
    ///
    /// > "the message id, timestamp and payload are concatenated with full-stops: `msg_id.timestamp.payload`" … "The signature is
    /// > base64 encoded", with the prefix `v1,` (Standard Webhooks, "Signature scheme")
    static func signature(of body: [UInt8], id: String, timestamp: String, by secret: WebhookSecret) -> String {
        var mac = HMAC<SHA256>(key: SymmetricKey(data: secret.bytes))
        mac.update(data: Array("\(id).\(timestamp).".utf8))
        mac.update(data: body)
        return "v1," + Data(mac.finalize()).base64EncodedString()
    }
}
