import Domain
import Progress
import Streaming

extension WatcherMessage {
    /// The message as frames of a WebSocket of one session, which carries only progress objects and a Close frame.
    ///
    /// Nil if the message has no frame: such a WebSocket does not say that the database fails.
    var webSocketFrames: [UInt8]? {
        switch self {
        case .state(let progress, let transitions):
            var bytes: [UInt8] = []
            for transition in transitions {
                bytes += WebSocketFrame.state(
                    transition.progress(of: progress.sessionID, createdAt: progress.createdAt))
            }
            bytes += WebSocketFrame.state(progress)
            return isLast ? bytes + WebSocketFrame.close(.finished) : bytes
        case .caseload, .degraded, .recovered: return nil
        case .revoked, .expired, .reconnect: return webSocketClose
        }
    }

    /// The message as frames of a WebSocket of all sessions, which carries events and a Close frame.
    ///
    /// Nil if the message is one of a single session.
    var webSocketEvents: [UInt8]? {
        switch self {
        case .caseload(let events, let before, let after):
            Self.bytes(events, before: before, after: after, as: WebSocketFrame.self)
        case .degraded: WebSocketFrame.degraded
        case .recovered: WebSocketFrame.recovered
        case .state: nil
        case .revoked, .expired, .reconnect: webSocketClose
        }
    }

    /// The Close frame of a message that ends every stream; nil for any other message.
    private var webSocketClose: [UInt8]? {
        switch self {
        case .revoked: WebSocketFrame.close(.revoked)
        case .expired: WebSocketFrame.close(.expired)
        case .reconnect: WebSocketFrame.close(.comeBack)
        case .state, .caseload, .degraded, .recovered: nil
        }
    }
}

extension WebSocketClose {
    /// The Close frame for a client that was refused after the upgrade.
    ///
    /// Nil for a problem that the client gets as an HTTP answer.
    init?(_ problem: Problem) {
        switch problem.kind {
        case .unauthorized, .inactive, .forbidden, .notFound: self = .refused(problem.kind.rawValue)
        case .unavailable, .internalError: self = .fault(problem.kind.rawValue)
        default: return nil
        }
    }
}
