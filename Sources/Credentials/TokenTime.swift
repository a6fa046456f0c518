import Foundation
import JWTKit

/// When a token begins to be valid.
enum TokenTime {
    /// How far the clock of an issuer may be ahead of the clock of this server, in seconds.
    ///
    /// RFC 7519, 4.1.5: "Implementers MAY provide for some small leeway, usually no more than a few minutes, to account for
    /// clock skew." The expiry has no leeway: nobody shall use a token after its end.
    static let leeway: TimeInterval = 60

    /// Checks that a token is neither from the future nor before its beginning.
    ///
    /// - Parameters:
    ///   - notBefore: The claim `nbf`; nil if the token has none.
    ///   - issuedAt: The claim `iat` in seconds since the Unix epoch; nil if the token has none.
    /// - Throws: `JWTError` if the token is not valid yet.
    static func checkBegin(notBefore: NotBeforeClaim?, issuedAt: Double? = nil) throws {
        let latest = Date().timeIntervalSince1970 + leeway
        let begins = [notBefore?.value.timeIntervalSince1970, issuedAt].compactMap(\.self)
        guard begins.allSatisfy({ $0 <= latest }) else {
            throw JWTError.generic(identifier: "nbf", reason: "not valid yet")
        }
    }
}
