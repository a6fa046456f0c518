import HTTPTypes
import Hummingbird
import Metrics
import Polling
import Synchronization

/// Counts and times requests by method, route and status, until the head of the answer.
///
/// Clients cannot create new label values. The route is its template, never the path. A request without a route counts
/// as `unmatched`, and an unknown method as `other`.
struct RequestMetrics: RouterMiddleware {
    private let instruments: Instruments
    private let clock: any MonotonicClock

    init(metrics: any MetricsFactory, clock: any MonotonicClock) {
        instruments = Instruments(factory: metrics)
        self.clock = clock
    }

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let start = clock.now
        let response = try await next(request, context)
        count(
            method: request.method, route: route(of: context, response), status: response.status,
            after: clock.now - start)
        return response
    }

    /// Counts and times a request.
    func count(method: HTTPRequest.Method, route: String, status: HTTPResponse.Status, after time: Duration) {
        let (count, duration) = instruments[
            Key(
                method: Self.methods.contains(method) ? method.rawValue : "other", route: route, status: status.code)]
        count.increment()
        duration.record(duration: time)
    }

    private func route(of context: AppContext, _ response: Response) -> String {
        // Every path answers each wrong method with 405, and series of these would say nothing. For an unknown path,
        // the framework returns a name that is not a route.
        guard response.status != .methodNotAllowed, let path = context.endpointPath, path.hasPrefix("/") else {
            return "unmatched"
        }
        return path
    }

    private static let methods: Set<HTTPRequest.Method> = [
        .get, .head, .post, .put, .patch, .delete, .options, .trace, .connect,
    ]

    private struct Key: Hashable {
        let method: String
        let route: String
        let status: Int
    }

    /// The instruments made so far: a request looks one up and builds no text.
    private final class Instruments: Sendable {
        private let factory: any MetricsFactory
        private let made = Mutex<[Key: (Counter, Metrics.Timer)]>([:])

        init(factory: any MetricsFactory) { self.factory = factory }

        subscript(key: Key) -> (Counter, Metrics.Timer) {
            if let known = made.withLock({ $0[key] }) { return known }
            let dimensions = [("method", key.method), ("route", key.route), ("status", "\(key.status)")]
            // Two requests may both make them at the same time. The factory then returns the same series to both.
            let pair = (
                Counter(label: "therapybridge_http_requests_total", dimensions: dimensions, factory: factory),
                Metrics.Timer(
                    label: "therapybridge_http_request_duration_seconds", dimensions: dimensions, factory: factory)
            )
            made.withLock { $0[key] = pair }
            return pair
        }
    }
}
