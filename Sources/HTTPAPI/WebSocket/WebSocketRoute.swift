import Credentials
import HTTPTypes
import Hummingbird
import Logging
import Progress
import Store
import Streaming

/// The progress of one session, or of the caller's whole caseload, over a WebSocket.
///
/// The routes are `GET /api/sessions/{id}/status/ws` and `GET /api/sessions/status/ws`. The hub and the reactor treat them like
/// streams of Server-Sent Events.
struct WebSocketRoute: Sendable {
    let engine: StreamEngine
    let tickets: TicketReader
    let settings: HTTPSettings
    let limits: RequestLimits

    func add(to table: inout RouteTable) {
        // A client learns that it was refused after the upgrade. The routes therefore check the credential themselves.
        table.unauthenticated(.get, "/api/sessions/:id/status/ws", produces: "*/*") { request, context in
            try await answer(request, context, isOfOne: true, watch)
        }
        table.unauthenticated(.get, "/api/sessions/status/ws", produces: "*/*") { request, context in
            try await answer(request, context, isOfOne: false, follow)
        }
    }

    /// Completes the handshake, and begins the WebSocket or refuses the client.
    ///
    /// - Parameters:
    ///   - request: The request.
    ///   - context: Its context.
    ///   - isOfOne: True if the path has the id of a session.
    ///   - begin: Begins the WebSocket of a client with a valid credential.
    /// - Returns: The answer that completes the handshake.
    /// - Throws: A ``Problem`` that the client gets instead of a WebSocket.
    private func answer(
        _ request: Request, _ context: AppContext, isOfOne: Bool,
        _ begin: (Request, TokenContext) async throws -> ConnectionTakeover
    ) async throws -> Response {
        let handshake = try WebSocketHandshake(request)
        guard isFromOurPage(request) else { throw Problem.originForbidden }
        if isOfOne { _ = try context.sessionID() }
        let takeover: ConnectionTakeover
        do {
            var context = context
            try await tickets.read(request, into: &context)
            takeover = try await begin(request, TokenContext(context: context))
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

    @Sendable private func watch(_ request: Request, _ context: TokenContext) async throws -> ConnectionTakeover {
        let version = Resumption.version(request.lastEventID)
        let answer = try await engine.hub.subscribe(
            to: try context.sessionID(), for: context.claims.principal, after: version,
            requestID: context.requestID, network: context.network)
        switch answer {
        case .refused(let verdict): throw Problem(refusing: verdict)
        case .rejected(let reason): return rejection(for: reason.rawValue, isClosing: reason == .closing, context)
        case .subscribed(let authorization, let watch):
            guard let frames = try authorization.firstMessage(after: version)?.webSocketFrames else {
                return .closedWebSocket(WebSocketFrame.close(.finished))
            }
            guard let watch else { return .closedWebSocket(frames) }
            return .webSocket(
                StreamHandoff(
                    engine: engine, watch: watch, firstPayload: frames,
                    version: authorization.seenVersion(version), claims: context.claims))
        }
    }

    @Sendable private func follow(_ request: Request, _ context: TokenContext) async throws -> ConnectionTakeover {
        let position = request.lastEventID.flatMap(FeedPosition.init(id:))
        switch try await engine.hub.subscribeToAll(
            for: context.claims.principal, since: position, requestID: context.requestID, network: context.network)
        {
        case .refused(let verdict): throw Problem(refusing: verdict)
        case .rejected(let reason): return rejection(for: reason.rawValue, isClosing: reason == .closing, context)
        case .subscribed(let watch, let events, let before, let after):
            let frames = WatcherMessage.bytes(events, before: before, after: after, as: WebSocketFrame.self)
            return .webSocketEvents(
                StreamHandoff(engine: engine, watch: watch, firstPayload: frames, claims: context.claims))
        }
    }

    private func rejection(for reason: String, isClosing: Bool, _ context: TokenContext) -> ConnectionTakeover {
        context.logger.warning("stream rejected", metadata: ["reason": "\(reason)"])
        return .closedWebSocket(WebSocketFrame.close(isClosing ? .shutdown : .tooMany))
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
