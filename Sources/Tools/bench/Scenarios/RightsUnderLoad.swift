/// The latency of changes while people sign out who watch nothing.
///
/// The streams stay open for the whole measurement. In each round, the same changes are measured without sign-outs, with
/// a few, with many, and with as many updates of a plain table, which shows what any commits beside the changes cost.
struct RightsUnderLoad: Scenario {
    static let name = "rights-churn"
    static let summary = "the latency of changes while others sign out, and how soon a lost right ends a stream"

    private static let rate = 200
    private static let few = RightsLoad.Rate(signOuts: 50, assignments: 5)
    private static let many = RightsLoad.Rate(signOuts: 500, assignments: 5)

    func run(on bed: TestBed) async throws -> [Finding] {
        let stage = try await Stage(bed, rate: Self.rate, most: Self.many)
        let phases = try await bed.withServer { server in
            let plan = try await stage.plan(of: server)
            return try await EventStreams.lend(plan) { streams in
                _ = try await server.figures.settledBytes()
                _ = try await stage.publisher.warmUp.report(to: bed.database, stage.sessions)
                _ = try await streams.latency(of: stage.publisher.warmUp.count)
                var phases = Phases()
                for round in 0..<stage.rounds {
                    phases.quiet.append(try await measure(nil, on: stage, server, streams))
                    phases.few.append(
                        try await measure(stage.rightsLoad(Self.few, 2 * round), on: stage, server, streams))
                    phases.plain.append(try await measure(stage.plainUpdates(round), on: stage, server, streams))
                    phases.many.append(
                        try await measure(stage.rightsLoad(Self.many, 2 * round + 1), on: stage, server, streams))
                }
                return phases
            }
        }
        return findings(phases, on: stage) + [try await stage.throughput.measure(on: bed)]
    }

    // MARK: Phases

    /// The figures of one phase.
    private struct Phase: Sendable {
        /// From the commit of a change to its client, in milliseconds.
        var p50: Double
        var p99: Double
        /// The server's processor time, in per cent of one core.
        var processor: Double
        /// The number of strangers' sign-outs that PostgreSQL has committed per second.
        var signOuts: Double
        /// From each commit that ended a watcher's right to the arrival of `revoked`, in milliseconds.
        var revoked: [Double]
    }

    private struct Phases: Sendable {
        var quiet: [Phase] = []
        var few: [Phase] = []
        var many: [Phase] = []
        /// With as many updates of a plain table as there are sign-outs in `many`.
        var plain: [Phase] = []
    }

    private func measure(
        _ rightsLoad: RightsLoad?, on stage: Stage, _ server: BenchServer, _ streams: EventStreams
    ) async throws -> Phase {
        // Forgets the events before.
        _ = try await streams.report()
        let start = ContinuousClock.now
        let processorBefore = server.figures.processorTime
        async let changes = rightsLoad?.run()
        _ = try await stage.publisher.report(to: stage.database, stage.sessions)
        let outcome = try await changes ?? RightsLoad.Outcome()
        let arrivals = try await streams.arrivals(of: stage.publisher.count, within: .seconds(20)) {}
        let processor = (server.figures.processorTime - processorBefore) / (ContinuousClock.now - start)
        let latency = try arrivals.latency(of: stage.publisher.count)

        var revoked = arrivals.revoked
        let deadline = ContinuousClock.now + .seconds(20)
        while revoked.count < outcome.commits.count, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(50))
            revoked += try await streams.report().revoked
        }
        let delays = revoked.compactMap { event in
            outcome.commits[event.stream].map { Double(event.at - $0) / 1000 }
        }
        guard delays.count == outcome.commits.count, revoked.count == delays.count else {
            throw BenchmarkError("of \(outcome.commits.count) lost rights, \(delays.count) ended their streams")
        }
        return Phase(
            p50: latency.p50, p99: latency.p99, processor: processor * 100,
            signOuts: Double(outcome.signOuts) / (stage.publisher.duration / .seconds(1)), revoked: delays)
    }

    // MARK: Findings

    private func findings(_ phases: Phases, on stage: Stage) -> [Finding] {
        func ratio(
            _ what: String, _ value: KeyPath<Phase, Double>, _ unit: Figure.Unit, _ load: RightsLoad.Rate,
            _ loaded: [Phase], _ limit: Double, beside plain: [Phase]? = nil
        ) -> Finding {
            let with = loaded.map { $0[keyPath: value] }.median
            let without = phases.quiet.map { $0[keyPath: value] }.median
            let peers = plain.map { plain in
                PeerFigure(
                    name: "with \(load.signOuts) UPDATEs of a plain table a second instead",
                    outcome: .measured(Figure(plain.map { $0[keyPath: value] }.median / without, .times)))
            }
            return Finding(
                """
                \(what), \(counted(stage.streams, "streams")), \(stage.publisher.rate) changes/s: \
                with \(words(load, loaded)) compared to without, medians of \(stage.rounds): \(Figure(with, unit)) to \(Figure(without, unit))
                """,
                Figure(with / without, .times), target: .atMost(limit), peers: peers.map { [$0] } ?? [])
        }
        func revoked(_ load: RightsLoad.Rate, _ loaded: [Phase]) -> Finding {
            let delays = loaded.flatMap(\.revoked)
            return Finding(
                """
                From the commit that ends a right to `revoked` at the client, p99 of \
                \(counted(delays.count, "streams")), with \(words(load, loaded))
                """,
                Figure(delays.quantile(0.99), .milliseconds), target: .atMost(50))
        }
        return [
            ratio("Commit to client, p50", \.p50, .milliseconds, Self.few, phases.few, 1.2),
            ratio("Commit to client, p99", \.p99, .milliseconds, Self.few, phases.few, 1.2),
            revoked(Self.few, phases.few),
            ratio("Commit to client, p50", \.p50, .milliseconds, Self.many, phases.many, 2, beside: phases.plain),
            ratio("Commit to client, p99", \.p99, .milliseconds, Self.many, phases.many, 2, beside: phases.plain),
            ratio(
                "The server's processor time", \.processor, .percent, Self.many, phases.many, 2, beside: phases.plain),
            revoked(Self.many, phases.many),
        ]
    }

    private func words(_ load: RightsLoad.Rate, _ phases: [Phase]) -> String {
        let committed = phases.map(\.signOuts).median
        let words = "\(load.signOuts) strangers' sign-outs and \(load.assignments) assignments a second"
        // The load generator leaves out what PostgreSQL does not take in time.
        return committed > 0.95 * Double(load.signOuts)
            ? words : words + " (PostgreSQL committed \(Figure(committed.rounded(), .count)))"
    }
}

