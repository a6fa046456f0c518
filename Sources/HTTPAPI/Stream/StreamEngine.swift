public import CoreMetrics
public import Logging
public import Polling
public import Progress
public import ServiceLifecycle
import Streaming

/// The hub and the sockets of the open streams, on one thread.
///
/// As a service, it ends every stream when the server stops. It has to shut down before the HTTP server, which would
/// otherwise wait for the streams.
public struct StreamEngine: Service {
    /// Decides which stream gets which message.
    public let hub: ProgressHub
    let reactor: StreamReactor
    /// Held here because the reactor refers to it weakly.
    private let events: StreamEvents
    let settings: StreamSettings
    private let drainTimeout: Duration

    /// Makes the hub and the reactor.
    ///
    /// - Parameters:
    ///   - reader: Reads the database for the hub.
    ///   - settings: How streams behave, and how many there may be.
    ///   - drainTimeout: How long streams may take to end when the server stops.
    ///   - clock: The clock of the thread.
    ///   - metrics: Makes the counters.
    ///   - logger: Takes the log.
    /// - Throws: `PollerError` if the process has no descriptor or thread left.
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
            wire.isWebSocket
                ? Frame(webSocketFrames: WebSocketFrame.close(.shutdown))
                : Frame(ServerSentEvent.retry(jitteredRetry()), isLast: true)
        }
    }

    /// Takes over the connection of a response that is a stream.
    ///
    /// - Parameters:
    ///   - handoff: The stream.
    ///   - socket: The connection's socket.
    ///   - head: The head of the response as bytes, which announces `wire`.
    ///   - wire: The form of the stream.
    func adopt(_ handoff: StreamHandoff, _ socket: StreamSocket, head: [UInt8], as wire: StreamWire) {
        reactor.poller.execute {
            // Rights may have changed while earlier answers on this connection went out.
            let isCurrent = handoff.watch.isCurrent
            let payload = isCurrent ? handoff.firstPayload : handoff.preamble(of: wire)
            let firstFrame =
                wire.isWebSocket
                ? Frame(head: head, webSocketFrames: payload)
                : Frame(head: head, payload: payload, isChunked: wire == .chunks)
            reactor.assumeIsolated { reactor in
                reactor.adopt(
                    StreamID(handoff.watch.watcher), socket, as: wire, firstFrame: firstFrame,
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
