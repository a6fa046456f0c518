import Domain
import Progress
import Store
import Streaming

/// Sends the hub's messages: it encodes each once, and gives the frame to the sockets of all its receivers.
///
/// The hub, the reactor and this sink run on one thread.
final class StreamSink: WatcherSink {
    private let reactor: StreamReactor

    init(reactor: StreamReactor) { self.reactor = reactor }

    func deliver(_ delivery: Delivery) -> [(watcher: WatcherID, exception: DeliveryException)] {
        reactor.assumeIsolated { reactor in
            guard reactor.webSocketCount > 0 else { return Self.deliver(delivery, on: reactor) }
            let (events, webSockets, webSocketEvents) = Self.byWire(delivery, on: reactor)
            return Self.deliver(events, on: reactor)
                + Self.deliver(delivery.message.webSocketFrames, of: webSockets, on: reactor)
                + Self.deliver(delivery.message.webSocketEvents, of: webSocketEvents, on: reactor)
        }
    }

    /// The parts of a delivery for Server-Sent Events and for the two kinds of WebSockets.
    ///
    /// A stream that has ended counts as one of Server-Sent Events.
    private static func byWire(
        _ delivery: Delivery, on reactor: isolated StreamReactor
    ) -> (events: Delivery, webSockets: Delivery, webSocketEvents: Delivery) {
        var none = delivery
        none.watchers = []
        var parts = (events: none, webSockets: none, webSocketEvents: none)
        for watcher in delivery.watchers {
            switch reactor.wire(of: StreamID(watcher)) {
            case .chunks, .bare, nil: parts.events.watchers.append(watcher)
            case .webSocket: parts.webSockets.watchers.append(watcher)
            case .webSocketEvents: parts.webSocketEvents.watchers.append(watcher)
            }
        }
        return parts
    }

    private static func deliver(
        _ delivery: Delivery, on reactor: isolated StreamReactor
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        guard !delivery.watchers.isEmpty else { return [] }
        let message = delivery.message
        guard message.isLast else { return send(Frame(message.bytes), to: delivery.watchers, on: reactor) }
        var shared: Frame?
        return end(delivery, on: reactor) {
            // Each of these clients gets its own reconnection delay, which spreads them over time.
            let frame = shared ?? Frame(message.bytes, isLast: true)
            if message != .reconnect { shared = frame }
            return frame
        }
    }

    /// Sends frames to the WebSockets of a delivery.
    ///
    /// - Parameters:
    ///   - frames: The frames; evaluated only if there are such WebSockets. Nil if the message has no form on them.
    ///   - delivery: The message and the WebSockets.
    ///   - reactor: The reactor.
    /// - Returns: The WebSockets that did not get all of it.
    private static func deliver(
        _ frames: @autoclosure () -> [UInt8]?, of delivery: Delivery, on reactor: isolated StreamReactor
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        guard !delivery.watchers.isEmpty, let bytes = frames() else { return [] }
        let frame = Frame(webSocketFrames: bytes)
        return delivery.message.isLast
            ? end(delivery, on: reactor) { frame } : send(frame, to: delivery.watchers, on: reactor)
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
        _ delivery: Delivery, on reactor: isolated StreamReactor, with frame: () -> Frame
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        if case .state = delivery.message { return finish(delivery, on: reactor, with: frame) }
        // After a revocation the stream must not begin any other frame.
        let isRevocation = if case .revoked = delivery.message { true } else { false }
        return delivery.watchers.compactMap { watcher in
            let isThere = reactor.end(StreamID(watcher), with: frame(), beginsNoOther: isRevocation)
            return isThere ? nil : (watcher, .gone)
        }
    }
}

extension StreamSink {
    /// Ends streams with the last state of the session.
    ///
    /// If a socket has no room, the hub checks the right again when it has.
    private static func finish(
        _ delivery: Delivery, on reactor: isolated StreamReactor, with frame: () -> Frame
    ) -> [(watcher: WatcherID, exception: DeliveryException)] {
        delivery.watchers.compactMap { watcher in
            switch reactor.finish(StreamID(watcher), with: frame()) {
            case .sent, .started: nil
            case .refused: (watcher, .refused)
            case .gone: (watcher, .gone)
            }
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
    func streamLeaving(_ id: StreamID) { hub.assumeIsolated { $0.leaving(WatcherID(id)) } }
    func streamClosed(_ id: StreamID) { hub.assumeIsolated { $0.closed(WatcherID(id)) } }
}

// A watcher with a socket is a stream, and both have the same id.

extension StreamID {
    init(_ watcher: WatcherID) { self.init(slot: watcher.slot, generation: watcher.generation) }
}

extension WatcherID {
    init(_ stream: StreamID) { self.init(slot: stream.slot, generation: stream.generation) }
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
        case .caseload(let events, let before, let after):
            return Self.bytes(events, before: before, after: after, as: ServerSentEvent.self)
        case .degraded: return ServerSentEvent.degraded
        case .recovered: return ServerSentEvent.recovered
        case .revoked(let session): return ServerSentEvent.revoked(session)
        case .expired(let session): return ServerSentEvent.expired(session)
        case .reconnect: return ServerSentEvent.retry(jitteredRetry())
        }
    }

    /// The events of all sessions.
    ///
    /// Only the last event carries the position after all of them. A client that gets only some of them therefore asks
    /// for the others again.
    ///
    /// - Parameters:
    ///   - events: The events, in order.
    ///   - before: The position before the first event; nil if unknown.
    ///   - after: The position after the last event; nil if unknown.
    ///   - form: The form of an event.
    /// - Returns: The bytes of all events.
    static func bytes(
        _ events: [CaseloadEvent], before: FeedPosition?, after: FeedPosition?, as form: any CaseloadEncoding.Type
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        for (index, event) in events.enumerated() {
            let id = (index == events.count - 1 ? after : before)?.id
            switch event {
            case .state(let progress): bytes += form.caseload(progress, id: id, name: nil)
            case .passed(let progress): bytes += form.caseload(progress, id: id, name: "progress")
            case .added(let progress): bytes += form.caseload(progress, id: id, name: "session_added")
            case .removed(let session): bytes += form.removed(session, id: id)
            case .ready: bytes += form.ready(id: id)
            }
        }
        return bytes
    }
}
