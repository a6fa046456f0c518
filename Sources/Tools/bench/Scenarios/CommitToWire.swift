/// The time from the commit of a change to the arrival at its watcher, with many open streams and changes on all of
/// them.
///
/// It is measured on streams of one session, and then on as many streams of all sessions, each change going to one
/// stream.
struct CommitToWire: Scenario {
    static let name = "commit-to-wire"
    static let summary = "from the commit to the watcher, on streams of one session and of all sessions"

    private static let rate = 200

    func run(on bed: TestBed) async throws -> [Finding] {
        let publisher = Publisher(rate: Self.rate, duration: bed.duration(20))
        let (ours, statement) = try await bed.withServer { server in
            try await loadLatency(of: server, bed.ownSessions(of: server, bed.streams), on: bed, publisher)
        }
        let caseloads = try await bed.withServer { server in
            try await loadLatency(of: server, bed.allSessions(of: server, bed.streams), on: bed, publisher).latency
        }
        let (nchan50, nchan99) = try await nchan(on: bed, publisher)
        let polling = try await bed.fastAPI("FastAPI polling") { peer in
            // FastAPI has fewer streams, and gets a tenth of the changes.
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
            Finding(
                """
                Commit to wire on streams of all sessions, p50: \(counted(bed.streams, "streams")) of as many users with \
                one session each, \(Self.rate) changes/s
                """,
                Figure(caseloads.p50, .milliseconds), target: .atMost(1.5)),
            Finding(
                "Commit to wire on streams of all sessions, p99: the same", Figure(caseloads.p99, .milliseconds),
                target: .atMost(10)),
            Finding(
                "Commit to wire on streams of all sessions, the slowest: the same",
                Figure(caseloads.slowest, .milliseconds)),
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

    /// The latency of a peer.
    ///
    /// Its streams and channels have numbers from 1 on.
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

/// The times from the commit of changes to the arrival at the watchers, in milliseconds.
struct ChangeLatency: Sendable {
    var p50: Double
    var p99: Double
    var slowest: Double
}

/// Measures the latency of changes on the sessions 1 to `plan.count`.
///
/// Each change goes to one stream of the plan.
///
/// The measurement starts when the server is idle after the opening.
///
/// - Returns: The latency, and the median duration of the statement that reports and commits, in milliseconds.
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
    /// Waits for `count` changes since the last report, and returns their latency.
    ///
    /// - Throws: `BenchmarkError` when a change does not arrive.
    func latency(of count: Int) async throws -> ChangeLatency {
        try await arrivals(of: count, within: .seconds(20)) {}.latency(of: count)
    }
}

extension EventStreams.Arrivals {
    /// The latency of `count` changes.
    ///
    /// - Throws: `BenchmarkError` when a change has not arrived.
    func latency(of count: Int) throws -> ChangeLatency {
        guard latencyMs.count == count, let p50 = latencyMs.p50, let p99 = latencyMs.p99, let slowest = latencyMs.max
        else { throw BenchmarkError("only \(latencyMs.count) of \(count) changes arrived; \(ended) streams ended") }
        return ChangeLatency(p50: p50, p99: p99, slowest: slowest)
    }
}
