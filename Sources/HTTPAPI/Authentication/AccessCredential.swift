import HTTPTypes
import Hummingbird

/// The access token that came with a request, and how it came.
enum AccessCredential: Sendable, Equatable {
    /// In `Authorization: Bearer`. No browser adds this header by itself.
    case bearer(String)
    /// In an `Authorization` header of another form: no token, and the cookie is not looked at.
    case unreadable
    /// In the cookie `tb_access`, which a browser adds to every request, whichever page caused it.
    case cookie(String)

    /// Takes the first credential present: a good cookie doesn't rescue a bad header.
    ///
    /// - Returns: Nil when the request carries neither header nor cookie.
    init?(_ request: Request) {
        if let header = request.headers[.authorization] {
            // RFC 6750, 2.1: the scheme's name, one space, the token; scheme names are case-insensitive (RFC 9110, 11.1).
            let parts = header.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: true)
            let isBearer = parts.count == 2 && parts[0].lowercased() == "bearer"
            self = isBearer ? .bearer(String(parts[1])) : .unreadable
        } else if let cookie = request.cookies[SignInCookies.accessName]?.value {
            self = .cookie(cookie)
        } else {
            return nil
        }
    }
}
