public import Postgres

/// Removes what the server need not keep any longer, a batch at a time.
public struct RetentionStore: Sendable {
    /// The greatest number of rows in one transaction.
    private static let batch: Int32 = 1000

    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Deletes transitions that are older than the age, but not the latest one of a session.
    ///
    /// - Returns: Their number.
    /// - Throws: ``PostgresError`` if the database does not answer. What was deleted before stays deleted.
    public func deleteEvents(olderThan age: Duration) async throws -> Int64 {
        try await pool.sweep(batch: Self.batch) { "SELECT app.delete_old_events(\(age), \($0)) AS total" }
    }

    /// Takes the recordings from sessions that have been finished for longer than the age.
    ///
    /// Their files still have to be removed.
    ///
    /// - Returns: The number of recordings.
    /// - Throws: ``PostgresError`` if the database does not answer. What was taken before stays taken.
    public func discardRecordings(olderThan age: Duration) async throws -> Int64 {
        try await pool.sweep(batch: Self.batch) { "SELECT app.discard_old_recordings(\(age), \($0)) AS total" }
    }

    /// Removes records of the audit log that are older than the age.
    ///
    /// - Returns: Their number.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 55P03 if the log is not free at once.
    ///   What was removed before stays removed.
    public func deleteAudit(olderThan age: Duration) async throws -> Int64 {
        try await pool.sweep(batch: Self.batch) { "SELECT app.delete_old_audit(\(age), \($0)) AS total" }
    }

    /// Deletes the last words of stages that failed longer ago than the age.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func deleteFailures(olderThan age: Duration) async throws {
        _ = try await pool.query("SELECT app.delete_old_stage_failures(\(age))")
    }
}

extension PostgresPool {
    /// Repeats a statement that removes at most a batch of rows, until it has nothing more to do.
    ///
    /// - Parameters:
    ///   - batch: The greatest number of rows in one transaction.
    ///   - statement: Gets the number, and returns how many rows it removed as `total`.
    /// - Returns: The number of rows.
    /// - Throws: ``PostgresError`` if the database does not answer. What was removed before stays removed.
    @discardableResult
    func sweep(batch: Int32, _ statement: (Int32) -> PostgresQuery) async throws -> Int64 {
        var sum: Int64 = 0
        while !Task.isCancelled {
            let total = try await query(statement(batch)).first?.decode("total", as: Int64.self) ?? 0
            sum += total
            // A month of the audit log may have any number of records.
            if total < Int64(batch) { break }
        }
        return sum
    }
}
