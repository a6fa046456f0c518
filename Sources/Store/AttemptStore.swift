public import Foundation
public import Postgres

/// What failed attempts to sign in have used up, of whatever is limited: `app.attempt_limits`.
///
/// All servers of a database share it. Of each subject as many attempts as its limit may come at once; what was charged wears
/// off evenly, all of it within the period.
public struct AttemptStore: Sendable {
    /// Something that is limited.
    public struct Subject: Sendable, Hashable {
        /// Names it: 32 bytes, a hash.
        public var key: Data
        /// How many attempts it has in a period, at least 1.
        public var limit: Int

        /// A subject with its key and its limit.
        public init(key: Data, limit: Int) {
            self.key = key
            self.limit = limit
        }
    }

    private let pool: PostgresPool

    /// Asks the database through a pool of connections.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Charges one attempt to all subjects, or to none.
    ///
    /// - Returns: Nil when it was charged; else how long to wait until there is room.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func charge(_ subjects: [Subject], period: Duration) async throws -> Duration? {
        let rows = try await pool.query(
            """
            SELECT app.charge_attempt(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period)) AS wait
            """)
        return try rows.first?.decode("wait", as: Double?.self).map { .seconds($0) }
    }

    /// Takes back what ``charge(_:period:)`` charged.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func refund(_ subjects: [Subject], period: Duration) async throws {
        _ = try await pool.query(
            """
            SELECT app.refund_attempt(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period))
            """)
    }

    /// How long to wait until all subjects have room for one more attempt; nil when they have.
    ///
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func wait(for subjects: [Subject], period: Duration) async throws -> Duration? {
        let rows = try await pool.query(
            """
            SELECT app.attempts_wait(\(subjects.map(\.key)), \(subjects.map { Int32(clamping: $0.limit) }), \(period)) AS wait
            """)
        return try rows.first?.decode("wait", as: Double?.self).map { .seconds($0) }
    }

    /// Removes what has worn off.
    ///
    /// - Returns: How many rows went.
    /// - Throws: ``PostgresError`` when the database cannot answer.
    public func forgetWornOff() async throws -> Int {
        let rows = try await pool.query("SELECT app.delete_expired_attempts() AS forgotten")
        return try rows.first?.decode("forgotten", as: Int.self) ?? 0
    }
}
