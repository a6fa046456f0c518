import Crypto
import Foundation

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
