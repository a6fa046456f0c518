import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOHTTPTypesHTTP1
import Streaming

/// What each connection needs besides HTTP itself.
///
/// - It answers `Expect: 100-continue`.
/// - It answers bytes that are not HTTP with a problem instead of an empty 400.
/// - It lets the kernel close connections whose client has vanished.
/// - It lets the sockets of streams and WebSockets leave the framework.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long sent bytes may stay unacknowledged before the connection counts as dead, in milliseconds.
    private static let userTimeout = 60_000

    /// How many reads of a connection the framework may pass on together.
    ///
    /// Each pass moves an upload to another thread and back. Two passes may wait in memory, of up to 64 KiB a read.
    private static let readsInARow: UInt = 8

    /// How long a client may take to read the Close frame of a refused WebSocket.
    private static let closeFrameTimeout = TimeAmount.seconds(60)

    /// How long a client may take to read an answer with `Connection: close` and to close.
    static let lingering = TimeAmount.seconds(1)

    /// A request whose answer is not complete.
    private struct PendingRequest {
        let version: HTTPVersion
        /// True if the server reads nothing after this request.
        let isLast: Bool
        /// True if the client waits for 100 before it sends the body.
        var awaitsContinue: Bool
    }

    /// The oldest request comes first.
    ///
    /// Its answer is the one being written.
    private var requests: [PendingRequest] = []
    /// True if the present answer says `Connection: close`.
    private var isLastAnswer = false
    /// Watches the output of the decoder.
    let decoded = DecoderWatch()
    /// What the next answer makes of the connection.
    var takeover: ConnectionTakeover?
    /// True once the client has closed its side or the connection.
    private(set) var hasClientLeft = false
    /// Is called once when the client closes its side or the connection.
    private var onClientLeaving: (@Sendable () -> Void)?
    /// True once the reactor has the connection.
    ///
    /// It discards what the framework still writes.
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
            let isOld = decoded.version == .http1_0
            requests.append(
                PendingRequest(
                    version: decoded.version, isLast: decoded.isLast,
                    // RFC 9110, 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST
                    // ignore that expectation."
                    awaitsContinue: !isOld && head.headerFields[.expect]?.lowercased() == "100-continue"))
            sayContinue(context)
            if isOld {
                // RFC 9110, 7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
                head.headerFields[.upgrade] = nil
                // HTTP/1.0 has no `Host`. A client that sends one gets it checked like any other.
                if head.authority == nil { head.authority = "" }
                return context.fireChannelRead(wrapInboundOut(.head(head)))
            }
        }
        context.fireChannelRead(data)
    }

    /// Calls back when the client closes its side or the connection, or at once if it has.
    ///
    /// A later call replaces an earlier one, which belongs to an earlier request.
    func whenClientLeaves(_ action: @escaping @Sendable () -> Void) {
        if hasClientLeft { return action() }
        onClientLeaving = action
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { clientLeaves() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        clientLeaves()
        context.fireChannelInactive()
    }

    private func clientLeaves() {
        hasClientLeft = true
        onClientLeaving.take()?()
    }

    /// Tells the client to send the body, after all earlier answers: in the middle of an answer, these bytes would be
    /// part of it.
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
            // A client that has its answer needs no 100 any more.
            if !requests.isEmpty { requests[0].awaitsContinue = false }
            if requests.first?.isLast == true, !isLastAnswer {
                // Nothing reads what the client sends after this request.
                isLastAnswer = true
                head.headerFields.append(HTTPField(name: .connection, value: "close"))
                return context.write(wrapOutboundOut(.head(head)), promise: promise)
            }
        case .body: break
        case .end:
            let request = requests.isEmpty ? nil : requests.removeFirst()
            if isLastAnswer { return writeLast(data, promise, endsOutput: request?.version == .http1_0, context) }
            context.write(data, promise: promise)
            return sayContinue(context)
        }
        context.write(data, promise: promise)
    }

    /// Writes the end of the last answer.
    ///
    /// A while after the kernel has taken it, closes the connection.
    ///
    /// - Parameters:
    ///   - data: The end of the answer.
    ///   - promise: Completes when the kernel has taken it.
    ///   - endsOutput: True to end the server's side at once. A client of HTTP/1.0 may wait for that end.
    ///   - context: The context of this handler.
    private func writeLast(
        _ data: NIOAny, _ promise: EventLoopPromise<Void>?, endsOutput: Bool = false, _ context: ChannelHandlerContext
    ) {
        let written = promise ?? context.eventLoop.makePromise()
        written.futureResult.assumeIsolated().whenComplete { _ in
            if endsOutput { context.close(mode: .output, promise: nil) }
            self.closeSoon(context)
        }
        context.write(data, promise: written)
    }

    private func depart(_ takeover: ConnectionTakeover, head: HTTPResponse, _ context: ChannelHandlerContext) {
        switch takeover {
        case .stream(let handoff):
            handOver(handoff, head: head, as: requests.first?.version == .http1_0 ? .bare : .chunks, context)
        case .webSocket(let handoff): handOver(handoff, head: head, as: .webSocket, context)
        case .webSocketEvents(let handoff): handOver(handoff, head: head, as: .webSocketEvents, context)
        case .closedWebSocket(let frames): end(head, frames, context)
        }
    }

    /// Gives the connection to the reactor, once the kernel has all earlier answers.
    private func handOver(
        _ handoff: StreamHandoff, head: HTTPResponse, as wire: StreamWire, _ context: ChannelHandlerContext
    ) {
        // Writes complete in order. When this empty write completes, the earlier ones have too.
        write([], context)?.whenSuccess {
            let bytes = head.bytes(isChunked: wire == .chunks)
            if handoff.take(socketOf: context.channel, head: bytes, as: wire) {
                context.close(promise: nil)
            } else if wire.isWebSocket {
                self.end(head, WebSocketFrame.close(.tooMany), context)
            } else {
                self.answerUnavailable(head, context)
            }
        }
    }

    /// Writes the head of a WebSocket and all its frames, and ends the connection.
    private func end(_ head: HTTPResponse, _ frames: [UInt8], _ context: ChannelHandlerContext) {
        let channel = context.channel
        let timeout = context.eventLoop.scheduleTask(in: Self.closeFrameTimeout) { channel.close(promise: nil) }
        write(head.bytes(isChunked: false) + frames, context)?.whenComplete { _ in
            timeout.cancel()
            // The client sees at once that nothing follows, and has time to close its side.
            context.close(mode: .output, promise: nil)
            self.closeSoon(context)
        }
    }

    /// Writes bytes unchanged.
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

    /// Answers that the stream is unavailable: the process has no free descriptor.
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
    /// The framework meanwhile reads what the client sends. Closing a socket with unread input would reset the connection,
    /// which can lose the answer (RFC 9112, 9.6). While ``PaceHandler`` reads a refused upload, it closes the connection.
    private func closeSoon(_ context: ChannelHandlerContext) {
        if isReadingRest(context) { return }
        let channel = context.channel
        context.eventLoop.scheduleTask(in: Self.lingering) { channel.close(promise: nil) }
    }

    private func isReadingRest(_ context: ChannelHandlerContext) -> Bool {
        (try? context.pipeline.syncOperations.handler(type: PaceHandler.self))?.isReadingRest ?? false
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        // A half-close would shut down the socket, which the stream still uses. A client that is still sending may take it
        // for the end of the connection.
        if isHandedOver || isReadingRest(context), mode == .output {
            promise?.succeed()
            return
        }
        context.close(mode: mode, promise: promise)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // After a request has begun, an answer to it may be in progress, and a second answer would be part of it.
        guard error is HTTPParserError, requests.isEmpty else { return context.fireErrorCaught(error) }
        context.writeEarlyAnswer(Problem(.malformed, "The request is not HTTP."))
        closeSoon(context)
    }
}

