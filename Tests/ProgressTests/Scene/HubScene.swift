import CoreMetrics
import Domain
import Logging
import Polling
import Store
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import Progress

/// A running hub on a thread of its own, with a database in memory and sockets that are lists.
struct HubScene: Sendable {
    let hub: ProgressHub
    let reader: FakeReader
    let sink: FakeSink
    private let clock: ManualClock
    private let running: Task<Void, any Error>

    init(
        hub: ProgressHub, reader: FakeReader, sink: FakeSink, clock: ManualClock, running: Task<Void, any Error>
    ) {
        self.hub = hub
        self.reader = reader
        self.sink = sink
        self.clock = clock
        self.running = running
    }

    /// Stops the hub, as the stop of the server does.
    func stop() async throws {
        running.cancel()
        try await running.value
    }

    /// An open stream, and the messages that its watcher gets.
    struct Stream {
        let authorization: SessionAuthorization
        let watch: Watch
        fileprivate var inbox: AsyncStream<WatcherMessage>.Iterator

        /// The next message; its absence fails the test.
        mutating func next() async throws -> WatcherMessage { try #require(await inbox.next()) }

        /// The next message, which must be a state.
        mutating func nextState() async throws -> (version: Int64, after: [Int64]) {
            let message = try await next()
            guard case .state(let progress, let after) = message else { throw Unexpected(message: message) }
            return (progress.version, after.map(\.version))
        }

        /// The states up to a version.
        ///
        /// Every message must be a state.
        mutating func states(upTo version: Int64) async throws -> [Int64] {
            var versions: [Int64] = []
            repeat { versions.append(try await nextState().version) } while versions.last != version
            return versions
        }
    }

    struct Unexpected: Error { let message: WatcherMessage }

    /// Subscribes, and gives the stream a socket.
    func stream(of session: SessionID, for principal: Principal = .random(), after: Int64? = nil) async throws -> Stream
    {
        guard
            case .subscribed(let authorization, let watch?) = try await hub.subscribe(
                to: session, for: principal, after: after)
        else {
            throw NotSubscribed()
        }
        let stream = Stream(authorization: authorization, watch: watch, inbox: sink.inbox(of: watch.watcher))
        await hub.attach(watch)
        return stream
    }

    struct NotSubscribed: Error {}

    func hint(_ session: SessionID, _ version: Int64) async {
        await hub.receive([.hints([ChangeHint(session: session, version: version)])])
    }

    /// The longest time that the hub waits after a failed read.
    static let longestDelay = Duration.seconds(2)

    /// Moves the clock.
    func advance(by duration: Duration) { clock.advance(by: duration) }

    /// Waits until the hub has performed everything that was queued on its thread.
    func turn() async {
        await withCheckedContinuation { continuation in hub.poller.execute { continuation.resume() } }
    }

    /// Waits for something that the hub does by itself, and without a signal.
    func eventually(
        fileID: String = #fileID, line: Int = #line, _ condition: (isolated ProgressHub) -> Bool
    ) async throws {
        try await within("a state of the hub", fileID: fileID, line: line) {
            while await !condition(hub) {
                try Task.checkCancellation()
                await Task.yield()
            }
        }
    }

    /// Lets the hub poll several times.
    ///
    /// Each poll begins after the one before has succeeded.
    func polls(_ count: Int, every interval: Duration) async throws {
        for _ in 0..<count {
            let snapshots = reader.snapshots
            advance(by: interval)
            try await eventually { _ in reader.snapshots > snapshots }
        }
    }
}

/// Lends a running hub whose clock stands still, and stops it.
func withHub<Result>(
    pollInterval: Duration = .seconds(3600), admission: StreamAdmission = .unlimited,
    _ body: (HubScene) async throws -> Result
) async throws -> Result {
    let clock = ManualClock()
    let poller = try Poller(name: "test-hub", clock: clock)
    defer { poller.stop() }
    let (reader, sink) = (FakeReader(), FakeSink())
    let hub = ProgressHub(
        poller: poller, reader: reader, sink: sink, admission: admission, pollInterval: pollInterval,
        metrics: NOOPMetricsHandler.instance, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let running = Task { try await hub.run() }
    let scene = HubScene(hub: hub, reader: reader, sink: sink, clock: clock, running: running)
    let result: Result
    do {
        // The hub has begun to measure time, and knows where the log of rights begins.
        try await scene.eventually { $0.machine.due != nil && $0.machine.watchers.rights.snapshot != nil }
        result = try await body(scene)
    } catch {
        try await scene.stop()
        throw error
    }
    try await scene.stop()
    return result
}

extension ProgressHub {
    /// Gives a watcher a socket, as the reactor does.
    func attach(_ watch: Watch) { watch.attach() }

    var watchedSessions: [SessionID] { machine.watchedSessions }
    var watcherCount: Int { machine.begunCount }
    var streamCount: Int { machine.admission.total }
    var hasPauses: Bool { !machine.pauses.isEmpty }
    var pendingCount: Int { machine.subscriptions.waiting(.sessions) }
}

/// Sockets that are lists, and that make exceptions on request.
final class FakeSink: WatcherSink {
    private struct State {
        var inboxes: [WatcherID: AsyncStream<WatcherMessage>.Continuation] = [:]
        var exceptions: [WatcherID: DeliveryException] = [:]
    }
    private let state = Mutex(State())

    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)] {
        delivery.watchers.compactMap { watcher in
            let (inbox, exception) = state.withLock { state in
                (state.inboxes[watcher], delivery.message.isLast ? nil : state.exceptions[watcher])
            }
            if exception == nil || exception == .full { inbox?.yield(delivery.message) }
            return exception.map { (watcher, $0) }
        }
    }

    func inbox(of watcher: WatcherID) -> AsyncStream<WatcherMessage>.Iterator {
        let (stream, continuation) = AsyncStream.makeStream(of: WatcherMessage.self)
        state.withLock { $0.inboxes[watcher] = continuation }
        return stream.makeAsyncIterator()
    }

    /// Makes an exception for a watcher, or, with nil, no longer.
    func setException(_ exception: DeliveryException?, for watcher: WatcherID) {
        state.withLock { $0.exceptions[watcher] = exception }
    }
}
