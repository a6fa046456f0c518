import HTTPTypes
import Hummingbird

/// The headers that tell a browser to be strict with what comes from here, on every answer.
struct SecurityHeaders: RouterMiddleware {
    private let fields: HTTPFields

    /// - Parameter isReachedByTLS: Browsers are told to come by TLS alone from now on.
    init(isReachedByTLS: Bool) {
        var fields = Self.always
        // RFC 6797, 7.2: "An HSTS Host MUST NOT include the STS header field in HTTP responses conveyed over non-secure
        // transport." Not for the subdomains: they need not be ours.
        if isReachedByTLS { fields[.strictTransportSecurity] = "max-age=31536000" }
        self.fields = fields
    }

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        for field in fields { response.headers[field.name] = field.value }
        // Whatever does not say how it may be kept may hold somebody's health data.
        if response.headers[.cacheControl] == nil { response.headers[.cacheControl] = "no-store" }
        return response
    }

    /// What holds for every answer, also for those that are given before there is a request.
    static let always: HTTPFields = [
        .contentSecurityPolicy: policy,
        .xContentTypeOptions: "nosniff",
        // The same as frame-ancestors, for browsers that do not know that.
        .xFrameOptions: "DENY",
        // A session's id, or a ticket, in a URL is no other site's business.
        .referrerPolicy: "no-referrer",
        // No window that another site's page opened has a hold on ours.
        .crossOriginOpenerPolicy: "same-origin",
        // No other site embeds what is here. Requests with CORS do not come under this (WHATWG Fetch, 3.7): it is checked
        // for mode "no-cors" alone.
        .crossOriginResourcePolicy: "same-origin",
        .permissionsPolicy: "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ]

    /// Nothing from elsewhere, and nothing inline: a script that got into the page would not run.
    private static let policy = [
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "media-src 'self' blob:", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
    ].joined(separator: "; ")
}
