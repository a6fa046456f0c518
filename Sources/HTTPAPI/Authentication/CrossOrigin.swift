import HTTPTypes
import Hummingbird

/// Lets the pages of `SSE_CORS_ORIGIN` call with their users' credentials (WHATWG Fetch, 3.2), and no others.
///
/// The header names the origin: browsers do not accept `*` together with credentials. Errors carry the headers too, or
/// else the page could not read why the server refused it.
struct CrossOrigin: RouterMiddleware {
    let settings: HTTPSettings

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        if let origin = request.headers[.origin], settings.allows(origin: origin) {
            response.headers[.accessControlAllowOrigin] = origin
            response.headers[.accessControlAllowCredentials] = "true"
            response.headers[.accessControlExposeHeaders] = Self.exposed
        }
        Self.addVary(to: &response.headers)
        return response
    }

    /// Says that the answer to another origin may differ.
    static func addVary(to headers: inout HTTPFields) {
        headers[.vary] = headers[.vary].map { "\($0), Origin" } ?? "Origin"
    }

    /// The headers of answers that a page may read.
    private static let exposed = [
        "Accept-Ranges", "Content-Disposition", "Content-Location", "Content-Range", "ETag", "Location", "Retry-After",
        "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Expires",
        "Upload-Length", "Upload-Metadata", "Upload-Offset", "X-Request-Id",
    ].joined(separator: ", ")
}

/// Answers preflights, on every path: the question of a browser whether a page of another origin may send a request.
///
/// WHATWG Fetch, 3.2.2: a preflight is an `OPTIONS` with `Origin` and `Access-Control-Request-Method`. ``CrossOrigin`` adds the
/// headers that name the origin. A preflight of another origin is an ordinary `OPTIONS`, and gets no such header.
struct Preflight: RouterMiddleware {
    let settings: HTTPSettings

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        guard request.method == .options, request.headers[.accessControlRequestMethod] != nil,
            let origin = request.headers[.origin], settings.allows(origin: origin)
        else { return try await next(request, context) }
        return Response(
            status: .noContent,
            headers: [
                .accessControlAllowMethods: "GET, HEAD, POST, PUT, PATCH, DELETE",
                .accessControlAllowHeaders: Self.allowed, .accessControlMaxAge: "600",
            ])
    }

    /// The headers that a page may send.
    private static let allowed = [
        "Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Prefer", "Range",
        "Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata", "Upload-Offset",
    ].joined(separator: ", ")
}

extension HTTPSettings {
    /// True if a request comes from a page that may act with its user's cookies.
    ///
    /// A browser sends `Origin` with every unsafe request and every WebSocket, and a page cannot forge it. A request
    /// without the header does not count as coming from such a page.
    func isFromOwnPage(_ request: Request) -> Bool {
        guard let origin = request.headers[.origin] else { return false }
        return allows(origin: origin) || isLoopbackAlias(origin: origin, authority: request.head.authority)
    }

    /// Refuses a request that a page of another website sends.
    ///
    /// A request without `Origin` does not come from a page.
    ///
    /// - Throws: A 403 for a foreign origin.
    func refuseForeignOrigin(of request: Request) throws(Problem) {
        guard request.headers[.origin] == nil || isFromOwnPage(request) else {
            throw Problem(.originForbidden, "Only this server's own pages may do this.")
        }
    }
}
