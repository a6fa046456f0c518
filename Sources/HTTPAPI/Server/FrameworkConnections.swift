import FoundationEssentials
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The connections whose requests the framework answers.
///
/// Each gets a channel on one of the event loops, and a task. The channel first gets what the client has sent already.
final class FrameworkConnections: Sendable {
    /// A connection that the framework takes over.
    struct Arrival: Sendable {
        /// The socket, which does not block.
        let descriptor: CInt
        /// Everything that was read from the socket.
        let received: [UInt8]
        /// The hub's answer to the first request; nil if the hub was not asked.
        let opening: PreparedOpening?
        /// Is called once the socket is closed.
        let onClose: @Sendable () -> Void
    }

    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// How many connections have no task yet.
        var arrivals = 0
        var isQuiescing = false
        var isFinished = false

        /// True if no task will begin any more.
        var isComplete: Bool { isFinished && arrivals == 0 }
    }

    private struct Connection: Sendable {
        let channel: HTTP1Channel.Value
        let opening: PreparedOpening?
    }

    private let server: HTTP1Channel
    private let eventLoops: any EventLoopGroup
    private let logger: Logger
    private let state = Mutex(State())
    private let connections = AsyncStream.makeStream(of: Connection.self)

    /// A group without connections.
    ///
    /// - Parameters:
    ///   - server: Sets up the handlers of a channel, and answers its requests.
    ///   - eventLoops: The threads of the channels, which take turns.
    ///   - logger: Takes the log.
    init(
        _ server: HTTP1Channel, eventLoops: any EventLoopGroup = .singletonMultiThreadedEventLoopGroup, logger: Logger
    ) {
        self.server = server
        self.eventLoops = eventLoops
        self.logger = logger
    }

    /// Runs the tasks of all connections until ``finish()``, and waits for the last one.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await connection in connections.stream { group.addTask { await self.handle(connection) } }
        }
    }

    private func handle(_ connection: Connection) async {
        guard let opening = connection.opening else {
            return await server.handle(value: connection.channel, logger: logger)
        }
        await PreparedOpening.$ofConnection.withValue(opening) {
            await server.handle(value: connection.channel, logger: logger)
        }
    }

    /// Lets the open connections end with their present answers, and those that come later with their first one.
    func quiesce() {
        let channels = state.withLock { state in
            state.isQuiescing = true
            return Array(state.channels.values)
        }
        for channel in channels {
            channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        }
    }

    /// Answers the uploads that are still under way: the server is about to go.
    func endUploads() {
        for channel in state.withLock({ Array($0.channels.values) }) {
            channel.eventLoop.execute { channel.pipeline.fireUserInboundEventTriggered(UploadsEndEvent()) }
        }
    }

    /// Lets ``run()`` end with the last connection.
    ///
    /// No connection may come later.
    func finish() {
        let isComplete = state.withLock { state in
            state.isFinished = true
            return state.isComplete
        }
        if isComplete { connections.continuation.finish() }
    }

    // MARK: - Channels

    /// Takes over a connection, with its descriptor.
    func take(_ arrival: Arrival) {
        state.withLock { $0.arrivals += 1 }
        let eventLoop = eventLoops.next()
        eventLoop.execute {
            self.makeChannel(arrival, on: eventLoop)
            self.arrived()
        }
    }

    private func arrived() {
        let isComplete = state.withLock { state in
            state.arrivals -= 1
            return state.isComplete
        }
        if isComplete { connections.continuation.finish() }
    }

    private func makeChannel(_ arrival: Arrival, on eventLoop: any EventLoop) {
        let isSetUp = NIOLoopBoundBox(false, eventLoop: eventLoop)
        let channel = ClientBootstrap(group: eventLoop)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelInitializer { channel in
                isSetUp.value = true
                channel.closeFuture.whenComplete { _ in arrival.onClose() }
                return self.setUp(channel, arrival)
            }
            .withConnectedSocket(arrival.descriptor)
        channel.whenFailure { [logger] error in
            logger.debug("a connection has failed before its first request", metadata: ["error": "\(error)"])
            // The kernel has refused an option, and the channel is closed.
            if !isSetUp.value { arrival.onClose() }
        }
    }

    private func setUp(_ channel: any Channel, _ arrival: Arrival) -> EventLoopFuture<Void> {
        server.setup(channel: channel, logger: logger).flatMapThrowing { value in
            guard self.begin(Connection(channel: value, opening: arrival.opening)) else { throw CancellationError() }
            // The handlers above have put handlers of their own at this place. Those need the first bytes too.
            try channel.pipeline.syncOperations.addHandler(
                FirstBytesHandler(ByteBuffer(bytes: arrival.received)) { self.add(channel) }, position: .first)
        }
    }

    /// Begins the task of a connection.
    ///
    /// - Returns: False if the server was cancelled. The caller closes the channel.
    private func begin(_ connection: Connection) -> Bool {
        guard case .terminated = connections.continuation.yield(connection) else { return true }
        // Not structured: the group of the tasks has ended. This task ends as soon as the channel is closed. Its end
        // releases the channel as the framework requires.
        Task { await handle(connection) }
        return false
    }

    /// Adds an open channel.
    ///
    /// - Returns: True if the channel has to quiesce.
    private func add(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let isQuiescing = state.withLock { state in
            state.channels[id] = channel
            return state.isQuiescing
        }
        channel.closeFuture.whenComplete { _ in self.state.withLock { $0.channels[id] = nil } }
        return isQuiescing
    }
}

/// Gives the handlers of a channel the bytes that were read before the channel existed.
private final class FirstBytesHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let bytes: ByteBuffer
    private let becameActive: () -> Bool

    /// A handler for the first place of a pipeline.
    ///
    /// - Parameters:
    ///   - bytes: What the client has sent.
    ///   - becameActive: Is called once the channel is open, and returns whether the channel has to quiesce.
    init(_ bytes: ByteBuffer, _ becameActive: @escaping () -> Bool) {
        self.bytes = bytes
        self.becameActive = becameActive
    }

    func channelActive(context: ChannelHandlerContext) {
        let isQuiescing = becameActive()
        context.fireChannelActive()
        context.fireChannelRead(wrapInboundOut(bytes))
        context.fireChannelReadComplete()
        // After the bytes, so that a request that has begun gets its answer.
        if isQuiescing { context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
