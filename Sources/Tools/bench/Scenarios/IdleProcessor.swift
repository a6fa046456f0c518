/// The processor time of open streams with nothing but heartbeats.
struct IdleProcessor: Scenario {
    static let name = "idle-processor"
    static let summary = "processor time of idle streams with heartbeats"

    func run(on bed: TestBed) async throws -> [Finding] {
        // Two heartbeats of each stream, at the default interval of 15 s.
        let time = bed.duration(30)
        let ours = try await bed.withServer { server in
            try await share(server.figures, bed.ownSessions(of: server, bed.streams), over: time, on: bed)
        }
        let nchan = try await bed.nchan { peer in
            try await share(
                peer.figures, bed.peerStreams(of: peer, bed.streams) { "/sub/\($0)" }, over: time, on: bed)
        }
        let polling = try await bed.fastAPI("FastAPI polling") { peer in
            try await share(
                peer.figures, bed.peerStreams(of: peer, bed.fastAPIStreams) { "/poll/\($0)" }, over: time, on: bed)
        }
        let pushing = try await bed.fastAPI("sse-starlette") { peer in
            try await share(
                peer.figures, bed.peerStreams(of: peer, bed.fastAPIStreams) { "/push/\($0)" }, over: time, on: bed)
        }
        return [
            Finding(
                """
                Processor time with \(counted(bed.streams, "idle streams")), a heartbeat every 15 s, of one core, over \
                \(Figure(time / .seconds(1), .seconds)) (FastAPI and sse-starlette: measured with \
                \(counted(bed.fastAPIStreams, "streams")) and scaled up)
                """,
                ours, target: .atMost(0.7), peers: [nchan, polling, pushing])
        ]
    }

    /// The share of a core that a server takes, scaled up to the common number of streams.
    private func share(
        _ figures: ProcessFigures, _ plan: EventStreams.Plan, over time: Duration, on bed: TestBed
    ) async throws -> Figure {
        try await EventStreams.lend(plan) { _ in
            // The work after the opening does not count as idle.
            _ = try await figures.settledBytes()
            let start = ContinuousClock.now
            let before = figures.processorTime
            try await Task.sleep(for: time)
            let used = (figures.processorTime - before) / (ContinuousClock.now - start)
            return Figure(used * 100 * Double(bed.streams) / Double(plan.count), .percent)
        }
    }
}
