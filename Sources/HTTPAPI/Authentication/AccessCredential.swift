import HTTPTypes
import Hummingbird

/// The access token of a request, and the way it came.
enum AccessCredential: Sendable, Equatable {
    /// In `Authorization: Bearer`. A browser never adds this header on its own.
    case bearer(String)
    /// In an `Authorization` header of another form. The request then has no token, and the server ignores the cookie.
    case unreadable
    /// In the cookie `tb_access`. A browser adds it to every request to this server, from whatever page the request
    /// comes.
    case cookie(String)

    /// Takes the first credential present: a good cookie does not replace a bad header.
    ///
    /// - Returns: Nil if the request has neither header nor cookie.
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