extension NIOBSDSocket.Option {
    /// `TCP_USER_TIMEOUT` of Linux's `netinet/tcp.h`.
    fileprivate static let tcp_user_timeout = NIOBSDSocket.Option(rawValue: 18)
}

/// Watches the output of the decoder, for facts that the HTTP types do not carry.
final class DecoderWatch: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    /// The version of the last request.
    ///
    /// A client of HTTP/1.0 does not understand chunks.
    private(set) var version = HTTPVersion.http1_1
    /// True if the server reads nothing after the last request.
    ///
    /// Either the decoder has stopped, and would store all further bytes. Or the request is of HTTP/1.0: the connection ends
    /// with its answer.
    private(set) var isLast = false
    /// True if the last request is complete, and ``isLast``.
    private(set) var hasStopped = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The same read may have brought another request.
        if hasStopped { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            version = head.version
            // llhttp stops where another protocol may begin: after CONNECT, and after `Upgrade` if `Connection` or
            // `Proxy-Connection` names it. In the cases where it would go on, the client learns from the answer that
            // the connection ends.
            isLast = head.version == .http1_0 || head.method == .CONNECT || head.headers.contains(name: "Upgrade")
        case .body: break
        case .end: hasStopped = isLast
        }
        context.fireChannelRead(data)
    }
}
