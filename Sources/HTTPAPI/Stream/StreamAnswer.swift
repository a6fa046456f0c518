import Domain
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Progress
import Store
import Streaming

/// The answers to requests for a stream.
enum StreamAnswer {
    /// The head of every stream.
    static let headers: HTTPFields = [
        .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache, no-transform",
        .accelBuffering: "no",
        .connection: "close",
    ]

    /// A stream that ends after these events.
    static func whole(_ events: [UInt8]) -> Response {
        Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: events)))
    }

    /// A stream that says `unavailable` and ends.
    ///
    /// The client comes back on its own.
    ///
    /// After any status but 200, a native EventSource would never reconnect.
    static func unavailable(_ logger: Logger, reason: String) -> Response {
        logger.warning("stream rejected", metadata: ["reason": "\(reason)"])
        return whole(ServerSentEvent.retry(jitteredRetry()) + ServerSentEvent.unavailable)
    }
}

/// A random reconnection delay.
///
/// It spreads the clients whose streams end at the same time.
func jitteredRetry() -> Duration { .milliseconds(Int.random(in: 500...5000)) }

extension SessionAuthorization {
    /// The first message of a stream: the present state, after the transitions that the client missed.
    ///
    /// - Parameter version: The version that the client has; nil for none.
    /// - Returns: Nil if the client already has the last state of a finished session.
    /// - Throws: 404 if the session does not exist.
    func firstMessage(after version: Int64?) throws -> WatcherMessage? {
        guard let progress else { throw Problem.noSession }
        let resumption = Resumption(after: version, presentVersion: progress.version)
        if case .after(let version) = resumption, progress.status.isFinished, version == progress.version { return nil }
        let missed = resumption == .fresh ? [] : transitions.filter { $0.version < progress.version }
        return .state(progress, after: missed)
    }

    /// The version that the client says to have, if the session has had it; 0 for none.
    func seenVersion(_ version: Int64?) -> Int64 {
        guard let progress, case .after(let version) = Resumption(after: version, presentVersion: progress.version)
        else { return 0 }
        return version
    }
}
