/// A ticket for one stream: 256 random bits that are known to the client alone.
///
/// It travels in a URL, where proxies and browsers may keep it; so it lives briefly, and is good for one use. The
/// database holds its hash.
public struct StreamTicket: Sendable {
    /// What the client is given: base64url without padding (RFC 4648, section 5), which a URL takes as it is.
    public let text: String
    /// What is stored.
    public var hash: [UInt8] { RandomSecret.hash(of: text) }

    /// Makes a new ticket.
    public init() { text = RandomSecret.text() }

    /// A ticket that a client presents; nil for what cannot be one, so that nobody has to be asked about it.
    public init?(_ text: String) {
        let isBase64URL = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
        // 256 bits, six in each character.
        guard text.utf8.count == 43, isBase64URL else { return nil }
        self.text = text
    }
}
