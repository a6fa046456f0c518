import HTTPTypes
import Hummingbird
import Metrics
import Polling
import Synchronization

/// Counts and times requests by method, route and status, until the head of the answer.
///
/// The labels are bounded whatever clients send: the route is its template, never the path, what no route takes is
/// `unmatched`, and a method that HTTP does not know is `other`.
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
        let (count, duration) = instruments[
            Key(
                method: Self.methods.contains(request.method) ? request.method.rawValue : "other",
                route: route(of: context, response), status: response.status.code)]
        count.increment()
        duration.record(duration: clock.now - start)
        return response
    }

    private func route(of context: AppContext, _ response: Response) -> String {
        // Every path answers each wrong method with 405: as routes of their own these would only be noise. And for a path that
        // it does not know, the framework gives a name that is none.
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

    /// The instruments that were made so far, so that a request costs a look and no text.
    private final class Instruments: Sendable {
        private let factory: any MetricsFactory
        private let made = Mutex<[Key: (Counter, Metrics.Timer)]>([:])

        init(factory: any MetricsFactory) { self.factory = factory }

        subscript(key: Key) -> (Counter, Metrics.Timer) {
            if let known = made.withLock({ $0[key] }) { return known }
            let dimensions = [("method", key.method), ("route", key.route), ("status", "\(key.status)")]
            // Two requests at once may both make them: the factory gives both the same series.
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
