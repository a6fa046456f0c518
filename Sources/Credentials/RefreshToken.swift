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
