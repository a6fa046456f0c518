import Domain
import DurationUnits
import HTTPTypes
import Hummingbird
import Logging
import Polling
import Synchronization

/// Logs each request in one line, with its user and its session.
///
/// The line has the route's template, because a path or a query may hold a person's words or a ticket. The ids of the user and of
/// the session name nobody outside the database.
struct RequestLog: RouterMiddleware {
    let clock: any MonotonicClock

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let start = clock.now
        let response = try await next(request, context)
        let route = context.endpointPath ?? "-"
        var metadata = Self.metadata(request.method, route, response.status, clock.now - start)
        let session =
            route.hasPrefix("/api/sessions/{id}") ? context.parameters.get("id").flatMap { SessionID($0) } : nil
        Self.name(context.caller.user, session, in: &metadata)
        context.logger.info("request", metadata: metadata)
        return response
    }

    /// Adds the user and the session of a request, as far as they are known.
    static func name(_ user: UserID?, _ session: SessionID?, in metadata: inout Logger.Metadata) {
        if let user { metadata["user"] = "\(user)" }
        if let session { metadata["session"] = "\(session)" }
    }

    /// The key of the request's id in the metadata of every line of the request.
    static let idKey = "hb.request.id"

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

/// Whose request it is: found while the request is handled, and read when its line is written.
final class RequestCaller: Sendable {
    private let value = Mutex<UserID?>(nil)

    var user: UserID? { value.withLock(\.self) }

    func found(_ user: UserID) { value.withLock { $0 = user } }
}
