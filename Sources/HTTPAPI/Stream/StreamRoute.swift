import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Postgres
import Progress
import Store
import Streaming

/// The progress of one session, or of the caller's whole caseload, as Server-Sent Events.
///
/// The routes are `GET /api/sessions/{id}/status/stream` and `GET /api/sessions/status/stream`.
struct StreamRoute: Sendable {
    /// The path of the stream of one session, which the log and the metrics name.
    static let path = "/api/sessions/{id}/status/stream"
    /// The first bytes of every stream: the reconnection delay, in the block of the first event.
    static let preamble = ServerSentEvent.retry(.seconds(2))

    let engine: StreamEngine

    func add(to table: inout RouteTable) {
        table.stream(RouterPath(Self.path), subscribe)
        table.stream("/api/sessions/status/stream", subscribeToAll)
    }

    @Sendable private func subscribe(_ request: Request, _ context: TokenContext) async throws -> Response {
        let session = try context.sessionID()
        let version = Resumption.version(request.lastEventID)
        let authorization: SessionAuthorization
        let watch: Watch?
        do {
            switch try await outcome(of: session, after: version, context) {
            case .refused(let verdict): throw Problem(refusing: verdict)
            case .rejected(let reason):
                return StreamAnswer.unavailable(context.logger, reason: reason.rawValue)
            case .subscribed(let answer, let subscription): (authorization, watch) = (answer, subscription)
            }
        } catch let error as PostgresError where error.isTransient {
            // After any status but 200, a native EventSource would never reconnect.
            return StreamAnswer.unavailable(context.logger, reason: "\(error)")
        } catch let error as UnreadableRow {
            return StreamAnswer.unavailable(context.logger, reason: "\(error)")
        }
        guard let message = try authorization.firstMessage(after: version) else {
            // No other answer stops a native EventSource without an error.
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
        let events = Self.preamble + message.bytes
        guard let watch else { return StreamAnswer.whole(events) }
        return await stream(events, after: authorization.seenVersion(version), to: watch, request, context)
    }

    /// The hub's answer, which may have come before the request had a context.
    private func outcome(
        of session: SessionID, after version: Int64?, _ context: TokenContext
    ) async throws -> SubscribeOutcome {
        let principal = context.claims.principal
        if let answer = context.opening?.answer(to: session, for: principal, after: version) {
            return try answer.get()
        }
        return try await engine.hub.subscribe(
            to: session, for: principal, after: version, requestID: context.requestID,
            network: context.network)
    }

    @Sendable private func subscribeToAll(_ request: Request, _ context: TokenContext) async throws -> Response {
        do {
            let position = request.lastEventID.flatMap(FeedPosition.init(id:))
            switch try await engine.hub.subscribeToAll(
                for: context.claims.principal, since: position, requestID: context.requestID,
                network: context.network)
            {
            case .refused(let verdict): throw Problem(refusing: verdict)
            case .rejected(let reason):
                return StreamAnswer.unavailable(context.logger, reason: reason.rawValue)
            case .subscribed(let watch, let events, let before, let after):
                let bytes = WatcherMessage.bytes(events, before: before, after: after, as: ServerSentEvent.self)
                return await stream(Self.preamble + bytes, to: watch, request, context)
            }
        } catch let error as PostgresError where error.isTransient {
            return StreamAnswer.unavailable(context.logger, reason: "\(error)")
        } catch let error as UnreadableRow {
            return StreamAnswer.unavailable(context.logger, reason: "\(error)")
        }
    }

    /// Begins a stream.
    ///
    /// HEAD gets the same head, and no stream begins.
    private func stream(
        _ firstPayload: [UInt8], after version: Int64 = 0, to watch: Watch, _ request: Request, _ context: TokenContext
    ) async -> Response {
        if request.method == .head { return StreamAnswer.whole(firstPayload) }
        await context.connection.leave(
            as: .stream(
                StreamHandoff(
                    engine: engine, watch: watch, firstPayload: firstPayload, version: version, claims: context.claims))
        )
        return Response(status: .ok, headers: StreamAnswer.headers)
    }
}
