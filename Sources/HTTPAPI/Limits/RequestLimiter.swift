import Credentials
import HTTPTypes
import Hummingbird

/// Answers 429 to requests beyond the limits.
///
/// Streams, WebSockets and progress reports are free: after a restart all clients open their streams at once, and a pipeline may
/// report at any rate. Only a refused one is charged, to the address. A client that guesses tokens or sessions is therefore
/// limited, too. HEAD opens no stream, and is charged like any other request.
///
/// Health checks are exempt: a load balancer must not take a busy server for a dead one.
struct RequestLimiter: RouterMiddleware {
    let limits: RequestLimits

    /// The routes that are charged for refusals alone.
    static let free: [(method: HTTPRequest.Method, path: RouterPath)] = [
        (.get, RouterPath(StreamRoute.path)), (.get, "/api/sessions/status/stream"),
        (.get, "/api/sessions/:id/status/ws"), (.get, "/api/sessions/status/ws"),
        (.post, "/api/sessions/:id/progress"), (.post, "/api/progress"),
    ]

    /// The routes that are never charged.
    static let exempt: [RouterPath] = ["/health", "/health/live", "/health/ready"]

    private static let freePaths = Dictionary(grouping: free) { $0.path.description }
        .mapValues { Set($0.map(\.method)) }
    private static let exemptPaths = Set(exempt.map(\.description))

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let path = context.endpointPath ?? ""
        if Self.freePaths[path]?.contains(request.method) == true {
            do {
                return try await next(request, context)
            } catch {
                try limits.chargeRefusal(ErrorMiddleware.problem(for: error), of: context.network)
                throw error
            }
        }
        if !Self.exemptPaths.contains(path) {
            try limits.charge(context.network)
            try limits.charge(context.claims?.signIn)
        }
        return try await next(request, context)
    }
}
