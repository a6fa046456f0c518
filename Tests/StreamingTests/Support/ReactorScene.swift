import CoreMetrics
import Logging
import Polling
import Synchronization
import TestSupport
import Testing

@testable import Streaming

/// A running reactor, clients over loopback, and a record of the events that the delegate gets.
struct ReactorScene: Sendable {
    let reactor: StreamReactor
    let delegate: RecordingDelegate
    let loopback: Loopback

    /// A frame that is too large for the sockets' buffers.
    private static let large = Frame(Array(String(repeating: "abcdefghijklmnopqrstuvw", count: 87_000).utf8))
    static let shutdownFrame = Frame(Array("retry: 1\n\n".utf8), isLast: true)

    /// The present moment on the reactor's clock.
    var now: ContinuousClock.Instant { reactor.poller.clock.now }

    /// An open stream.
    struct Stream: Sendable {
        let id: StreamID
        let client: Client
        /// Identifies the server's socket.
        let identity: String

        /// Reads so many bytes, or fewer if the stream ends before.
        func read(_ count: Int) async throws -> String {
            String(decoding: try await onThread { try client.read(exactly: count) }, as: UTF8.self)
        }
    }

    /// Opens a stream.
    ///
    /// - Parameters:
    ///   - slot: The slot of the stream.
    ///   - generation: The generation of the stream.
    ///   - firstFrame: The head and the first payload.
    ///   - isChunked: Whether the client knows chunks.
    ///   - wire: How frames travel; nil for what `isChunked` says.
    ///   - receiveBuffer: How many bytes the client's kernel may keep unread; nil for the system's choice.
    ///   - expiresIn: When the token expires.
    ///   - livesFor: The maximum lifetime.
    /// - Returns: The stream.
    /// - Throws: ``SocketError``
    func open(
        _ slot: UInt32 = 0, generation: UInt32 = 0,
        firstFrame: Frame = Frame(head: [], payload: Array("hello".utf8), isChunked: true),
        isChunked: Bool = true, as wire: StreamWire? = nil, receiveBuffer: CInt? = nil,
        expiresIn: Duration = .seconds(3600),
        livesFor: Duration = .seconds(3600)
    ) async throws -> Stream {
        let (server, identity, client) = try loopback.connect(receiveBuffer: receiveBuffer)
        let stream = Stream(id: StreamID(slot: slot, generation: generation), client: client, identity: identity)
        await reactor.adopt(
            stream.id, server, as: wire ?? (isChunked ? .chunks : .bare), firstFrame: firstFrame,
            expiresAt: now + expiresIn, livesUntil: now + livesFor)
        return stream
    }

    /// Sends a frame to one stream.
    func send(_ frame: Frame, to stream: Stream) async -> SendOutcome {
        await reactor.send(frame, to: [stream.id]).first?.outcome ?? .sent
    }

    func send(_ text: String, to stream: Stream) async -> SendOutcome {
        await send(Frame(Array(text.utf8)), to: stream)
    }

    @discardableResult
    func end(_ stream: Stream, with text: String = "bye") async -> Bool {
        await reactor.end(stream.id, with: Frame(Array(text.utf8), isLast: true))
    }

    /// Opens a stream with a frame that stays unfinished until its client reads.
    func blocked(isChunked: Bool = true) async throws -> (stream: Stream, unfinished: Frame) {
        let firstFrame = Frame(head: [], payload: Array("hello".utf8), isChunked: isChunked)
        let stream = try await open(firstFrame: firstFrame, isChunked: isChunked, receiveBuffer: 4096)
        #expect(await send(Self.large, to: stream) == .started)
        return (stream, Self.large)
    }
}

/// Lends a running reactor, and ends it.
func withReactor<Result>(
    heartbeat: Duration = .seconds(3600), ping: Duration = .seconds(3600),
    clock: any MonotonicClock = ContinuousClock(), _ body: (ReactorScene) async throws -> Result
) async throws -> Result {
    let reactor = try StreamReactor(
        heartbeatInterval: heartbeat, pingInterval: ping, clock: clock, metrics: NOOPMetricsHandler.instance,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let delegate = RecordingDelegate(reactor)
    await reactor.setDelegate(delegate)
    let scene = ReactorScene(reactor: reactor, delegate: delegate, loopback: try Loopback())
    let result: Result
    do {
        result = try await body(scene)
    } catch {
        await reactor.shutDown(within: .zero) { _ in ReactorScene.shutdownFrame }
        throw error
    }
    await reactor.shutDown(within: .zero) { _ in ReactorScene.shutdownFrame }
    withExtendedLifetime(delegate) {}
    return result
}

/// Records the events of the reactor, and ends expired streams.
final class RecordingDelegate: StreamReactorDelegate {
    enum Event: Equatable, Sendable {
        case filled(StreamID)
        case drained(StreamID)
        case expired(StreamID)
        case outlived(StreamID)
        case leaving(StreamID)
        case closed(StreamID)
    }

    /// The events, in order.
    struct Events: Sendable {
        let stream: AsyncStream<Event>

        func makeAsyncIterator() -> Iterator { Iterator(iterator: stream.makeAsyncIterator()) }

        struct Iterator {
            var iterator: AsyncStream<Event>.Iterator

            mutating func next(fileID: String = #fileID, line: Int = #line) async throws -> Event? {
                try await within("an event of the reactor", fileID: fileID, line: line) { await iterator.next() }
            }
        }
    }

    private let reactor: StreamReactor
    private let continuation: AsyncStream<Event>.Continuation
    /// The events, for one reader.
    let events: Events
    /// The last frame of expired and outlived streams; nil leaves them open.
    let lastFrame = Mutex<Frame?>(nil)

    init(_ reactor: StreamReactor) {
        self.reactor = reactor
        let (stream, continuation) = AsyncStream.makeStream(of: Event.self)
        events = Events(stream: stream)
        self.continuation = continuation
    }

    func streamFilled(_ id: StreamID) { continuation.yield(.filled(id)) }
    func streamDrained(_ id: StreamID) { continuation.yield(.drained(id)) }
    func streamExpired(_ id: StreamID) { end(id, .expired(id)) }
    func streamOutlived(_ id: StreamID) { end(id, .outlived(id)) }
    func streamLeaving(_ id: StreamID) { continuation.yield(.leaving(id)) }
    func streamClosed(_ id: StreamID) { continuation.yield(.closed(id)) }

    private func end(_ id: StreamID, _ event: Event) {
        continuation.yield(event)
        guard let last = lastFrame.withLock({ $0 }) else { return }
        reactor.assumeIsolated { _ = $0.end(id, with: last) }
    }
}
