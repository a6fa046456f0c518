import Postgres

/// The time until one change has reached all watchers of one session.
struct FanOut: Scenario {
    static let name = "fan-out"
    static let summary = "one change to all watchers of one session, until the last has it"

    func run(on bed: TestBed) async throws -> [Finding] {
        let rounds = bed.isQuick ? 3 : 11
        let ours = try await bed.withServer { server in
            try await untilTheLast(of: bed.oneSession(of: server, bed.streams), rounds: rounds) {
                try await bed.database.withConnection(as: "therapybridge_pipeline") { connection in
                    _ = try await connection.query(reportQuery(session: 0))
                }
            }
        }
        let nchan = try await bed.nchan { peer in
            try await untilTheLast(of: bed.peerStreams(of: peer, bed.streams) { _ in "/sub/all" }, rounds: rounds) {
                try await postChange(to: peer, "/pub/all")
            }
        }
        let starlette = try await bed.fastAPI("sse-starlette") { peer in
            let plan = try bed.peerStreams(of: peer, bed.fastAPIStreams) { _ in "/push/all" }
            return try await untilTheLast(of: plan, rounds: rounds) { try await postChange(to: peer, "/progress/all") }
        }
        return [
            Finding(
                """
                One change to \(counted(bed.streams, "watchers")) of one session, until the last has it, median of \
                \(rounds) (sse-starlette: \(counted(bed.fastAPIStreams, "watchers")))
                """,
                ours, target: .below(peer: "nchan"), peers: [nchan, starlette])
        ]
    }

    private func untilTheLast(
        of plan: EventStreams.Plan, rounds: Int, _ change: () async throws -> Void
    ) async throws -> Figure {
        try await EventStreams.lend(plan) { streams in
            var times: [Double] = []
            for _ in 0..<rounds {
                // The hub sends a percentage at once if the last one of its session is half a second old.
                try await Task.sleep(for: .milliseconds(700))
                _ = try await streams.report()
                let arrivals = try await streams.arrivals(of: plan.count, within: .seconds(30), change)
                guard arrivals.latencyMs.count == plan.count, let last = arrivals.latencyMs.max else {
                    throw BenchmarkError("only \(arrivals.latencyMs.count) of \(plan.count) watchers got the change")
                }
                times.append(last)
            }
            return Figure(times.median, .milliseconds)
        }
    }
}
