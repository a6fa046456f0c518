import Credentials
import HTTPTypes
import Hummingbird
import Logging
import Progress
import Streaming

/// `GET /api/sessions/{id}/status/ws`: the progress of one session over a WebSocket.
///
/// The hub and the reactor treat it like a stream of Server-Sent Events.
struct WebSocketRoute: Sendable {
    let engine: StreamEngine
    let tickets: TicketReader
    let settings: HTTPSettings
    let limits: RequestLimits

    func add(to table: inout RouteTable) {
        // A client learns that it was refused after the upgrade. The route therefore checks the credential itself.
        table.unauthenticated(.get, "/api/sessions/:id/status/ws", produces: "*/*", subscribe)
    }

    @Sendable private func subscribe(_ request: Request, _ context: AppContext) async throws -> Response {
        let handshake = try WebSocketHandshake(request)
        guard isFromOurPage(request) else { throw Problem.originForbidden }
        _ = try context.sessionID()
        let takeover: ConnectionTakeover
        do {
            takeover = try await watch(request, context)
        } catch {
            let problem = ErrorMiddleware.problem(for: error)
            guard let close = WebSocketClose(problem) else { throw error }
            // The middleware does not see this refusal.
            try limits.chargeRefusal(problem, of: context.network)
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
        let version = Resumption.version(request.lastEventID)
        let answer = try await engine.hub.subscribe(
            to: try caller.sessionID(), for: caller.claims.principal, after: version,
            requestID: context.requestID, network: context.network)
        switch answer {
        case .refused(let verdict): throw Problem(refusing: verdict)
        case .rejected(let reason):
            context.logger.warning("stream rejected", metadata: ["reason": "\(reason.rawValue)"])
            return .closedWebSocket(WebSocketFrame.close(reason == .closing ? .shutdown : .tooMany))
        case .subscribed(let authorization, let watch):
            guard let frames = try authorization.firstMessage(after: version)?.webSocketFrames else {
                return .closedWebSocket(WebSocketFrame.close(.finished))
            }
            guard let watch else { return .closedWebSocket(frames) }
            return .webSocket(
                StreamHandoff(
                    engine: engine, watch: watch, firstPayload: frames,
                    version: authorization.seenVersion(version),
                    claims: caller.claims))
        }
    }

    /// True if a page of ours sent the credential, or if browsers never add it on their own.
    ///
    /// WebSockets are exempt from the same-origin policy, and a browser sends the cookie whatever page opens one. RFC
    /// 6455, 10.2 therefore lets the server check `Origin`, which a page cannot forge.
    private func isFromOurPage(_ request: Request) -> Bool {
        guard case .cookie = AccessCredential(request) else { return true }
        return settings.isFromOwnPage(request)
    }
}
