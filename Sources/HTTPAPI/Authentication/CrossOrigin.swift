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
        guard let origin = request.headers[.origin], settings.allows(origin: origin) else {
            var response = try await next(request, context)
            response.headers.addVary("Origin")
            return response
        }
        var response =
            if request.method == .options, request.headers[.accessControlRequestMethod] != nil {
                preflight(context.id)
            } else {
                try await next(request, context)
            }
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.accessControlAllowCredentials] = "true"
        response.headers[.accessControlExposeHeaders] = "ETag, Location, Retry-After, X-Request-Id"
        response.headers.addVary("Origin")
        return response
    }

    private func preflight(_ requestID: String) -> Response {
        Response(
            status: .noContent,
            headers: [
                .accessControlAllowMethods: "GET, HEAD, POST, PUT, PATCH, DELETE",
                .accessControlAllowHeaders: "Authorization, Content-Type, If-None-Match, Last-Event-ID",
                .accessControlMaxAge: "600",
                .requestID: requestID,
            ])
    }
}

extension HTTPFields {
    fileprivate mutating func addVary(_ name: String) {
        self[.vary] = self[.vary].map { "\($0), \(name)" } ?? name
    }
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
}
