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
    let engine: StreamEngine

    func add(to table: inout RouteTable) {
        table.stream("/api/sessions/:id/status/stream", subscribe)
        table.stream("/api/sessions/status/stream", subscribeToAll)
    }

    @Sendable private func subscribe(_ request: Request, _ context: TokenContext) async throws -> Response {
        let session = try context.sessionID()
        let lastEventID = request.lastEventID
        let authorization: SessionAuthorization
        let watch: Watch?
        do {
            let after = Resumption.version(lastEventID)
            switch try await engine.hub.subscribe(
                to: session, for: context.claims.principal, after: after, requestID: context.requestID)
            {
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
        guard let message = try authorization.firstMessage(after: lastEventID) else {
            // No other answer stops a native EventSource without an error.
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
        let events = ServerSentEvent.retry(.seconds(2)) + message.bytes
        guard let watch else { return StreamAnswer.whole(events) }
        return await stream(events, after: authorization.version(seenBy: lastEventID), to: watch, request, context)
    }

    @Sendable private func subscribeToAll(_ request: Request, _ context: TokenContext) async throws -> Response {
        do {
            let position = request.lastEventID.flatMap(FeedPosition.init(id:))
            switch try await engine.hub.subscribeToAll(
                for: context.claims.principal, since: position, requestID: context.requestID)
            {
            case .refused(let verdict): throw Problem(refusing: verdict)
            case .rejected(let reason):
                return StreamAnswer.unavailable(context.logger, reason: reason.rawValue)
            case .subscribed(let watch, let events, let before, let after):
                let bytes =
                    ServerSentEvent.retry(.seconds(2)) + WatcherMessage.bytes(events, before: before, after: after)
                return await stream(bytes, to: watch, request, context)
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
