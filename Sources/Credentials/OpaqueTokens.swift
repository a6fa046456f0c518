import Crypto
import FoundationEssentials

/// A refresh token: 256 random bits that only the client has.
///
/// The database has their hash.
public struct RefreshToken: Sendable {
    /// The text for the client: Base64url without padding (RFC 4648, 5).
    public let text: String
    /// The hash for the database.
    public var hash: [UInt8] { Self.hash(of: text) }

    /// Makes a new token.
    public init() { text = RandomSecret.text() }

    /// The hash of a token that a client presents.
    public static func hash(of text: String) -> [UInt8] { RandomSecret.hash(of: text) }
}

/// A ticket for one stream: 256 random bits that only the client has.
///
/// It travels in a URL, which proxies and browsers may store. A ticket therefore expires soon, and works once. The
/// database has its hash.
public struct StreamTicket: Sendable {
    /// The text for the client: Base64url without padding (RFC 4648, 5), which a URL can hold unchanged.
    public let text: String
    /// The hash for the database.
    public var hash: [UInt8] { RandomSecret.hash(of: text) }

    /// Makes a new ticket.
    public init() { text = RandomSecret.text() }

    /// Reads a ticket that a client presents; nil if the text cannot be one, which spares a query.
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

/// Makes texts that nobody can guess, and the hashes that the database stores.
enum RandomSecret {
    /// 256 random bits in Base64url without padding (RFC 4648, 5).
    static func text() -> String {
        Base64URL.encode(SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) })
    }

    /// The hash that the database stores.
    ///
    /// 256 random bits need neither salt nor a slow hash: nobody can try them all.
    static func hash(of text: String) -> [UInt8] {
        Array(SHA256.hash(data: Data(text.utf8)))
    }
}
