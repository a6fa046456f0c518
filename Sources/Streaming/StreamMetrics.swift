import CoreMetrics

/// The counters of the reactor.
struct StreamMetrics: Sendable {
    /// The counters that are separate for events and for WebSockets.
    private struct Transport {
        let open: Meter
        let openedTotal: Counter
        let endedTotal: [StreamEnd: Counter]

        init(_ name: String, reasons: [StreamEnd], factory: any MetricsFactory) {
            let label = ("transport", name)
            open = Meter(label: "therapybridge_streams_open", dimensions: [label], factory: factory)
            openedTotal = Counter(
                label: "therapybridge_streams_opened_total", dimensions: [label], factory: factory)
            endedTotal = Dictionary(
                uniqueKeysWithValues: reasons.map { reason in
                    let labels = [("reason", reason.rawValue), label]
                    return (
                        reason,
                        Counter(label: "therapybridge_streams_ended_total", dimensions: labels, factory: factory)
                    )
                })
        }
    }

    private let events: Transport
    private let webSockets: Transport
    private let framesTotal: Counter
    private let heartbeatsTotal: Counter
    private let blockedTotal: Counter

    init(factory: any MetricsFactory) {
        let reasons: [StreamEnd] = [.ended, .clientClosed, .broken, .stalled, .shutdown]
        events = Transport("sse", reasons: reasons, factory: factory)
        webSockets = Transport("websocket", reasons: reasons + [.violation], factory: factory)
        framesTotal = Counter(label: "therapybridge_stream_frames_total", factory: factory)
        heartbeatsTotal = Counter(label: "therapybridge_stream_heartbeats_total", factory: factory)
        blockedTotal = Counter(label: "therapybridge_stream_blocked_total", factory: factory)
    }

    func opened(_ wire: StreamWire) {
        let transport = transport(of: wire)
        transport.open.increment()
        transport.openedTotal.increment()
    }

    func ended(_ reason: StreamEnd, _ wire: StreamWire) {
        let transport = transport(of: wire)
        transport.open.decrement()
        transport.endedTotal[reason]?.increment()
    }

    private func transport(of wire: StreamWire) -> Transport { wire.isWebSocket ? webSockets : events }

    func frameSent() { framesTotal.increment() }
    func heartbeat() { heartbeatsTotal.increment() }
    func blocked() { blockedTotal.increment() }
}
