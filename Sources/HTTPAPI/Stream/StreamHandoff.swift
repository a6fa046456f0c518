import Credentials
import Domain
import HTTPTypes
import NIOCore
import Polling
import Progress
import Streaming

/// A stream that is about to leave the framework: its response is due, and its socket goes to the reactor.
final class StreamHandoff: Sendable {
    let engine: StreamEngine
    let watch: Watch
    /// The events, or the frames of a WebSocket, to begin with.
    let opening: [UInt8]
    /// The version of the session that the client has; 0 for none.
    let version: Int64
    let expiresAt: ContinuousClock.Instant
    let livesUntil: ContinuousClock.Instant

    /// The claims are those of the access token that the stream stands on, and ends with.
    init(
        engine: StreamEngine, watch: Watch, opening: [UInt8], version: Int64 = 0, claims: AccessClaims
    ) {
        self.engine = engine
        self.watch = watch
        self.opening = opening
        self.version = version
        let now = engine.reactor.poller.clock.now
        expiresAt = now + claims.expiresAt.duration(since: .now())
        livesUntil = now + engine.settings.maximumLifetime * Double.random(in: 0.9...1.1)
    }

    /// What stands before the first state: it tells nothing of anybody.
    func preamble(of wire: StreamWire) -> [UInt8] { wire == .webSocket ? [] : ServerSentEvent.retry(.seconds(2)) }

    /// Duplicates the channel's socket and gives it to the reactor.
    ///
    /// The channel is then to be closed, which closes its own descriptor and leaves the connection open. To be called on
    /// the channel's event loop, with nothing of an earlier response left to write.
    ///
    /// - Returns: False when the process has no descriptor left.
    func take(socketOf channel: any Channel, head: HTTPResponse, as wire: StreamWire) -> Bool {
        let socket = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { StreamSocket(duplicating: $0) }
        guard let socket = socket ?? nil else { return false }
        engine.adopt(self, socket, head: head.bytes(isChunked: wire == .chunks), as: wire)
        return true
    }
}

extension HTTPResponse {
    /// The head as it goes over the wire (RFC 9112, 4 and 5).
    ///
    /// The framework counts a body that it does not know; that length is left out. Chunks are announced, or else the
    /// body ends with the connection.
    func bytes(isChunked: Bool) -> [UInt8] {
        var head = "HTTP/1.1 \(status.code) \(status.reasonPhrase)\r\n"
        for field in headerFields where field.name != .contentLength {
            head += "\(field.name.rawName): \(field.value)\r\n"
        }
        if isChunked { head += "Transfer-Encoding: chunked\r\n" }
        return Array((head + "\r\n").utf8)
    }
}
