import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import NIOWebSocket
import Synchronization

/// A WebSocket to the server.
///
/// It reads from the network when somebody asks for a message.
struct SocketLine: Sendable {
    /// What came over the WebSocket.
    enum Message: Hashable, Sendable {
        case text(String)
        /// A ping, or the answer to one: the server is there.
        case sign
        case closed(code: Int, reason: String)
    }

    /// The answer to a handshake.
    enum Answer: Sendable {
        case line(SocketLine)
        /// Another status than 101.
        case refused(HTTPResponseHead)
    }

    /// Where a server listens.
    struct Address: Hashable, Sendable {
        let host: String
        let port: Int
        let isSecure: Bool
    }

    fileprivate enum Upgrade: Sendable {
        case line(SocketLine)
        case refused(EventLoopFuture<HTTPResponseHead>)
    }

    /// The trusted authorities are read once.
    private static let tls = Result { try NIOSSLContext(configuration: .makeClientConfiguration()) }

    private let channel: any Channel
    private let inbox: NIOLoopBound<SocketInbox>

    /// Connects, and makes the handshake.
    ///
    /// - Parameters:
    ///   - address: Where the server listens.
    ///   - target: The path with its query.
    ///   - headers: The headers, with `Host`.
    /// - Returns: The answer.
    /// - Throws: The errors of NIO; a cancelled task gets one of them soon.
    static func open(_ address: Address, target: String, headers: HTTPHeaders) async throws -> Answer {
        let attempt = Attempt()
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target, headers: headers)
        let tls = address.isSecure ? try Self.tls.get() : nil
        return try await withTaskCancellationHandler {
            let upgrade = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.seconds(10))
                // The end of the connection may come right behind the first frames. It must not end the upgrade.
                .channelOption(.maxMessagesPerRead, value: 1)
                .connect(host: address.host, port: address.port) {
                    channel -> EventLoopFuture<EventLoopFuture<Upgrade>> in
                    attempt.begin(channel)
                    return channel.eventLoop.makeCompletedFuture {
                        if let tls {
                            // An address cannot be the name of a server (RFC 6066, 3).
                            let isName = (try? SocketAddress(ipAddress: address.host, port: 0)) == nil
                            try channel.pipeline.syncOperations.addHandler(
                                NIOSSLClientHandler(context: tls, serverHostname: isName ? address.host : nil))
                        }
                        return try Self.configure(channel, head)
                    }
                }
            switch try await upgrade.get() {
            case .line(let line): return .line(line)
            case .refused(let head): return .refused(try await head.get())
            }
        } onCancel: {
            attempt.cancel()
        }
    }

    private static func configure(_ channel: any Channel, _ head: HTTPRequestHead) throws -> EventLoopFuture<Upgrade> {
        let upgrader = NIOTypedWebSocketClientUpgrader<Upgrade>(
            maxFrameSize: EventParser.limit, enableAutomaticErrorHandling: false
        ) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                // A slow caller slows down the server.
                try channel.syncOptions?.setOption(.autoRead, value: false)
                let inbox = SocketInbox(channel.eventLoop)
                try channel.pipeline.syncOperations.addHandlers(
                    NIOWebSocketFrameAggregator(
                        minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: .max,
                        maxAccumulatedFrameSize: EventParser.limit), inbox)
                return .line(
                    SocketLine(channel: channel, inbox: NIOLoopBound(inbox, eventLoop: channel.eventLoop)))
            }
        }
        let configuration = NIOTypedHTTPClientUpgradeConfiguration<Upgrade>(
            upgradeRequestHead: head, upgraders: [upgrader]
        ) { channel in
            channel.eventLoop.makeCompletedFuture {
                let refusal = SocketRefusal(channel.eventLoop)
                try channel.pipeline.syncOperations.addHandler(refusal)
                return .refused(refusal.head.futureResult)
            }
        }
        var pipeline = NIOUpgradableHTTPClientPipelineConfiguration(upgradeConfiguration: configuration)
        // The first frames may come in one packet with the head.
        pipeline.leftOverBytesStrategy = .forwardBytes
        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(configuration: pipeline)
    }

    /// The next message.
    ///
    /// - Throws: `ChannelError`, or another error of NIO, if the connection has ended without a Close frame. A cancelled task
    ///   ends the connection.
    func next() async throws -> Message {
        try await withTaskCancellationHandler {
            try await channel.eventLoop.flatSubmit { inbox.value.next() }.get()
        } onCancel: {
            close()
        }
    }

    /// Sends a ping.
    func ping() { channel.eventLoop.execute { inbox.value.ping() } }

    /// Ends the connection.
    func close() { channel.close(promise: nil) }

    /// An attempt to connect, which can be cancelled at any time.
    private final class Attempt: Sendable {
        private let state = Mutex<(channel: (any Channel)?, isCancelled: Bool)>((nil, false))

        func begin(_ channel: any Channel) {
            let isCancelled = state.withLock { state in
                state.channel = channel
                return state.isCancelled
            }
            if isCancelled { channel.close(promise: nil) }
        }

        func cancel() {
            let channel = state.withLock { state in
                state.isCancelled = true
                return state.channel
            }
            channel?.close(promise: nil)
        }
    }
}

