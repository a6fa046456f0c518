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
        let milliseconds = (clock.now - start).whole(.milliseconds)
        context.logger.info(
            "request",
            metadata: [
                "method": "\(request.method.rawValue)", "route": "\(context.endpointPath ?? "-")",
                "status": "\(response.status.code)", "ms": "\(milliseconds)",
            ])
        return response
    }
}
