import Domain
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Progress
import Store
import Streaming

/// The answers to whoever asks for a stream.
enum StreamAnswer {
    /// The head of every stream.
    static let headers: HTTPFields = [
        .contentType: "text/event-stream", .cacheControl: "no-cache, no-transform", .accelBuffering: "no",
        .connection: "close",
    ]

    /// A stream that ends with what it begins with.
    static func whole(_ events: [UInt8]) -> Response {
        Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: events)))
    }

    /// A stream that says that it cannot be served now, and ends: the client comes back by itself.
    ///
    /// Any status but 200 would stop a native EventSource for good.
    static func unavailable(_ logger: Logger, reason: String) -> Response {
        logger.warning("stream turned away", metadata: ["reason": "\(reason)"])
        return whole(ServerSentEvent.retry(jitteredRetry()) + ServerSentEvent.unavailable)
    }
}

/// A time to come back in, spread so that all whose streams end together do not come back together.
func jitteredRetry() -> Duration { .milliseconds(Int.random(in: 500...5000)) }

extension SessionAuthorization {
    /// What a watcher begins with: the present state, after the transitions since what it has.
    ///
    /// - Returns: Nil for who has seen the end already.
    func beginning(after lastEventID: String?) throws -> WatcherMessage? {
        guard let progress else { throw Problem.noSession }
        let resumption = Resumption(lastEventID: lastEventID, presentVersion: progress.version)
        if case .after(let version) = resumption, progress.status.isFinished, version == progress.version { return nil }
        let missed = resumption == .fresh ? [] : transitions.filter { $0.version < progress.version }
        return .state(progress, after: missed)
    }

    /// The version that a client has; 0 for none.
    func version(seenBy lastEventID: String?) -> Int64 {
        guard let progress,
            case .after(let version) = Resumption(lastEventID: lastEventID, presentVersion: progress.version)
        else { return 0 }
        return version
    }
}
