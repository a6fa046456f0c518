import FoundationEssentials
import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// The server is about to go: an upload that has no answer yet gets one now.
struct UploadsEndEvent: Sendable {}

/// Closes connections of clients that send a request too slowly, or a body that nobody needs.
///
/// Only the client's delays count. While the server does not read, because a disk or the database is slow, the time
/// stands still. The time is the event loop's. A stream leaves the framework, and with it this handler.
final class PaceHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How many bytes of a body the server reads after its answer to keep the connection.
    ///
    /// Reading more costs more than a new connection.
    private static let surplusLimit = 1 << 20
    /// How long the server reads the rest of a refused upload at most.
    private static let restTime = TimeAmount.minutes(5)
    /// A longer pause in reading is the server's own.
    private static let pause = TimeAmount.milliseconds(100)

    private var pace: RequestPace
    private var timer: Scheduled<Void>?
    /// How many requests have no complete answer.
    private var pendingRequests = 0
    /// True if the answer of the oldest of them has begun.
    private var hasBegunAnswer = false
    /// How many bytes of a body came after its answer.
    private var surplus = 0
    /// The server reads the whole body after this answer, and closes the connection then; nil for other answers.
    private var rest: BodyRest?
    private var restTimer: Scheduled<Void>?
    /// When the server stopped reading; nil while it reads.
    private var pausedSince: NIODeadline?
    /// True if the newest request brings bytes of an upload.
    private var isUpload = false
    /// True once the handler has closed the connection or sent its answer.
    ///
    /// It drops later input, and what the framework still answers.
    private var isOver = false

    init(limits: RequestPace.Limits) { pace = RequestPace(limits: limits) }

    func handlerAdded(context: ChannelHandlerContext) {
        // The decoder passes on only whole heads. Once it has stopped, it stores everything.
        let decoded = try? context.pipeline.syncOperations.handler(type: ConnectionHandler.self).decoded
        try? context.pipeline.syncOperations.addHandler(
            ByteWatch { [self] in
                if decoded?.hasStopped == true { return false }
                pace.bytesCame(at: context.eventLoop.now)
                schedule(context)
                return true
            }, position: .first)
    }

    func handlerRemoved(context: ChannelHandlerContext) { cancelTimers() }

    func channelInactive(context: ChannelHandlerContext) {
        cancelTimers()
        rest = nil
        context.fireChannelInactive()
    }

    private func cancelTimers() {
        timer?.cancel()
        restTimer?.cancel()
    }

    /// Makes the server read the body of the present request to its end, although the answer comes before.
    ///
    /// Firefox reads an answer only after it has sent the whole body. If the connection is closed before, it shows an
    /// error of the network instead of the refusal.
    func readRest(_ rest: BodyRest) { self.rest = rest }

    /// True while the client still sends a body that is read to its end after the answer.
    var isReadingRest: Bool { rest != nil && pendingRequests == 0 && pace.isInBody }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isOver { return }
        switch unwrapInboundIn(data) {
        case .head(let head):
            pendingRequests += 1
            surplus = 0
            isUpload = Self.isUpload(head) && (head.method == .post || head.method == .patch)
            pace.headCame(at: context.eventLoop.now, isUpload: Self.isUpload(head))
        case .body(let bytes):
            pace.bodyCame(bytes.readableBytes, at: context.eventLoop.now)
            if pendingRequests == 0 { surplus += bytes.readableBytes }
        case .end:
            if isReadingRest { closeSoon(context) }
            pace.endCame()
        }
        guard surplus <= rest?.limit ?? Self.surplusLimit else { return close(context) }
        schedule(context)
        // The framework does not need these bytes, and would stop to read.
        if isReadingRest { return }
        context.fireChannelRead(data)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is UploadsEndEvent else { return context.fireUserInboundEventTriggered(event) }
        guard isUpload, pendingRequests == 1, !hasBegunAnswer, !isOver else { return }
        context.writeEarlyAnswer(Problem(.unavailable, Self.stoppingServer).closing())
        isOver = true
    }

    private static let stoppingServer =
        "The server is shutting down. Ask for the session or the upload in a moment, and send the rest, or the file again."

    func channelReadComplete(context: ChannelHandlerContext) {
        pausedSince = context.eventLoop.now
        context.fireChannelReadComplete()
        if isReadingRest { read(context: context) }
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
            if pendingRequests == 0 { endUploadTime(context) }
            if isReadingRest { beginReadingRest(context) }
        }
        context.write(data, promise: promise)
    }

    private func beginReadingRest(_ context: ChannelHandlerContext) {
        let channel = context.channel
        restTimer = context.eventLoop.scheduleTask(in: Self.restTime) { channel.close(promise: nil) }
        read(context: context)
    }

    /// Closes the connection after the client had time to read the answer and to close.
    private func closeSoon(_ context: ChannelHandlerContext) {
        let channel = context.channel
        context.eventLoop.scheduleTask(in: ConnectionHandler.lingering) { channel.close(promise: nil) }
    }

    /// Gives the rest of an upload that has its answer no more time than another body.
    private func endUploadTime(_ context: ChannelHandlerContext) {
        guard pace.isInUpload else { return }
        pace.answerCame(at: context.eventLoop.now)
        timer?.cancel()
        timer = nil
        schedule(context)
    }

    private func schedule(_ context: ChannelHandlerContext) {
        // One timer that checks again costs less than a new timer for each request.
        guard timer == nil, !isOver, let deadline = pace.deadline else { return }
        timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [self] in
            timer = nil
            look(context)
            schedule(context)
        }
    }

    /// Checks whether the client is late, and if it is, ends the connection.
    private func look(_ context: ChannelHandlerContext) {
        let now = context.eventLoop.now
        guard let deadline = pace.deadline, deadline <= now else { return }
        if pausedSince != nil || pendingRequests > 1 || hasBegunAnswer || pendingRequests == 1 && !pace.isInBody {
            // The server is working on an earlier part.
            pace.excuse(at: now)
        } else if pendingRequests == 0, pace.isInBody {
            // The rest of a body whose request already has its answer.
            close(context)
        } else {
            let detail = pace.isInUpload ? Self.stalledUpload : "The request did not arrive in time."
            context.writeEarlyAnswer(Problem(.tooSlow, detail).closing())
            isOver = true
        }
    }

    private static let stalledUpload =
        "The upload stood still for too long. Send it so that it can be resumed: begin it by POST /api/uploads."

    /// True if the body of a request is an upload, or a part of one.
    private static func isUpload(_ head: HTTPRequest) -> Bool {
        let path = head.path?.prefix { $0 != "?" } ?? ""
        return path == "/api/sessions/upload" || path == TusVersion.path || path.hasPrefix(TusVersion.path + "/")
    }

    private func close(_ context: ChannelHandlerContext) {
        isOver = true
        context.close(promise: nil)
    }

    /// Reports incoming bytes before the decoder sees them, and drops them if nobody needs them.
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
