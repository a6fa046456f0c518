/// The time until all clients have reconnected after a restart, if they all connect at once.
struct Reconnection: Scenario {
    static let name = "reconnection"
    static let summary = "all clients reconnect at once"

    func run(on bed: TestBed) async throws -> [Finding] {
        let rounds = bed.isQuick ? 1 : 3
        // Begins each connection without waiting for another.
        let atOnce = ["--rate", "0", "--pending", "\(bed.streams)"]
        var times: [Double] = []
        for _ in 0..<rounds {
            // A freshly started server with empty caches, as after a deployment.
            times += try await bed.withServer { server in
                let plan = try await bed.ownSessions(
                    of: server, bed.streams, header: "Last-Event-ID: 1", options: atOnce)
                return [try await EventStreams.lend(plan) { $0.opening.seconds }]
            }
        }
        let nchan = try await bed.nchan { peer in
            let plan = try bed.peerStreams(of: peer, bed.streams, options: atOnce) { "/sub/\($0)" }
            return try await time(of: plan, rounds: rounds)
        }
        let fastAPI = try await bed.fastAPI("sse-starlette") { peer in
            let plan = try bed.peerStreams(of: peer, bed.fastAPIStreams, options: atOnce) { "/push/\($0)" }
            return try await time(of: plan, rounds: rounds)
        }
        return [
            Finding(
                """
                \(counted(bed.streams, "clients")) reconnect at once, until each is authorised and has its snapshot, \
                median of \(rounds) (nchan and sse-starlette: until each has a response, without either; sse-starlette: \
                \(counted(bed.fastAPIStreams, "clients")))
                """,
                Figure(times.median, .seconds), target: .atMost(1), peers: [nchan, fastAPI]),
            Finding("The same compared to nchan", .comparison(times.median, to: nchan), target: .atMost(4)),
        ]
    }

    /// The time until all streams of a peer are open, as a median.
    private func time(of plan: EventStreams.Plan, rounds: Int) async throws -> Figure {
        var times: [Double] = []
        for _ in 0..<rounds { times.append(try await EventStreams.lend(plan) { $0.opening.seconds }) }
        return Figure(times.median, .seconds)
    }
}
