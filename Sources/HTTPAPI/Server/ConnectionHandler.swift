import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Streaming

/// What every connection needs beside HTTP itself.
///
/// It answers `Expect: 100-continue`, answers what is no HTTP with a problem instead of an empty 400, has the kernel close
/// connections whose other side is gone, and lets the sockets of streams and WebSockets leave the framework.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout = 60_000

    /// How often a connection is read before what came is passed on: an upload goes to another thread and back each time.
    private static let readsInARow: UInt = 16

    /// How long a client may take to take in what ends a WebSocket that never began.
    private static let closeFrameTimeout = TimeAmount.seconds(60)

    /// How long a client that was told `Connection: close` may take to read the answer and close.
    private static let lingering = TimeAmount.seconds(1)

    /// A request whose answer is not complete.
    private struct PendingRequest {
        let version: HTTPVersion
        /// Nothing is read behind it.
        let isLast: Bool
        /// The client waits for word before it sends the body.
        var awaitsContinue: Bool
    }

    /// The oldest first: it is the one that is being answered.
    private var requests: [PendingRequest] = []
    /// The present answer says `Connection: close`.
    private var isLastAnswer = false
    /// What has come out of the decoder.
    let decoded = DecoderWatch()
    /// What becomes of the connection with the next answer.
    var takeover: ConnectionTakeover?
    /// The connection is a stream's: what the framework still writes goes nowhere.
    private var isHandedOver = false

    func handlerAdded(context: ChannelHandlerContext) {
        // TCP_USER_TIMEOUT, tcp(7): "the maximum amount of time in milliseconds that transmitted data may remain
        // unacknowledged […] before TCP will forcibly close the corresponding connection".
        _ = context.channel.setOption(.tcpOption(.tcp_user_timeout), value: Self.userTimeout)
        _ = context.channel.setOption(.maxMessagesPerRead, value: Self.readsInARow)
        let pipeline = context.pipeline.syncOperations
        if let codec = try? pipeline.handler(type: HTTP1ToHTTPServerCodec.self) {
            try? pipeline.addHandler(decoded, position: .before(codec))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(var head) = unwrapInboundIn(data) {
            requests.append(
                PendingRequest(
                    version: decoded.version, isLast: decoded.isLast,
                    awaitsContinue: head.headerFields[.expect]?.lowercased() == "100-continue"))
            sayContinue(context)
            if decoded.version == .http1_0, head.headerFields[.upgrade] != nil {
                // RFC 9110, 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
                head.headerFields[.upgrade] = nil
                return context.fireChannelRead(wrapInboundOut(.head(head)))
            }
        }
        context.fireChannelRead(data)
    }

    /// Tells the client to go on, once the answers before are out: in the middle of one, this would be part of it.
    ///
    /// RFC 9110, 10.1.1: the client waits for this before it sends the body.
    private func sayContinue(_ context: ChannelHandlerContext) {
        guard !isHandedOver, requests.first?.awaitsContinue == true else { return }
        requests[0].awaitsContinue = false
        context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        if isHandedOver {
            promise?.succeed()
            return
        }
        switch part {
        case .head(var head):
            isLastAnswer = head.headerFields[.connection] == "close"
            if let takeover = takeover.take(), head.status == .ok || head.status == .switchingProtocols {
                isHandedOver = true
                promise?.succeed()
                return depart(takeover, head: head, context)
            }
            // Who has the answer needs no word any more.
            if !requests.isEmpty { requests[0].awaitsContinue = false }
            if requests.first?.isLast == true, !isLastAnswer {
                // Whatever the client sends behind it is read by nobody.
                isLastAnswer = true
                head.headerFields.append(HTTPField(name: .connection, value: "close"))
                return context.write(wrapOutboundOut(.head(head)), promise: promise)
            }
        case .body: break
        case .end:
            if !requests.isEmpty { requests.removeFirst() }
            if isLastAnswer { return writeLast(data, promise, context) }
            context.write(data, promise: promise)
            return sayContinue(context)
        }
        context.write(data, promise: promise)
    }

    /// Writes the end of the last answer, and closes the connection a while after the kernel has taken it.
    private func writeLast(_ data: NIOAny, _ promise: EventLoopPromise<Void>?, _ context: ChannelHandlerContext) {
        let written = promise ?? context.eventLoop.makePromise()
        written.futureResult.assumeIsolated().whenComplete { _ in self.closeSoon(context) }
        context.write(data, promise: written)
    }

    private func depart(_ takeover: ConnectionTakeover, head: HTTPResponse, _ context: ChannelHandlerContext) {
        switch takeover {
        case .stream(let handoff):
            handOver(handoff, head: head, as: requests.first?.version == .http1_0 ? .bare : .chunks, context)
        case .webSocket(let handoff): handOver(handoff, head: head, as: .webSocket, context)
        case .closedWebSocket(let frames): end(head, frames, context)
        }
    }

    /// Gives the connection away, once earlier answers on it are with the kernel.
    private func handOver(
        _ handoff: StreamHandoff, head: HTTPResponse, as wire: StreamWire, _ context: ChannelHandlerContext
    ) {
        // Writes are carried out in their order: when this one is, nothing is left of those before it.
        write([], context)?.whenSuccess {
            if handoff.take(socketOf: context.channel, head: head, as: wire) {
                context.close(promise: nil)
            } else if wire == .webSocket {
                self.end(head, WebSocketFrame.close(.tooMany), context)
            } else {
                self.answerUnavailable(head, context)
            }
        }
    }

    /// Writes the head of a WebSocket and all that there is to be said on it, and ends the connection.
    private func end(_ head: HTTPResponse, _ frames: [UInt8], _ context: ChannelHandlerContext) {
        let channel = context.channel
        let timeout = context.eventLoop.scheduleTask(in: Self.closeFrameTimeout) { channel.close(promise: nil) }
        write(head.bytes(isChunked: false) + frames, context)?.whenComplete { _ in
            timeout.cancel()
            // The client sees at once that nothing follows, and has the time to end its side.
            context.close(mode: .output, promise: nil)
            self.closeSoon(context)
        }
    }

    /// Writes bytes as they are.
    private func write(_ bytes: [UInt8], _ context: ChannelHandlerContext) -> EventLoopFuture<Void>.Isolated? {
        let encoder = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        guard let encoder else {
            context.close(promise: nil)
            return nil
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        encoder.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes)), promise: written)
        return written.futureResult.assumeIsolated()
    }

    /// Answers with a stream that cannot be served now: the process has no descriptor left.
    private func answerUnavailable(_ head: HTTPResponse, _ context: ChannelHandlerContext) {
        let events = ServerSentEvent.retry(jitteredRetry()) + ServerSentEvent.unavailable
        var head = head
        head.headerFields[.contentLength] = "\(events.count)"
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(ByteBuffer(bytes: events))), promise: nil)
        writeLast(NIOAny(HTTPResponsePart.end(nil)), nil, context)
        context.flush()
    }

    /// Closes the connection after a while.
    ///
    /// The framework goes on reading what a client sends whatever was answered; and a close with unread input would reset the
    /// connection, which can lose the answer (RFC 9112, 9.6).
    private func closeSoon(_ context: ChannelHandlerContext) {
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.lingering) { channel.close(promise: nil) }
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        // A half-close would shut down the socket, which is the stream's too.
        if isHandedOver, mode == .output {
            promise?.succeed()
            return
        }
        context.close(mode: mode, promise: promise)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // In the middle of an answer there is no place for another.
        guard error is HTTPParserError, requests.isEmpty else { return context.fireErrorCaught(error) }
        context.writeEarlyAnswer(Problem(.malformed, "The request is not HTTP."))
        closeSoon(context)
    }
}

extension NIOBSDSocket.Option {
    /// `TCP_USER_TIMEOUT` of Linux's `netinet/tcp.h`.
    fileprivate static let tcp_user_timeout = NIOBSDSocket.Option(rawValue: 18)
}

/// Sees what comes out of the decoder: what the HTTP types do not carry, and whether anything more will.
final class DecoderWatch: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    /// The version of the last request: a client of HTTP/1.0 knows no chunks.
    private(set) var version = HTTPVersion.http1_1
    /// The decoder reads nothing behind the last request, and would keep whatever comes.
    private(set) var isLast = false
    /// The last request is complete.
    private(set) var hasStopped = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            version = head.version
            // llhttp stops where another protocol may begin: behind CONNECT, and behind `Upgrade` when `Connection`, or
            // `Proxy-Connection`, says so. Where it would go on all the same, the client is told that the connection ends.
            isLast = head.method == .CONNECT || head.headers.contains(name: "Upgrade")
        case .body: break
        case .end: hasStopped = isLast
        }
        context.fireChannelRead(data)
    }
}
