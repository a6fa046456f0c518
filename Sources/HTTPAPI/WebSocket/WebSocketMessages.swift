import Domain
import Progress
import Streaming

extension WatcherMessage {
    /// The message as frames of a WebSocket, which carries only progress objects and a Close frame.
    ///
    /// Nil if the message has no frame: a WebSocket does not say that the database fails.
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
        case .revoked: return WebSocketFrame.close(.revoked)
        case .expired: return WebSocketFrame.close(.expired)
        case .reconnect: return WebSocketFrame.close(.comeBack)
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
