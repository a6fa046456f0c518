/// The number of sign-outs that PostgreSQL commits per second, compared to plain UPDATEs in the same run.
struct SignOutThroughput: Sendable {
    private static let clients = 16

    /// The transactions of a client in one round.
    private let perClient: Int
    private let rounds: Int
    /// The number of the first stranger's sign-in to end.
    private let firstSignIn: Int
    /// The number of the first of the ``PlainRows`` to update.
    private let firstPlainRow: Int

    /// The number of sign-ins to end, and of plain rows to update.
    var signIns: Int { Self.clients * perClient * rounds }

    init(isQuick: Bool, firstSignIn: Int, firstPlainRow: Int) {
        perClient = isQuick ? 20 : 500
        rounds = isQuick ? 1 : 3
        self.firstSignIn = firstSignIn
        self.firstPlainRow = firstPlainRow
    }

    /// Measures both in turn, while a server listens: notifying costs time, too.
    func measure(on bed: TestBed) async throws -> Finding {
        let before = try await bed.database.endedSignIns()
        let (signOuts, plain) = try await bed.withServer { _ in
            var (signOuts, plain): ([Double], [Double]) = ([], [])
            for round in 0..<rounds {
                plain.append(try await rate(PlainRows.update(":number"), from: firstPlainRow, round: round, on: bed))
                signOuts.append(
                    try await rate(Strangers.signOut(":number"), from: firstSignIn, round: round, on: bed))
            }
            return (signOuts, plain)
        }
        let ended = try await bed.database.endedSignIns() - before
        guard ended == signIns else { throw BenchmarkError("of \(signIns) sign-outs, \(ended) are in the database") }
        return Finding(
            "Sign-outs that PostgreSQL commits, by SQL, \(Self.clients) clients, median of \(rounds)",
            Figure(signOuts.median, .perSecond), target: .atLeast(0.7 * plain.median),
            peers: [
                PeerFigure(
                    name: "UPDATEs of rows in a plain table", outcome: .measured(Figure(plain.median, .perSecond)))
            ])
    }

    /// Runs a statement on the rows of each client, one after the other, and returns the transactions per second.
    ///
    /// The statement has the number of the row in the variable `:number`.
    private func rate(
        _ statement: String, from number: Int, round: Int, on bed: TestBed
    ) async throws -> Double {
        let first = number + round * Self.clients * perClient
        let script = "\\set number \(first) + :client_id * \(perClient) + :turn - 1\n\(statement);"
        let pgbench = Pgbench(clients: Self.clients, limit: .transactionsPerClient(perClient), script: script)
        return try await pgbench.run(on: bed).perSecond
    }
}
