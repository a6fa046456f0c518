import Domain
import Progress
import Store
import Streaming

/// Puts the hub's messages on the wire: each is encoded once and goes to the sockets of all who are to get it.
///
/// Hub and reactor live on one thread, and this stands between them on the same.
final class StreamSink: WatcherSink {
    private let reactor: StreamReactor

    init(reactor: StreamReactor) { self.reactor = reactor }

    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)] {
        reactor.assumeIsolated { reactor in
            delivery.message.isLast
                ? Self.end(delivery, on: reactor)
                : Self.send(Frame(delivery.message.bytes), to: delivery.watchers, on: reactor)
        }
    }

    private static func send(
        _ frame: Frame, to watchers: [WatcherID], on reactor: isolated StreamReactor
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        reactor.send(frame, to: watchers.map(StreamID.init)).compactMap { exception in
            let watcher = watchers[exception.index]
            switch exception.outcome {
            case .sent: return nil
            case .started: return (watcher, .full)
            case .refused: return (watcher, .refused)
            case .gone: return (watcher, .gone)
            }
        }
    }

    private static func end(
        _ delivery: Delivery, on reactor: isolated StreamReactor
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        var shared: Frame?
        // After the end of a right nothing is begun but what tells of it.
        let isRevocation = if case .revoked = delivery.message { true } else { false }
        return delivery.watchers.compactMap { watcher in
            // Who is told to come back later is told a time of its own, so that not all come back together.
            let frame = shared ?? Frame(delivery.message.bytes, isLast: true)
            if delivery.message != .goodbye { shared = frame }
            let isThere = reactor.end(StreamID(watcher), with: frame, beginsNoOther: isRevocation)
            return isThere ? nil : (watcher, .gone)
        }
    }
}

/// Tells the hub what happens to the sockets.
final class StreamEvents: StreamReactorDelegate {
    private let hub: ProgressHub

    init(hub: ProgressHub) { self.hub = hub }

    func streamFilled(_ id: StreamID) { hub.assumeIsolated { $0.filled(WatcherID(id)) } }
    func streamDrained(_ id: StreamID) { hub.assumeIsolated { $0.ready(WatcherID(id)) } }
    func streamExpired(_ id: StreamID) { hub.assumeIsolated { $0.expired(WatcherID(id)) } }
    func streamOutlived(_ id: StreamID) { hub.assumeIsolated { $0.outlived(WatcherID(id)) } }
    func streamClosed(_ id: StreamID) { hub.assumeIsolated { $0.closed(WatcherID(id)) } }
}

// A watcher with a socket is a stream: the one has the name of the other.

extension StreamID {
    init(_ watcher: WatcherID) { self.init(place: watcher.place, generation: watcher.generation) }
}

extension WatcherID {
    init(_ stream: StreamID) { self.init(place: stream.place, generation: stream.generation) }
}

extension WatcherMessage {
    /// The message as events.
    var bytes: [UInt8] {
        switch self {
        case .state(let progress, let transitions):
            var bytes: [UInt8] = []
            for transition in transitions {
                bytes += ServerSentEvent.passed(
                    transition.progress(of: progress.sessionID, createdAt: progress.createdAt))
            }
            return bytes + ServerSentEvent.state(progress)
        case .caseload(let events, let before, let after): return Self.bytes(events, before: before, after: after)
        case .degraded: return ServerSentEvent.degraded
        case .recovered: return ServerSentEvent.recovered
        case .revoked(let session): return ServerSentEvent.revoked(session)
        case .expired(let session): return ServerSentEvent.expired(session)
        case .goodbye: return ServerSentEvent.retry(jitteredRetry())
        }
    }

    /// The events of a caseload.
    ///
    /// Only the last one has the position after them all: a client that gets a part of them comes back for the others.
    static func bytes(_ events: [CaseloadEvent], before: FeedPosition?, after: FeedPosition?) -> [UInt8] {
        var bytes: [UInt8] = []
        for (index, event) in events.enumerated() {
            let id = (index == events.count - 1 ? after : before)?.id
            switch event {
            case .state(let progress): bytes += ServerSentEvent.caseload(progress, id: id)
            case .passed(let progress): bytes += ServerSentEvent.caseload(progress, id: id, name: "progress")
            case .added(let progress): bytes += ServerSentEvent.caseload(progress, id: id, name: "session_added")
            case .removed(let session): bytes += ServerSentEvent.removed(session, id: id)
            case .ready: bytes += ServerSentEvent.ready(id: id)
            }
        }
        return bytes
    }
}

/// A time to come back in, spread so that all whose streams end together do not come back together.
func jitteredRetry() -> Duration { .milliseconds(Int.random(in: 500...5000)) }
