/// How long a change takes from its commit to the watcher, with many streams open and changes all over them.
struct CommitToWire: Scenario {
    static let name = "commit-to-wire"
    static let summary = "from the commit to the watcher, with changes all over the streams"

    private static let rate = 200

    func run(on bed: TestBed) async throws -> [Finding] {
        let publisher = Publisher(rate: Self.rate, duration: bed.duration(20))
        let (ours, statement) = try await bed.withServer { server in
            try await loadLatency(of: server, bed.ownSessions(of: server, bed.streams), on: bed, publisher)
        }
        let (nchan50, nchan99) = try await nchan(on: bed, publisher)
        let polling = try await bed.fastAPI("FastAPI polling") { peer in
            // A tenth of the changes: it has fewer streams, too.
            let publisher = Publisher(rate: Self.rate / 10, duration: bed.duration(20))
            return try await peerLatency(
                peer, bed.fastAPIStreams, on: bed, publisher, watch: { "/poll/\($0)" }, publish: { "/progress/\($0)" }
            ).p50
        }
        return [
            Finding(
                """
                Commit to wire, p50: \(counted(bed.streams, "streams")) on as many sessions, \(Self.rate) changes/s \
                (FastAPI: \(counted(bed.fastAPIStreams, "streams")), \(Self.rate / 10) changes/s)
                """,
                Figure(ours.p50, .milliseconds), target: .atMost(1.5), peers: [nchan50, polling]),
            Finding(
                "Commit to wire, p99: the same", Figure(ours.p99, .milliseconds), target: .atMost(10), peers: [nchan99]),
            Finding("Commit to wire, the slowest: the same", Figure(ours.slowest, .milliseconds)),
            Finding(
                "Of that, PostgreSQL: the statement that reports and commits, p50", Figure(statement, .milliseconds)),
        ]
    }

    private func nchan(on bed: TestBed, _ publisher: Publisher) async throws -> (PeerFigure, PeerFigure) {
        var p99: Double?
        let p50 = try await bed.nchan { peer in
            let figures = try await peerLatency(
                peer, bed.streams, on: bed, publisher, watch: { "/sub/\($0)" }, publish: { "/pub/\($0)" })
            p99 = figures.p99.value
            return figures.p50
        }
        let outcome = p99.map { PeerFigure.Outcome.measured(Figure($0, .milliseconds)) } ?? p50.outcome
        return (p50, PeerFigure(name: p50.name, outcome: outcome))
    }

    /// The latency of a peer, whose streams and channels are numbered from 1 on.
    private func peerLatency(
        _ peer: RunningPeer, _ streams: Int, on bed: TestBed, _ publisher: Publisher, watch: (Int) -> String,
        publish: @escaping @Sendable (Int) -> String
    ) async throws -> (p50: Figure, p99: Figure) {
        try await EventStreams.lend(bed.peerStreams(of: peer, streams, path: watch)) { open in
            let path = { @Sendable (index: Int) in publish(index % streams + 1) }
            _ = try await peer.figures.settledBytes()
            try await publisher.warmUp.post(to: peer, path: path)
            _ = try await open.latency(of: publisher.warmUp.count)
            try await publisher.post(to: peer, path: path)
            let latency = try await open.latency(of: publisher.count)
            return (Figure(latency.p50, .milliseconds), Figure(latency.p99, .milliseconds))
        }
    }
}

/// How long changes took from the commit to the watcher, in milliseconds.
struct ChangeLatency: Sendable {
    var p50: Double
    var p99: Double
    var slowest: Double
}

/// The latency of changes all over the sessions that streams are open on, one stream a session.
///
/// It is measured once the server has come to rest after the opening.
///
/// - Returns: It, and how long the statement took that reports and commits, in the middle, in milliseconds.
func loadLatency(
    of server: BenchServer, _ plan: EventStreams.Plan, on bed: TestBed, _ publisher: Publisher
) async throws -> (latency: ChangeLatency, statement: Double) {
    try await EventStreams.lend(plan) { streams in
        let sessions = 1..<plan.count + 1
        _ = try await server.figures.settledBytes()
        _ = try await publisher.warmUp.report(to: bed.database, sessions)
        _ = try await streams.latency(of: publisher.warmUp.count)
        let statement = try await publisher.report(to: bed.database, sessions)
        return (try await streams.latency(of: publisher.count), statement)
    }
}

extension EventStreams {
    /// The latency of what arrived since the last report: so many changes, of which those under way are waited for.
    ///
    /// - Throws: When some do not come.
    func latency(of count: Int) async throws -> ChangeLatency {
        let arrivals = try await arrivals(of: count, within: .seconds(20)) {}
        let latency = arrivals.latencyMs
        guard latency.count == count, let p50 = latency.p50, let p99 = latency.p99, let slowest = latency.max else {
            throw BenchmarkError("of \(count) changes \(latency.count) arrived; \(arrivals.ended) streams ended")
        }
        return ChangeLatency(p50: p50, p99: p99, slowest: slowest)
    }
}
