import Domain
import Foundation
import Postgres

/// Sends changes at a steady rate.
///
/// The message of each has the time at which it was sent.
struct Publisher: Sendable {
    /// The number of changes per second.
    let rate: Int
    let duration: Duration

    /// A publisher of the same rate for two seconds.
    ///
    /// The first changes meet cold connections, caches and plans.
    var warmUp: Publisher { Publisher(rate: rate, duration: .seconds(2)) }

    private var pace: Pace { Pace(rate: rate, duration: duration) }

    /// The number of all changes.
    var count: Int { pace.count }

    /// Reports progress as a pipeline does, each report in its own transaction.
    ///
    /// The sessions take turns. `padding` characters lengthen the message. The time in the message is PostgreSQL's, at
    /// the start of the statement that reports and commits.
    ///
    /// - Returns: The median duration of these statements in milliseconds.
    /// - Throws: The error of the database.
    func report(to database: BenchDatabase, _ sessions: Range<Int>, padding: Int = 0) async throws -> Double {
        let words = String(repeating: ".", count: padding)
        let times = try await withThrowingTaskGroup(of: [Double].self) { group in
            for worker in 0..<pace.workers {
                group.addTask {
                    try await database.withConnection(as: "therapybridge_pipeline") { connection in
                        var times: [Double] = []
                        try await pace.run(worker) { index in
                            let start = ContinuousClock.now
                            let session = sessions.lowerBound + index % sessions.count
                            _ = try await connection.query(reportQuery(session: session, words: words))
                            times.append((ContinuousClock.now - start) / .milliseconds(1))
                        }
                        return times
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        return times.median
    }

    /// Posts the same changes to a peer.
    ///
    /// `path` returns the path of each change, from number 0 on.
    ///
    /// - Throws: The error of the request; `BenchmarkError` when the peer refuses a change.
    func post(to peer: RunningPeer, path: @escaping @Sendable (Int) -> String) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<pace.workers {
                group.addTask { try await pace.run(worker) { try await postChange(to: peer, path($0)) } }
            }
            try await group.waitForAll()
        }
    }
}

/// A report whose message is the start of its statement, in microseconds since 1970.
func reportQuery(session: Int, words: String = "") -> PostgresQuery {
    """
    SELECT app.report_progress(
        \(UUID(uuidString: BenchDatabase.id(.session, session)) ?? UUID()), 'transcribing', 40,
        't=' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint || \(words))
    """
}

/// Posts a change to a peer: the object that the server would send, with the present time.
func postChange(to peer: RunningPeer, _ path: String) async throws {
    let change = """
        {"session_id":"\(BenchDatabase.id(.session, 0))","status":"transcribing","progress":40,\
        "message":"t=\(microsecondsSince1970())","error":null,"estimated_time_remaining":null,"version":7,"attempt":1,\
        "created_at":"2026-11-22T09:28:00.000000Z","updated_at":"2026-11-22T09:30:00.123456Z"}
        """
    let (status, _) = try await post(port: peer.port, path, change)
    guard (200..<300).contains(status) else { throw BenchmarkError("the peer answered a message with \(status)") }
}

/// The present time in microseconds since 1970, by the clock that `sseload` and PostgreSQL also read.
func microsecondsSince1970() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

extension [Double] {
    /// The median, or NaN without values.
    var median: Double { isEmpty ? .nan : sorted()[count / 2] }

    /// A quantile by the nearest rank, or NaN without values.
    func quantile(_ share: Double) -> Double {
        guard !isEmpty else { return .nan }
        let rank = Int((share * Double(count)).rounded(.up))
        return sorted()[Swift.min(Swift.max(rank, 1), count) - 1]
    }
}
