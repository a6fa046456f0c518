import FoundationEssentials

/// The key that signs the deliveries to one endpoint, as the Standard Webhooks specification writes it.
///
/// > "The secret should be between 24 bytes (192 bits) and 64 bytes (512 bits)", "base64 encoded, prefixed with `whsec_`"
/// > (Standard Webhooks, "Signature scheme")
public struct WebhookSecret: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    private static let prefix = "whsec_"
    /// The number of bytes that a key can have.
    public static let sizes = 24...64

    /// The bytes of the key.
    public let bytes: [UInt8]

    /// A key from the database; nil for bytes that are too few or too many.
    public init?(bytes: [UInt8]) {
        guard Self.sizes.contains(bytes.count) else { return nil }
        self.bytes = bytes
    }

    /// Reads a key in the form of ``text``; nil for any other text.
    public init?(text: String) {
        guard text.hasPrefix(Self.prefix) else { return nil }
        let digits = String(text.dropFirst(Self.prefix.count))
        // Foundation's decoder accepts a last digit with bits that no byte uses. Every key has one text.
        guard let data = Data(base64Encoded: digits), data.base64EncodedString() == digits else { return nil }
        self.init(bytes: Array(data))
    }

    /// Makes a new key of 32 random bytes.
    public static func random() -> WebhookSecret {
        var generator = SystemRandomNumberGenerator()
        return WebhookSecret(unchecked: (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    private init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// The key for its receiver: `whsec_` and Base64.
    public var text: String { Self.prefix + Data(bytes).base64EncodedString() }

    /// A fixed word: the key must not reach a log.
    public var description: String { "a webhook secret" }

    /// The same word: a dump must not show the key either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
