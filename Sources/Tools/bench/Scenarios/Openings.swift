/// The processor time of the opening of a stream, when all clients connect at once.
struct Openings: Scenario {
    static let name = "openings"
    static let summary = "processor time for the opening of a stream"

    func run(on bed: TestBed) async throws -> [Finding] {
        let rounds = bed.isQuick ? 1 : 3
        // Begins each connection without waiting for another.
        let atOnce = ["--rate", "0", "--pending", "\(bed.streams)"]
        var (ours, postgres): ([Double], [Double]) = ([], [])
        for _ in 0..<rounds {
            // A freshly started server with empty caches, as after a deployment.
            let (server, database) = try await bed.withServer { server in
                let plan = try await bed.ownSessions(
                    of: server, bed.streams, header: "Last-Event-ID: 1", options: atOnce)
                let databaseBefore = try bed.database.figures.processorTime
                let time = try await processorTime(of: server.figures, plan)
                return (time, (try bed.database.figures.processorTime - databaseBefore) / .microseconds(1))
            }
            ours.append(server)
            postgres.append(database / Double(bed.streams))
        }
        let nchan = try await bed.nchan { peer in
            let plan = try bed.peerStreams(of: peer, bed.streams, options: atOnce) { "/sub/\($0)" }
            return try await median(of: rounds) { try await processorTime(of: peer.figures, plan) }
        }
        let hummingbird = try await bed.bare("a bare route of Hummingbird", BareHummingbird.self) { peer in
            let plan = try bed.peerStreams(of: peer, bed.streams, options: atOnce) { "/sub/\($0)" }
            return try await median(of: rounds) { try await processorTime(of: peer.figures, plan) }
        }
        return [
            Finding(
                """
                Processor time of the server for an opening, with right, state and audit, \
                \(counted(bed.streams, "clients")) at once, median of \(rounds) (nchan and Hummingbird: a bare response)
                """,
                Figure(ours.median, .microseconds), target: .atMost(150), peers: [nchan, hummingbird]),
            Finding(
                "Processor time of the server for an opening compared to nchan's",
                .comparison(ours.median, to: nchan), target: .atMost(4)),
            Finding("Processor time of PostgreSQL for the same opening", Figure(postgres.median, .microseconds)),
        ]
    }

    /// The processor time of a server for each stream, in microseconds.
    ///
    /// It includes the work of the two seconds after the opening, such as returning memory.
    private func processorTime(of figures: ProcessFigures, _ plan: EventStreams.Plan) async throws -> Double {
        let before = figures.processorTime
        return try await EventStreams.lend(plan) { _ in
            try await Task.sleep(for: .seconds(2))
            return (figures.processorTime - before) / .microseconds(1) / Double(plan.count)
        }
    }

    private func median(of rounds: Int, _ measure: () async throws -> Double) async throws -> Figure {
        var times: [Double] = []
        for _ in 0..<rounds { times.append(try await measure()) }
        return Figure(times.median, .microseconds)
    }
}
