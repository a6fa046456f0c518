public import Domain
import Postgres
import Store

/// A session that has failed, as the commands of operators list it.
public struct FailedSession: Sendable, Equatable {
    /// The session.
    public var session: SessionID
    /// When it failed.
    public var failedAt: Timestamp
    /// The attempt that failed.
    public var attempt: Int
    /// Why it failed.
    public var reason: String
}

extension Operations {
    /// The reason of a session that a person has cancelled.
    private static let cancelled = "Cancelled"

    /// Lists the failed sessions, the newest first.
    ///
    /// - Parameter since: The earliest time of the failure, or nil for all.
    /// - Returns: The sessions.
    /// - Throws: The error of the database.
    public func failedSessions(since: Timestamp?) async throws -> [FailedSession] {
        try await withPool { pool in
            try await pool.query(
                """
                SELECT session_id, updated_at, attempt, error FROM app.session_progress
                WHERE status = 'failed' AND updated_at >= coalesce(\(since)::timestamptz, '-infinity')
                ORDER BY updated_at DESC, session_id
                """
            ).map { row in
                FailedSession(
                    session: try row.decode("session_id", as: SessionID.self),
                    failedAt: try row.decode("updated_at", as: Timestamp.self),
                    attempt: Int(try row.decode("attempt", as: Int32.self)),
                    reason: try row.decode("error", as: String?.self) ?? "")
            }
        }
    }

    /// Sends failed sessions back to the queue, and lets their attempts count from the beginning.
    ///
    /// A session without a recording stays failed. Without `reason`, so does one that a person has cancelled.
    ///
    /// - Parameters:
    ///   - since: The earliest time of the failure.
    ///   - reason: A part of the reason, in any case, or nil for every reason.
    /// - Returns: The sessions, the oldest failure first.
    /// - Throws: The error of the database.
    public func retryFailedSessions(since: Timestamp, reason: String?) async throws -> [SessionID] {
        let failed = try await failedSessions(since: since).reversed().filter { failed in
            guard let reason else { return failed.reason != Self.cancelled }
            return failed.reason.lowercased().contains(reason.lowercased())
        }
        return try await withPool { pool in
            var retried: [SessionID] = []
            for failed in failed {
                // One statement each: a large transaction would hold the locks of many sessions.
                do {
                    _ = try await pool.query("SELECT app.retry_session(\(failed.session))")
                    retried.append(failed.session)
                } catch let error as PostgresError where [.checkViolation, .noDataFound].contains(error.sqlState) {
                    // It has no recording, or was deleted or retried since.
                }
            }
            return retried
        }
    }
}
