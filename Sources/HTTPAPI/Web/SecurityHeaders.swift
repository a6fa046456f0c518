import HTTPTypes
import Hummingbird

/// Adds the headers that make browsers strict, to every answer.
struct SecurityHeaders: RouterMiddleware {
    private let fields: HTTPFields

    /// Prepares the headers.
    ///
    /// - Parameter isReachedByTLS: True to tell browsers to use TLS only from now on.
    init(isReachedByTLS: Bool) {
        var fields = Self.always
        // RFC 6797, 7.2: "An HSTS Host MUST NOT include the STS header field in HTTP responses conveyed over non-secure
        // transport." The header leaves out subdomains, which may belong to others.
        if isReachedByTLS { fields[.strictTransportSecurity] = "max-age=31536000" }
        self.fields = fields
    }

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        add(to: &response.headers)
        return response
    }

    /// Adds the headers to those of an answer.
    func add(to headers: inout HTTPFields) {
        for field in fields { headers[field.name] = field.value }
        // An answer without `Cache-Control` may hold health data.
        if headers[.cacheControl] == nil { headers[.cacheControl] = "no-store" }
    }

    /// The headers of every answer, also of answers before a request is complete.
    static let always: HTTPFields = [
        .contentSecurityPolicy: policy,
        .xContentTypeOptions: "nosniff",
        // The same as frame-ancestors, for browsers that do not know it.
        .xFrameOptions: "DENY",
        // Other websites must not learn the id of a session, or a ticket, from a URL.
        .referrerPolicy: "no-referrer",
        // A page of another website that opens our page gets no reference to its window.
        .crossOriginOpenerPolicy: "same-origin",
        // No other website may embed our content. Requests with CORS are exempt (WHATWG Fetch, 3.7): browsers check
        // this for mode "no-cors" only.
        .crossOriginResourcePolicy: "same-origin",
        .permissionsPolicy: "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ]

    /// No content from elsewhere, and nothing inline.
    ///
    /// An injected script would not run.
    private static let policy = [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "media-src 'self' blob:", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    ].joined(separator: "; ")
}
