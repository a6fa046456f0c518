import Foundation
import LocalPostgres

/// A run of pgbench: clients that repeat one script, each on a connection of its own.
struct Pgbench: Sendable {
    /// When a run ends.
    enum Limit: Sendable {
        case seconds(Int)
        case transactionsPerClient(Int)
    }

    /// The outcome of a run.
    struct Outcome: Sendable, Equatable {
        var perSecond: Double
        /// The number of all transactions.
        var transactions: Int

        /// Reads the output of pgbench; nil if it has no outcome, or reports failed transactions.
        init?(output: String) {
            guard let rate = output.firstMatch(of: /tps = ([0-9.]+)/), let perSecond = Double(rate.1),
                let count = output.firstMatch(of: /number of transactions actually processed: (\d+)/),
                let transactions = Int(count.1),
                output.firstMatch(of: /number of failed transactions: (\d+)/).map({ $0.1 == "0" }) ?? true
            else { return nil }
            self.perSecond = perSecond
            self.transactions = transactions
        }
    }

    let clients: Int
    let limit: Limit
    /// The database role of the clients.
    var role = "postgres"
    /// The transaction.
    ///
    /// It may use pgbench's variables `:client_id` and `:turn`, which is 1 in a client's first transaction.
    let script: String

    /// Runs pgbench to its end.
    ///
    /// - Throws: `BenchmarkError` when it fails.
    func run(on bed: TestBed) async throws -> Outcome {
        // A variable of pgbench belongs to one client, and keeps its value after the transaction.
        let file = try bed.scratch.write(Data("\\set turn :turn + 1\n\(script)\n".utf8), to: "pgbench.sql")
        let limit =
            switch limit {
            case .seconds(let seconds): "--time=\(seconds)"
            case .transactionsPerClient(let count): "--transactions=\(count)"
            }
        let output = try await runToEnd(
            bed.database.cluster.programDirectory + "/pgbench",
            [
                "--no-vacuum", "--client=\(clients)", "--jobs=2", "--protocol=prepared", "--define=turn=0", limit,
                "--file=\(file)", bed.database.url(role),
            ])
        guard let outcome = Outcome(output: output) else {
            throw BenchmarkError("unreadable output of pgbench: \(output)")
        }
        return outcome
    }
}
