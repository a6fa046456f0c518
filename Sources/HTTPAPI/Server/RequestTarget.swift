import HTTPTypes
import Hummingbird

/// Refuses requests whose host or path can be read in more than one way.
///
/// A proxy in front may route, cache or filter by the host and the path. If the proxy reads another host or path than this
/// server does, its rules do not hold.
struct RequestTarget: RouterMiddleware {
    private static let host = HTTPField.Name("Host")!

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        try Self.check(request.head)
        return try await next(request, context)
    }

    /// Checks the head of a request.
    ///
    /// RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
    /// Host header field and to any request message that contains more than one Host header field line or a Host header
    /// field with an invalid field value." The framework moves the first `Host` to the authority, and leaves a second one
    /// among the headers. ``ConnectionHandler`` gives a request of HTTP/1.0 without `Host` an empty authority.
    ///
    /// - Throws: A ``Problem`` with 400 for the host, with 404 for the path.
    static func check(_ head: HTTPRequest) throws(Problem) {
        guard let authority = head.authority, !head.headerFields.contains(host),
            authority.utf8.allSatisfy(isHostByte)
        else { throw Problem(.malformed, "A request needs exactly one Host, with a valid value.").closing() }
        guard isCanonical(head.path ?? "") else { throw Problem(.notFound, "There is nothing at this path.") }
    }

    /// Returns true if the path of a target has one spelling only: no empty segment, no dot segment, no trailing slash, and no
    /// escape of a character that needs none (RFC 3986, 6.2.2).
    private static func isCanonical(_ target: String) -> Bool {
        let path = target.utf8.prefix { $0 != UInt8(ascii: "?") }
        guard path.first == UInt8(ascii: "/") else { return false }
        if path.count == 1 { return true }
        var length = 0
        var dots = 0
        for byte in path.dropFirst() {
            if byte == UInt8(ascii: "/") {
                if length == 0 || dots == length && dots <= 2 { return false }
                (length, dots) = (0, 0)
            } else {
                length += 1
                if byte == UInt8(ascii: ".") { dots += 1 }
            }
        }
        return length > 0 && !(dots == length && dots <= 2) && !hasNeedlessEscape(path)
    }

    private static func hasNeedlessEscape(_ path: Substring.UTF8View) -> Bool {
        var rest = path
        while let escape = rest.firstIndex(of: UInt8(ascii: "%")) {
            rest = rest[escape...].dropFirst()
            let digits = rest.prefix(2)
            if let byte = UInt8(String(Substring(digits)), radix: 16), isUnreserved(byte) { return true }
        }
        return false
    }

    /// RFC 3986, 2.3: "unreserved = ALPHA / DIGIT / "-" / "." / "_" / "~"".
    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "~"):
            true
        default: false
        }
    }

    /// RFC 3986, 3.2.2 and 3.2.3: the characters of a host and its port.
    private static func isHostByte(_ byte: UInt8) -> Bool {
        isUnreserved(byte) || "!$&'()*+,;=:[]%".utf8.contains(byte)
    }
}