/// Keeps what has come over a WebSocket until somebody asks for it, and answers pings.
private final class SocketInbox: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let loop: any EventLoop
    private var context: ChannelHandlerContext?
    private var messages: ArraySlice<SocketLine.Message> = []
    private var waiter: EventLoopPromise<SocketLine.Message>?
    private var failure: (any Error)?

    init(_ loop: any EventLoop) { self.loop = loop }

    func next() -> EventLoopFuture<SocketLine.Message> {
        if let message = messages.popFirst() { return loop.makeSucceededFuture(message) }
        if let failure { return loop.makeFailedFuture(failure) }
        let promise = loop.makePromise(of: SocketLine.Message.self)
        waiter = promise
        context?.read()
        return promise.futureResult
    }

    func ping() { send(.ping, ByteBuffer()) }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        fail(ChannelError.alreadyClosed)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail(ChannelError.inputClosed)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(error)
        context.close(promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // The message is not yet whole.
        if waiter != nil { context.read() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = unwrapInboundIn(data)
        var payload = frame.unmaskedData
        switch frame.opcode {
        case .text, .binary: deliver(.text(String(buffer: payload)))
        case .ping:
            send(.pong, payload)
            deliver(.sign)
        case .pong: deliver(.sign)
        case .connectionClose:
            send(.connectionClose, payload.getSlice(at: payload.readerIndex, length: 2) ?? ByteBuffer())
            let code = payload.readInteger(as: UInt16.self)
            deliver(.closed(code: code.map(Int.init) ?? 1005, reason: String(buffer: payload)))
            context.close(promise: nil)
        default: break
        }
    }

    private func send(_ opcode: WebSocketOpcode, _ payload: ByteBuffer) {
        // RFC 6455, 5.1: "a client MUST mask all frames that it sends to the server".
        let frame = WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: payload)
        context?.writeAndFlush(wrapOutboundOut(frame), promise: nil)
    }

    private func deliver(_ message: SocketLine.Message) {
        guard let waiter else { return messages.append(message) }
        self.waiter = nil
        waiter.succeed(message)
    }

    private func fail(_ error: any Error) {
        failure = failure ?? error
        waiter?.fail(error)
        waiter = nil
    }
}

/// Takes the head of an answer that refuses the handshake.
private final class SocketRefusal: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    let head: EventLoopPromise<HTTPResponseHead>

    init(_ loop: any EventLoop) { head = loop.makePromise() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data) else { return }
        self.head.succeed(head)
        context.close(promise: nil)
    }

    func handlerRemoved(context: ChannelHandlerContext) { head.fail(ChannelError.alreadyClosed) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        head.fail(error)
        context.close(promise: nil)
    }
}