// MARK: - The accounts and streams

/// The accounts and streams of the scenario.
private struct Stage: Sendable {
    /// The clients of ``SignOutThroughput``, and the sign-ins that it ends.
    let throughput: SignOutThroughput
    let streams: Int
    let rounds: Int
    let publisher: Publisher

    private let bed: TestBed
    /// The strangers' changes at the greatest load, in one phase.
    private let mostSignOuts: Int
    private let mostAssignments: Int
    /// The number of patients who are signed out in one phase, and of therapists who lose their patient.
    private let losersOfPhase: Int
    /// The accounts of the losers, which no other scenario uses.
    private let losingPatients: Range<Int>
    private let losingTherapists: Range<Int>

    var database: BenchDatabase { bed.database }
    /// The sessions that change.
    ///
    /// They are the own sessions of the patients who keep their rights.
    var sessions: Range<Int> { 1..<streams - losingPatients.count - losingTherapists.count + 1 }

    /// Adds the accounts.
    ///
    /// - Parameters:
    ///   - bed: The database, and the number of streams.
    ///   - rate: The number of changes per second, if there are enough streams.
    ///   - most: The greatest load.
    /// - Throws: The error of the database.
    init(_ bed: TestBed, rate: Int, most: RightsLoad.Rate) async throws {
        self.bed = bed
        streams = bed.streams
        rounds = bed.isQuick ? 1 : 3
        losersOfPhase = max(bed.streams / 500, 2)
        let phases = 2 * rounds
        // The hub may leave out a percentage that follows another one of its session within half a second.
        let rate = min(rate, (bed.streams - 2 * losersOfPhase * phases) / 2)
        publisher = Publisher(rate: rate, duration: bed.duration(8))
        mostSignOuts = Pace(rate: most.signOuts, duration: publisher.duration).count
        mostAssignments = Pace(rate: most.assignments, duration: publisher.duration).count
        let database = bed.database
        losingPatients = database.patients + 1..<database.patients + 1 + losersOfPhase * phases
        losingTherapists = database.therapists + 1..<database.therapists + 1 + losersOfPhase * phases
        let plainRows = mostSignOuts * rounds
        throughput = SignOutThroughput(
            isQuick: bed.isQuick, firstSignIn: mostSignOuts * phases, firstPlainRow: plainRows)
        _ = try await Strangers.add(to: database, signIns: mostSignOuts * phases + throughput.signIns)
        try await PlainRows.add(to: database, count: plainRows + throughput.signIns)
        try await database.add(BenchDatabase.watchers(patients: losingPatients, therapists: losingTherapists))
    }

    /// The streams: of the patients who keep their rights, then of the patients and the therapists who lose theirs.
    func plan(of server: BenchServer) async throws -> EventStreams.Plan {
        try await bed.watchers(of: server, patients: Array(sessions) + losingPatients, therapists: losingTherapists)
    }

    /// The changes of rights in a phase; `number` counts the phases with a load from 0.
    func rightsLoad(_ load: RightsLoad.Rate, _ number: Int) -> RightsLoad {
        func part(_ rate: Int, _ most: Int) -> Range<Int> {
            let first = number * most
            return first..<first + Pace(rate: rate, duration: publisher.duration).count
        }
        func losers(_ numbers: Range<Int>, firstStream: Int) -> [RightsLoad.Losers.Loser] {
            (number * losersOfPhase..<(number + 1) * losersOfPhase).map {
                RightsLoad.Losers.Loser(number: numbers.lowerBound + $0, stream: firstStream + $0)
            }
        }
        return RightsLoad(
            duration: publisher.duration, database: database,
            losers: RightsLoad.Losers(
                patients: losers(losingPatients, firstStream: sessions.count),
                therapists: losers(losingTherapists, firstStream: sessions.count + losingPatients.count)),
            signIns: part(load.signOuts, mostSignOuts), accounts: part(load.assignments, mostAssignments),
            plainRows: 0..<0)
    }

    /// As many updates of a plain table as there are sign-outs at the greatest load.
    func plainUpdates(_ round: Int) -> RightsLoad {
        RightsLoad(
            duration: publisher.duration, database: database, losers: RightsLoad.Losers(), signIns: 0..<0,
            accounts: 0..<0,
            plainRows: round * mostSignOuts..<(round + 1) * mostSignOuts)
    }
}
