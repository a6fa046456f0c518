/// As many streams as possible, on several servers with one PostgreSQL.
///
/// Each server has a stream of every session, as behind a load balancer that spreads the watchers of a session.
struct ManyServers: Scenario {
    static let name = "many-servers"
    static let summary = "as many streams as the machine can hold, on several servers with one PostgreSQL"

    private static let rate = 200
    /// A stream takes a second descriptor of the server while it opens.
    ///
    /// Few streams open at a time, so that the descriptors suffice.
    private static let options = ["--rate", "0", "--pending", "400"]

    func run(on bed: TestBed) async throws -> [Finding] {
        let capacity = StreamCapacity.present(of: bed)
        // The hub may leave out a percentage that follows another one of its session within half a second.
        let rate = min(Self.rate, (capacity.servers.min() ?? 0) / 2)
        let publisher = Publisher(rate: rate, duration: bed.duration(15))
        let figures = try await bed.withServers(capacity.servers.count) { servers in
            try await measure(servers, capacity, on: bed, publisher)
        }
        let load = """
            \(counted(capacity.streams, "streams")) on \(counted(capacity.servers.count, "servers")) with one PostgreSQL\
            \(capacity.shortage.map { " (\($0))" } ?? "")
            """
        return [
            Finding(
                "All clients reconnect at once, until each is authorised and has its snapshot: \(load)",
                // One second for 10,000 streams, as in `reconnection`.
                Figure(figures.reconnection, .seconds), target: .atMost(Double(capacity.streams) / 10_000)),
            Finding(
                "Resident memory of the servers per idle stream: the same", Figure(figures.memory, .bytes),
                target: .atMost(350)),
            Finding(
                """
                Commit to wire, p50: the same, \(rate) changes/s, each to one stream of every server; of the slowest \
                server
                """,
                Figure(figures.p50, .milliseconds), target: .atMost(3)),
            Finding("Commit to wire, p99: the same", Figure(figures.p99, .milliseconds)),
        ]
    }

    private struct Figures: Sendable {
        /// In seconds.
        var reconnection: Double
        /// In bytes for each stream.
        var memory: Double
        /// In milliseconds.
        var p50: Double
        var p99: Double
    }

    private func measure(
        _ servers: [BenchServer], _ capacity: StreamCapacity, on bed: TestBed, _ publisher: Publisher
    ) async throws -> Figures {
        var plans: [EventStreams.Plan] = []
        for (server, streams) in zip(servers, capacity.servers) {
            // One-time allocations of the first streams do not count.
            try await open(andClose: bed.ownSessions(of: server, max(streams / 20, 1)), of: server.figures)
            plans.append(
                try await bed.ownSessions(of: server, streams, header: "Last-Event-ID: 1", options: Self.options))
        }
        let before = try await settledBytes(of: servers)
        let start = ContinuousClock.now
        return try await EventStreams.lendAll(plans) { open in
            let reconnection = (ContinuousClock.now - start) / .seconds(1)
            let memory = Double(try await settledBytes(of: servers) - before) / Double(capacity.streams)
            // Every server has a stream of these sessions.
            let sessions = 1..<(capacity.servers.min() ?? 0) + 1
            _ = try await publisher.warmUp.report(to: bed.database, sessions)
            for streams in open { _ = try await streams.latency(of: publisher.warmUp.count) }
            _ = try await publisher.report(to: bed.database, sessions)
            var latencies: [ChangeLatency] = []
            for streams in open { latencies.append(try await streams.latency(of: publisher.count)) }
            return Figures(
                reconnection: reconnection, memory: memory, p50: latencies.map(\.p50).max() ?? .nan,
                p99: latencies.map(\.p99).max() ?? .nan)
        }
    }

    private func settledBytes(of servers: [BenchServer]) async throws -> Int {
        try await withThrowingTaskGroup(of: Int.self) { group in
            for server in servers { group.addTask { try await server.figures.settledBytes() } }
            return try await group.reduce(0, +)
        }
    }
}
