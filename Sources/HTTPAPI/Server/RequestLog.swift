import DurationUnits
import HTTPTypes
import Hummingbird
import Logging
import Polling

/// Logs each request in one line.
///
/// The line has the route's template: a path or a query may hold a person's id.
struct RequestLog: RouterMiddleware {
    let clock: any MonotonicClock

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let start = clock.now
        let response = try await next(request, context)
        Self.write(
            to: context.logger, method: request.method, route: context.endpointPath ?? "-", status: response.status,
            after: clock.now - start)
        return response
    }

    /// The key of the request's id in the metadata of every line of the request.
    static let idKey = "hb.request.id"

    /// Writes the line of a request.
    static func write(
        to logger: Logger, method: HTTPRequest.Method, route: String, status: HTTPResponse.Status,
        after duration: Duration
    ) {
        logger.info("request", metadata: metadata(method, route, status, duration))
    }

    /// The metadata of the line.
    static func metadata(
        _ method: HTTPRequest.Method, _ route: String, _ status: HTTPResponse.Status, _ duration: Duration
    ) -> Logger.Metadata {
        [
            "method": "\(method.rawValue)", "route": "\(route)", "status": "\(status.code)",
            "ms": "\(duration.whole(.milliseconds))",
        ]
    }
}
