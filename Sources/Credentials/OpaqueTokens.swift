import Crypto
import Foundation

/// A refresh token: 256 random bits that are known to the client alone.
///
/// The database holds their hash.
public struct RefreshToken: Sendable {
    /// What the client is given: base64url without padding (RFC 4648, section 5).
    public let text: String
    /// What is stored.
    public var hash: [UInt8] { Self.hash(of: text) }

    /// Makes a new token.
    public init() { text = RandomSecret.text() }

    /// The hash under which a token that a client presents would be stored.
    public static func hash(of text: String) -> [UInt8] { RandomSecret.hash(of: text) }
}

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

/// Texts that nobody can guess, and the hashes under which they are stored.
enum RandomSecret {
    /// 256 random bits in base64url without padding (RFC 4648, section 5).
    static func text() -> String {
        Base64URL.encode(SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) })
    }

    /// The hash under which a text is stored.
    ///
    /// What has 256 random bits needs neither salt nor work: nobody can try them all.
    static func hash(of text: String) -> [UInt8] {
        Array(SHA256.hash(data: Data(text.utf8)))
    }
}
