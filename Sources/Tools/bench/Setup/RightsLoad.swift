import Postgres

/// Changes of rights while progress changes: strangers sign out, and some watchers lose their rights.
///
/// For comparison, rows of a plain table change instead.
struct RightsLoad: Sendable {
    /// The strangers' changes of rights.
    struct Rate: Sendable, Equatable {
        /// The number of sign-outs per second.
        let signOuts: Int
        /// The number of assignments per second.
        let assignments: Int
    }

    /// The watchers who lose their rights in one phase, and the numbers of their streams.
    ///
    /// Patients are signed out, and therapists lose the patient of session 0.
    struct Losers: Sendable {
        struct Loser: Sendable {
            let number: Int
            let stream: Int
        }

        var patients: [Loser] = []
        var therapists: [Loser] = []

        /// A statement that ends the right of each loser, in turn of both kinds.
        fileprivate var statements: [(sql: String, stream: Int)] {
            let signOuts = patients.map { loser in
                (BenchDatabase.signOut(BenchDatabase.idExpression(.patientSignIn, "\(loser.number)")), loser.stream)
            }
            let endings = therapists.map { loser in
                (
                    """
                    UPDATE app.therapist_patients SET is_active = false, ended_at = clock_timestamp() \
                    WHERE therapist_id = \(BenchDatabase.idExpression(.therapist, "\(loser.number)"))
                    """, loser.stream
                )
            }
            return zip(signOuts, endings).flatMap { [$0, $1] }
        }
    }

    /// What happened in one phase.
    struct Outcome: Sendable {
        /// The number of strangers' sign-outs.
        var signOuts = 0
        /// The time, in microseconds since 1970, just before the COMMIT that ended a watcher's right, by the number of
        /// the stream.
        var commits: [Int: Int] = [:]
    }

    let duration: Duration
    let database: BenchDatabase
    let losers: Losers
    /// The numbers of the sign-ins to end.
    let signIns: Range<Int>
    /// The numbers of the strangers to assign.
    let accounts: Range<Int>
    /// The numbers of the rows of ``PlainRows`` to update.
    let plainRows: Range<Int>

    /// Makes all changes at a steady pace, each in its own transaction.
    ///
    /// If PostgreSQL is too slow, strangers' changes are left out at the end.
    func run() async throws -> Outcome {
        try await withThrowingTaskGroup(of: Outcome.self) { group in
            let signOuts = Pace(count: signIns.count, duration: duration, workers: 8)
            for worker in 0..<signOuts.workers {
                group.addTask {
                    Outcome(
                        signOuts: try await count(worker, of: signOuts) {
                            Strangers.signOut("\(signIns.lowerBound + $0)")
                        })
                }
            }
            let updates = Pace(count: plainRows.count, duration: duration, workers: 8)
            for worker in 0..<updates.workers where !plainRows.isEmpty {
                group.addTask {
                    _ = try await count(worker, of: updates) { PlainRows.update("\(plainRows.lowerBound + $0)") }
                    return Outcome()
                }
            }
            let assignments = Pace(count: accounts.count, duration: duration, workers: 1)
            group.addTask {
                _ = try await count(0, of: assignments) { Strangers.assign(accounts.lowerBound + $0) }
                return Outcome()
            }
            group.addTask { Outcome(commits: try await endRights()) }
            return try await group.reduce(into: Outcome()) { whole, part in
                whole.signOuts += part.signOuts
                whole.commits.merge(part.commits) { $1 }
            }
        }
    }

    /// Runs a worker's statements.
    ///
    /// - Returns: Their number.
    private func count(_ worker: Int, of pace: Pace, _ statement: @Sendable (Int) -> String) async throws -> Int {
        try await database.withConnection { connection in
            var count = 0
            try await pace.run(worker, skipsLate: true) { number in
                try await connection.executeScript(statement(number))
                count += 1
            }
            return count
        }
    }

    private func endRights() async throws -> [Int: Int] {
        let statements = losers.statements
        return try await database.withConnection { connection in
            var commits: [Int: Int] = [:]
            try await Pace(count: statements.count, duration: duration, workers: 1).run(0) { number in
                commits[statements[number].stream] = try await connection.withTransaction { connection in
                    try await connection.executeScript(statements[number].sql)
                    return microsecondsSince1970()
                }
            }
            return commits
        }
    }
}
