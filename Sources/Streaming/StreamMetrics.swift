import CoreMetrics

/// What the reactor counts.
struct StreamMetrics: Sendable {
    private let openStreams: Meter
    private let openedTotal: Counter
    private let framesTotal: Counter
    private let heartbeatsTotal: Counter
    private let blockedTotal: Counter
    private let endedTotal: [StreamEnd: Counter]

    init(factory: any MetricsFactory) {
        openStreams = Meter(label: "therapybridge_streams_open", factory: factory)
        openedTotal = Counter(label: "therapybridge_streams_opened_total", factory: factory)
        framesTotal = Counter(label: "therapybridge_stream_frames_total", factory: factory)
        heartbeatsTotal = Counter(label: "therapybridge_stream_heartbeats_total", factory: factory)
        blockedTotal = Counter(label: "therapybridge_stream_blocked_total", factory: factory)
        let reasons: [StreamEnd] = [.ended, .clientClosed, .broken, .stalled, .shutdown]
        endedTotal = Dictionary(
            uniqueKeysWithValues: reasons.map { reason in
                (
                    reason,
                    Counter(
                        label: "therapybridge_streams_ended_total", dimensions: [("reason", reason.rawValue)],
                        factory: factory)
                )
            })
    }

    func opened() {
        openStreams.increment()
        openedTotal.increment()
    }

    func ended(_ reason: StreamEnd) {
        openStreams.decrement()
        endedTotal[reason]?.increment()
    }

    func frameSent() { framesTotal.increment() }
    func heartbeat() { heartbeatsTotal.increment() }
    func blocked() { blockedTotal.increment() }
}
