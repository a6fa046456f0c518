import Credentials
import HTTPTypes
import Hummingbird
import Logging
import Progress
import Streaming

/// `GET /api/sessions/{id}/status/ws`: the progress of one session over a WebSocket, for clients to whom that comes easier.
///
/// The watcher is one of the hub's as that of a stream of events is, and its socket is the reactor's.
struct WebSocketRoute: Sendable {
    let engine: StreamEngine
    let tickets: TicketReader
    let settings: HTTPSettings

    func add(to table: inout RouteTable) {
        // Who may not watch is told so behind the upgrade, so the credential is not asked for in front of it.
        table.unauthenticated(.get, "/api/sessions/:id/status/ws", produces: "*/*", open)
    }

    @Sendable private func open(_ request: Request, _ context: AppContext) async throws -> Response {
        let handshake = try WebSocketHandshake(request)
        guard isFromOurPage(request) else { throw Problem.originForbidden }
        _ = try context.sessionID()
        let takeover: ConnectionTakeover
        do {
            takeover = try await watch(request, context)
        } catch {
            let problem = ErrorMiddleware.problem(for: error)
            guard let close = WebSocketClose(problem) else { throw error }
            ErrorMiddleware.log(problem, error, context.logger)
            takeover = .closedWebSocket(WebSocketFrame.close(close))
        }
        await context.connection.leave(as: takeover)
        return handshake.response
    }

    private func watch(_ request: Request, _ context: AppContext) async throws -> ConnectionTakeover {
        var context = context
        try await tickets.read(request, into: &context)
        let caller = try TokenContext(context: context)
        let lastEventID = request.lastEventID
        let answer = try await engine.hub.subscribe(
            to: try caller.sessionID(), for: caller.claims.principal, after: Resumption.version(lastEventID),
            requestID: context.id)
        switch answer {
        case .refused(let verdict): throw Problem(refusing: verdict)
        case .rejected(let reason):
            context.logger.warning("stream turned away", metadata: ["reason": "\(reason.rawValue)"])
            return .closedWebSocket(WebSocketFrame.close(reason == .closing ? .shutdown : .tooMany))
        case .subscribed(let opening, let watch):
            guard let frames = try opening.beginning(after: lastEventID)?.webSocketFrames else {
                return .closedWebSocket(WebSocketFrame.close(.finished))
            }
            guard let watch else { return .closedWebSocket(frames) }
            return .webSocket(
                StreamHandoff(
                    engine: engine, watch: watch, opening: frames, version: opening.version(seenBy: lastEventID),
                    claims: caller.claims))
        }
    }

    /// Whether the credential is one that a page of ours sent, or none that a browser adds by itself.
    ///
    /// WebSockets do not come under the same-origin policy, and a browser sends the cookie whoever's page opens one: RFC 6455,
    /// 10.2, has the server look at `Origin`, which a page cannot forge.
    private func isFromOurPage(_ request: Request) -> Bool {
        guard case .cookie = AccessCredential(request) else { return true }
        return settings.isFromOwnPage(request)
    }
}
