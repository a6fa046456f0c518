import Postgres

/// The time until one change has reached all watchers of one session.
struct FanOut: Scenario {
    static let name = "fan-out"
    static let summary = "one change to all watchers of one session, until the last has it"

    private static let floor = "a bare loop of send()"

    func run(on bed: TestBed) async throws -> [Finding] {
        let rounds = bed.isQuick ? 3 : 11
        let ours = try await bed.withServer { server in
            try await untilTheLast(of: bed.oneSession(of: server, bed.streams), rounds: rounds) {
                try await bed.database.withConnection(as: "therapybridge_pipeline") { connection in
                    _ = try await connection.query(reportQuery(session: 0))
                }
            }
        }
        var slowest: [String: Figure] = [:]
        let floor = try await bed.bare(Self.floor, BareSends.self) { peer in
            let times = try await peerTimes(peer, bed.streams, on: bed, rounds, watch: "/all", publish: "/all")
            slowest[Self.floor] = times.slowest
            return times.median
        }
        let nchan = try await bed.nchan { peer in
            let times = try await peerTimes(peer, bed.streams, on: bed, rounds, watch: "/sub/all", publish: "/pub/all")
            slowest["nchan"] = times.slowest
            return times.median
        }
        let starlette = try await bed.fastAPI("sse-starlette") { peer in
            try await peerTimes(peer, bed.fastAPIStreams, on: bed, rounds, watch: "/push/all", publish: "/progress/all")
                .median
        }
        let ofSlowest = [floor, nchan].map { peer in
            PeerFigure(name: peer.name, outcome: slowest[peer.name].map { .measured($0) } ?? peer.outcome)
        }
        return [
            Finding(
                """
                One change to \(counted(bed.streams, "watchers")) of one session, until the last has it, median of \
                \(rounds) (sse-starlette: \(counted(bed.fastAPIStreams, "watchers")))
                """,
                ours.median, target: .below(peer: "nchan"), peers: [floor, nchan, starlette]),
            Finding(
                "The slowest of these \(rounds) changes", ours.slowest, target: .below(peer: "nchan"), peers: ofSlowest),
            Finding(
                "The median compared to \(Self.floor) over as many sockets, to the same clients",
                .comparison(ours.median.value, to: floor), target: .atMost(1.2)),
        ]
    }

    /// The times of all rounds.
    private struct Times {
        var median: Figure
        var slowest: Figure
    }

    private func peerTimes(
        _ peer: RunningPeer, _ watchers: Int, on bed: TestBed, _ rounds: Int, watch: String, publish: String
    ) async throws -> Times {
        try await untilTheLast(of: bed.peerStreams(of: peer, watchers) { _ in watch }, rounds: rounds) {
            try await postChange(to: peer, publish)
        }
    }

    private func untilTheLast(
        of plan: EventStreams.Plan, rounds: Int, _ change: () async throws -> Void
    ) async throws -> Times {
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
            return Times(
                median: Figure(times.median, .milliseconds), slowest: Figure(times.max() ?? .nan, .milliseconds))
        }
    }
}
