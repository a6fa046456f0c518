public import FoundationEssentials
public import Postgres

/// Attempts to sign in, counted over all servers: `app.attempt_limits`.
///
/// A subject may use all attempts of its limit at once. They become free again evenly over the period.
public struct AttemptStore: Sendable {
    /// An account or a network address whose attempts are limited.
    public struct Subject: Sendable, Hashable {
        /// The key of the subject: 32 bytes, a hash.
        public var key: Data
        /// The number of attempts in a period, at least 1.
        public var limit: Int

        /// A subject with its key and its limit.
        public init(key: Data, limit: Int) {
            self.key = key
            self.limit = limit
        }
    }

    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Charges one attempt to all subjects, or to no subject if one has no room.
    ///
    /// - Returns: Nil if all were charged; otherwise the time until there is room.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func charge(_ subjects: [Subject], period: Duration) async throws -> Duration? {
        let rows = try await pool.query(
            """
            SELECT app.charge_attempt(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period)) AS wait
            """)
        return try rows.first?.decode("wait", as: Double?.self).map { .seconds($0) }
    }

    /// Takes a charge back.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func refund(_ subjects: [Subject], period: Duration) async throws {
        _ = try await pool.query(
            """
            SELECT app.refund_attempt(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period))
            """)
    }

    /// The time until all subjects have room for one more attempt; nil if they have it now.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func wait(for subjects: [Subject], period: Duration) async throws -> Duration? {
        let rows = try await pool.query(
            """
            SELECT app.attempts_wait(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period)) AS wait
            """)
        return try rows.first?.decode("wait", as: Double?.self).map { .seconds($0) }
    }

    /// Deletes the subjects whose charges have worn off.
    ///
    /// - Returns: The number of deleted rows.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func forgetWornOff() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_attempts() AS deleted")
        return try rows.first?.decode("deleted", as: Int.self) ?? 0
    }
}
