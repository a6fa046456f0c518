import Foundation
import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Cuts off clients that send their requests too slowly, or a body for which nobody waits any more.
///
/// Only what a client may be blamed for counts: while the server does not read, because a disk or a database is slow,
/// the time does not run. The time is that of the event loop. Streams have left the framework, and this handler with it.
final class PaceHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How much of a body is read after the answer, to keep the connection: more costs more than a new one.
    private static let surplusLimit = 1 << 20
    /// A pause in reading that is longer than this is the server's.
    private static let pause = TimeAmount.milliseconds(100)

    private var pace: RequestPace
    private var timer: Scheduled<Void>?
    /// Requests whose answer is not complete.
    private var pendingRequests = 0
    /// The oldest of them has the beginning of its answer.
    private var hasBegunAnswer = false
    /// How much of a body came after its answer.
    private var surplus = 0
    /// Since when nobody reads; nil while somebody does.
    private var pausedSince: NIODeadline?
    /// The last word was said: what still comes is dropped, and so is what the framework would answer.
    private var isOver = false

    init(limits: RequestPace.Limits) { pace = RequestPace(limits: limits) }

    func handlerAdded(context: ChannelHandlerContext) {
        // The decoder keeps what is no whole head to itself, and once it has stopped, everything.
        let decoded = try? context.pipeline.syncOperations.handler(type: ConnectionHandler.self).decoded
        try? context.pipeline.syncOperations.addHandler(
            ByteWatch { [self] in
                if decoded?.hasStopped == true { return false }
                pace.bytesCame(at: context.eventLoop.now)
                schedule(context)
                return true
            }, position: .first)
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isOver { return }
        switch unwrapInboundIn(data) {
        case .head:
            pendingRequests += 1
            surplus = 0
            pace.headCame(at: context.eventLoop.now)
        case .body(let bytes):
            pace.bodyCame(bytes.readableBytes, at: context.eventLoop.now)
            if pendingRequests == 0 { surplus += bytes.readableBytes }
        case .end: pace.endCame()
        }
        guard surplus <= Self.surplusLimit else { return close(context) }
        schedule(context)
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        pausedSince = context.eventLoop.now
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        let now = context.eventLoop.now
        if let pausedSince, now - pausedSince > Self.pause { pace.excuse(at: now) }
        pausedSince = nil
        context.read()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isOver {
            promise?.succeed()
            return
        }
        switch unwrapOutboundIn(data) {
        case .head: hasBegunAnswer = true
        case .body: break
        case .end:
            pendingRequests -= 1
            hasBegunAnswer = false
        }
        context.write(data, promise: promise)
    }

    private func schedule(_ context: ChannelHandlerContext) {
        // One timer that looks again is cheaper than a new one for every request.
        guard timer == nil, !isOver, let deadline = pace.deadline else { return }
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [self] in
            timer = nil
            look(context)
            schedule(context)
        }
    }

    /// Sees whether the client is late, and has it out if so.
    private func look(_ context: ChannelHandlerContext) {
        let now = context.eventLoop.now
        guard let deadline = pace.deadline, deadline <= now else { return }
        if pausedSince != nil || pendingRequests > 1 || hasBegunAnswer || pendingRequests == 1 && !pace.isInBody {
            // The server is at work on what came before.
            pace.excuse(at: now)
        } else if pendingRequests == 0, pace.isInBody {
            // That body has its answer.
            close(context)
        } else {
            let answer = Problem(.tooSlow, "The request did not come in time.").closing()
            context.writeEarlyAnswer(answer)
            isOver = true
        }
    }

    private func close(_ context: ChannelHandlerContext) {
        isOver = true
        context.close(promise: nil)
    }

    /// Says when bytes come, before anybody knows what they are, and is told whether anybody will want them.
    private final class ByteWatch: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias InboundOut = ByteBuffer

        private let cameBytes: () -> Bool

        init(_ cameBytes: @escaping () -> Bool) { self.cameBytes = cameBytes }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if cameBytes() { context.fireChannelRead(data) }
        }
    }
}
