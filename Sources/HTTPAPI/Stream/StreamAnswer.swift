import HTTPTypes
import Hummingbird
import Logging
import NIOCore
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
