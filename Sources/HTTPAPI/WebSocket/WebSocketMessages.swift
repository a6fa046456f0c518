import Domain
import Progress
import Streaming

extension WatcherMessage {
    /// The message as frames of a WebSocket, on which there are progress objects and an end, and nothing else.
    ///
    /// Nil where nothing is said there: that the database does not answer is no news of a session.
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
    /// How a watcher is told that it is not let in, once it has a WebSocket to be told on.
    ///
    /// Nil for a problem that it is told in HTTP.
    init?(_ problem: Problem) {
        switch problem.kind {
        case .unauthorized, .inactive, .forbidden, .notFound: self = .refused(problem.kind.rawValue)
        case .unavailable, .internalError: self = .fault(problem.kind.rawValue)
        default: return nil
        }
    }
}
