public import CoreMetrics
public import Logging
public import Polling
public import Progress
public import ServiceLifecycle
import Streaming

/// The hub and the sockets of the open streams, on one thread.
///
/// As a service it ends every stream when the server stops; it has to be shut down before the HTTP server is, which would
/// wait for nothing then.
public struct StreamEngine: Service {
    /// Who is told what.
    public let hub: ProgressHub
    let reactor: StreamReactor
    /// The reactor refers to it weakly.
    private let events: StreamEvents
    let settings: StreamSettings
    private let drainTimeout: Duration

    /// - Parameters:
    ///   - reader: Reads the database for the hub.
    ///   - settings: How streams live, and how many there may be.
    ///   - drainTimeout: How long streams have to end when the server stops.
    ///   - clock: The clock of the thread on which all of it lives.
    ///   - metrics: Makes the counters.
    ///   - logger: Takes the log.
    /// - Throws: `PollerError` when the process is out of descriptors or threads.
    public init(
        reader: any ProgressReader, settings: StreamSettings, drainTimeout: Duration, clock: any MonotonicClock,
        metrics: any MetricsFactory,
        logger: Logger
    ) throws {
        reactor = try StreamReactor(
            heartbeatInterval: settings.heartbeatInterval, clock: clock, metrics: metrics, logger: logger)
        hub = ProgressHub(
            poller: reactor.poller, reader: reader, sink: StreamSink(reactor: reactor),
            admission: StreamAdmission(limit: settings.maximumStreams, limitPerUser: settings.maximumStreamsPerUser),
            pollInterval: settings.updateInterval, metrics: metrics, logger: logger)
        events = StreamEvents(hub: hub)
        self.settings = settings
        self.drainTimeout = drainTimeout
    }

    /// Runs the hub until the graceful shutdown, then ends every stream.
    public func run() async throws {
        await reactor.setDelegate(events)
        try await hub.run()
        await reactor.shutDown(within: drainTimeout) { wire in
            wire == .webSocket
                ? Frame(webSocketFrames: WebSocketFrame.close(.shutdown))
                : Frame(ServerSentEvent.retry(jitteredRetry()), isLast: true)
        }
    }

    /// Takes over a connection whose response is the stream of a watcher.
    ///
    /// The head is the one of the response, as it goes over the wire, and announces `wire`.
    func adopt(_ handoff: StreamHandoff, _ socket: StreamSocket, head: [UInt8], as wire: StreamWire) {
        reactor.poller.execute {
            // Rights may have changed while the answers before this one went out.
            let isCurrent = handoff.watch.isCurrent
            let payload = isCurrent ? handoff.opening : handoff.preamble(of: wire)
            let opening =
                wire == .webSocket
                ? Frame(head: head, webSocketFrames: payload)
                : Frame(head: head, payload: payload, isChunked: wire == .chunks)
            reactor.assumeIsolated { reactor in
                reactor.adopt(
                    StreamID(handoff.watch.watcher), socket, as: wire, firstFrame: opening,
                    expiresAt: handoff.expiresAt, livesUntil: handoff.livesUntil)
            }
            if isCurrent {
                handoff.watch.attach()
            } else {
                handoff.watch.attachWithoutSnapshot(clientHas: handoff.version)
            }
        }
    }
}
