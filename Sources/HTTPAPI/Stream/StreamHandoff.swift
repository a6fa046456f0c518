import Credentials
import Domain
import HTTPTypes
import NIOCore
import Polling
import Progress
import Streaming

/// A stream whose connection is about to leave the framework.
///
/// The reactor gets its socket instead of the response.
final class StreamHandoff: Sendable {
    let engine: StreamEngine
    let watch: Watch
    /// The first events, or the first frames of a WebSocket.
    let firstPayload: [UInt8]
    /// The version of the session that the client has; 0 for none.
    let version: Int64
    let expiresAt: ContinuousClock.Instant
    let livesUntil: ContinuousClock.Instant

    /// The stream ends when the access token with these claims expires.
    init(
        engine: StreamEngine, watch: Watch, firstPayload: [UInt8], version: Int64 = 0, claims: AccessClaims
    ) {
        self.engine = engine
        self.watch = watch
        self.firstPayload = firstPayload
        self.version = version
        let now = engine.reactor.poller.clock.now
        expiresAt = now + claims.expiresAt.duration(since: .now())
        livesUntil = now + engine.settings.maximumLifetime * Double.random(in: 0.9...1.1)
    }

    /// The bytes before the first state.
    ///
    /// They reveal nothing about the session.
    func preamble(of wire: StreamWire) -> [UInt8] { wire.isWebSocket ? [] : StreamRoute.preamble }

    /// Duplicates the channel's socket and gives it to the reactor.
    ///
    /// The caller then closes the channel. That closes the channel's own descriptor, and the connection stays open. The
    /// call has to come on the channel's event loop, after all earlier responses are written.
    ///
    /// - Parameters:
    ///   - channel: The connection.
    ///   - head: The head of the response as bytes, which announces `wire`.
    ///   - wire: The form of the stream.
    /// - Returns: False if the process has no descriptor left.
    func take(socketOf channel: any Channel, head: [UInt8], as wire: StreamWire) -> Bool {
        let socket = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { StreamSocket(duplicating: $0) }
        guard let socket = socket ?? nil else { return false }
        engine.adopt(self, socket, head: head, as: wire)
        return true
    }
}

extension HTTPResponse {
    /// The head as bytes (RFC 9112, 4 and 5).
    ///
    /// It leaves out the `Content-Length` that the framework computed for its own body. The stream is sent in chunks,
    /// or else ends with the connection.
    func bytes(isChunked: Bool) -> [UInt8] {
        var head = "HTTP/1.1 \(status.code) \(status.reasonPhrase)\r\n"
        for field in headerFields where field.name != .contentLength {
            head += "\(field.name.rawName): \(field.value)\r\n"
        }
        if isChunked { head += "Transfer-Encoding: chunked\r\n" }
        return Array((head + "\r\n").utf8)
    }
}
