import HummingbirdCore
import Logging
import NIOCore
import Progress

/// Reads what a client sends first, and decides who answers: the ``StreamOpener``, or the framework.
///
/// A connection begins with this handler alone. The handlers of the framework, and the work of its task, come only if the
/// framework answers. It then gets everything that the client has sent, and this handler is gone.
final class OpeningHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What the handler does with the connection.
    private enum State {
        /// The client has sent nothing. Goes on to `opening`, `over` and `framework`.
        case idle
        /// The hub has the request. Goes on to `over` and `framework`.
        case opening(StreamOpening)
        /// The connection is closed, or the reactor has it.
        case over
        /// The framework has the connection.
        case framework
    }

    /// How many bytes the handler keeps, before it stops to read until the hub has answered.
    private static let bufferLimit = 64 * 1024

    private let opener: StreamOpener
    private let server: HTTP1Channel
    private let idleTimeout: TimeAmount
    private let logger: Logger
    private let tasks: FrameworkTasks
    private var state = State.idle
    private var timer: Scheduled<Void>?
    /// Everything that the client has sent.
    private var received = ByteBuffer()
    /// The events that the framework has missed.
    private var events: [Any] = []

    init(
        opener: StreamOpener, server: HTTP1Channel, idleTimeout: TimeAmount, logger: Logger, tasks: FrameworkTasks
    ) {
        self.opener = opener
        self.server = server
        self.idleTimeout = idleTimeout
        self.logger = logger
        self.tasks = tasks
    }

    func channelActive(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: idleTimeout) { self.close(context) }
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { end() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch state {
        case .idle:
            timer?.cancel()
            received = unwrapInboundIn(data)
            guard let opening = opener.read(Array(received.readableBytesView), from: context.channel.remoteAddress)
            else {
                return passToFramework(nil, context)
            }
            state = .opening(opening)
            subscribe(opening, context)
        case .opening:
            var bytes = unwrapInboundIn(data)
            received.writeBuffer(&bytes)
        case .over: break
        case .framework: context.fireChannelRead(data)
        }
    }

    private func subscribe(_ opening: StreamOpening, _ context: ChannelHandlerContext) {
        let eventLoop = context.eventLoop
        let bound = NIOLoopBound((self, context), eventLoop: eventLoop)
        opener.subscribe(opening) { answer in
            eventLoop.execute {
                let (handler, context) = bound.value
                handler.answered(answer, context)
            }
        }
    }

    /// Takes the hub's answer.
    private func answered(_ answer: Result<SubscribeOutcome, any Error>, _ context: ChannelHandlerContext) {
        // The client may have left. The hub then ends the watcher, whose watch is released here.
        guard case .opening(let opening) = state else { return }
        if opener.begin(opening, answer, on: context.channel, logger) { return close(context) }
        let pipeline = context.pipeline.syncOperations
        passToFramework(PreparedOpening(opening, answer), context)
        // The read that brought the bytes is over.
        pipeline.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        // The client does not wait for its answer. TCP slows it down.
        if received.readableBytes < Self.bufferLimit { context.read() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch state {
        // The client has ended its side, or the server stops: nothing follows.
        case .idle where event is ChannelShouldQuiesceEvent || event as? ChannelEvent == .inputClosed: close(context)
        case .idle, .over: break
        case .opening: events.append(event)
        case .framework: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { close(context) }

    /// Sets up the framework's handlers, and gives them what the client has sent.
    private func passToFramework(_ opening: PreparedOpening?, _ context: ChannelHandlerContext) {
        state = .framework
        let (channel, pipeline) = (context.channel, context.pipeline.syncOperations)
        // The future is complete at once, on this event loop.
        let framework = server.setup(channel: channel, logger: logger)
        framework.whenSuccess { [tasks, server] in
            tasks.begin(OpeningChannel.Framework(channel: $0, opening: opening), of: server)
        }
        framework.whenFailure { _ in channel.close(promise: nil) }
        pipeline.removeHandler(self, promise: nil)
        pipeline.fireChannelRead(NIOAny(received))
        if received.readableBytes >= Self.bufferLimit { channel.read() }
        received = ByteBuffer()
        for event in events { pipeline.fireUserInboundEventTriggered(event) }
        events = []
    }

    private func close(_ context: ChannelHandlerContext) {
        end()
        context.close(promise: nil)
    }

    /// The connection ends, unless the framework has it.
    private func end() {
        switch state {
        case .idle, .opening:
            timer?.cancel()
            state = .over
        case .over, .framework: break
        }
    }
}
