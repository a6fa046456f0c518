import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Streaming

/// What every connection needs beside HTTP itself.
///
/// It answers `Expect: 100-continue`, answers what is no HTTP with a problem instead of an empty 400, has the kernel close
/// connections whose other side is gone, and lets the sockets of streams leave the framework.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout = 60_000

    /// How often a connection is read before what came is passed on: an upload goes to another thread and back each time.
    private static let readsInARow: UInt = 16

    /// How long a client that was told `Connection: close` may take to read the answer and close.
    private static let lingering = TimeAmount.seconds(1)

    /// Requests whose answer is not complete.
    private var openRequests = 0
    /// The present answer says `Connection: close`.
    private var isLastAnswer = false
    private let version = RequestVersion()
    /// The stream that the next answer begins.
    var handoff: StreamHandoff?
    /// The connection is a stream's: what the framework still writes goes nowhere.
    private var isHandedOver = false

    func handlerAdded(context: ChannelHandlerContext) {
        // TCP_USER_TIMEOUT, tcp(7): "the maximum amount of time in milliseconds that transmitted data may remain
        // unacknowledged […] before TCP will forcibly close the corresponding connection".
        _ = context.channel.setOption(.tcpOption(.tcp_user_timeout), value: Self.userTimeout)
        _ = context.channel.setOption(.maxMessagesPerRead, value: Self.readsInARow)
        let pipeline = context.pipeline.syncOperations
        if let codec = try? pipeline.handler(type: HTTP1ToHTTPServerCodec.self) {
            try? pipeline.addHandler(version, position: .before(codec))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            openRequests += 1
            if head.headerFields[.expect]?.lowercased() == "100-continue" {
                // RFC 9110, 10.1.1: the client waits for this before it sends the body.
                context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
            }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let part = unwrapOutboundIn(data)
        if isHandedOver {
            promise?.succeed()
            return
        }
        switch part {
        case .head(let head):
            isLastAnswer = head.headerFields[.connection] == "close"
            if let handoff = handoff.take(), head.status == .ok {
                isHandedOver = true
                promise?.succeed()
                return handOver(handoff, head: head, context)
            }
        case .body: break
        case .end:
            openRequests -= 1
            if isLastAnswer { closeSoon(context) }
        }
        context.write(data, promise: promise)
    }

    /// Gives the connection away, once earlier answers on it are with the kernel.
    private func handOver(_ handoff: StreamHandoff, head: HTTPResponse, _ context: ChannelHandlerContext) {
        let isChunked = version.last != .http1_0
        let encoder = try? context.pipeline.syncOperations.context(handlerType: HTTPResponseEncoder.self)
        guard let encoder else { return context.close(promise: nil) }
        let written = context.eventLoop.makePromise(of: Void.self)
        // Writes are carried out in their order: when this one is, nothing is left of those before it.
        encoder.writeAndFlush(NIOAny(ByteBuffer()), promise: written)
        written.futureResult.assumeIsolated().whenSuccess {
            if handoff.take(socketOf: context.channel, head: head, isChunked: isChunked) {
                context.close(promise: nil)
            } else {
                self.apologise(head, context)
            }
        }
    }

    /// Answers with a stream that cannot be served now: the process has no descriptor left.
    private func apologise(_ head: HTTPResponse, _ context: ChannelHandlerContext) {
        let events = ServerSentEvent.retry(jitteredRetry()) + ServerSentEvent.unavailable
        var head = head
        head.headerFields[.contentLength] = "\(events.count)"
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(ByteBuffer(bytes: events))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        closeSoon(context)
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
        guard error is HTTPParserError, openRequests == 0 else { return context.fireErrorCaught(error) }
        context.writeEarlyAnswer(Problem(.malformed, "The request is not HTTP."))
        closeSoon(context)
    }
}

extension NIOBSDSocket.Option {
    /// `TCP_USER_TIMEOUT` of Linux's `netinet/tcp.h`.
    fileprivate static let tcp_user_timeout = NIOBSDSocket.Option(rawValue: 18)
}

/// Remembers the version of the last request: the HTTP types do not carry it, and a client of HTTP/1.0 knows no chunks.
private final class RequestVersion: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    private(set) var last = HTTPVersion.http1_1

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) { last = head.version }
        context.fireChannelRead(data)
    }
}

/// The connection behind a request, for the routes that answer with a stream.
struct ClientConnection: Sendable {
    let channel: any Channel

    /// Makes the answer that comes next the beginning of a stream.
    ///
    /// If the connection is gone, so is whoever wanted the stream.
    func handOver(_ handoff: StreamHandoff) async {
        let isArmed = channel.eventLoop.submit { [channel] in
            try channel.pipeline.syncOperations.handler(type: ConnectionHandler.self).handoff = handoff
        }
        try? await isArmed.get()
    }
}
