public import Domain
import Postgres

// Probes: sessions by which an administrator measures how fast a change reaches a stream.
extension SessionStore {
    /// Makes a session that only its user sees.
    ///
    /// - Parameter principal: An administrator.
    /// - Returns: The session; nil if a hundred probes are under way.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 without the right.
    public func beginProbe(as principal: Principal) async throws -> TherapySession? {
        let probe = try await pool.acting(as: principal) { connection in
            try await connection.query("SELECT app.begin_probe() AS id").first?.decode("id", as: SessionID?.self)
        }
        guard let probe else { return nil }
        return try await session(probe, as: principal)
    }

    /// Removes the probes that are older than five minutes.
    ///
    /// - Returns: Their number.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func deleteExpiredProbes() async throws -> Int64 {
        try await pool.query("SELECT app.delete_expired_probes() AS total").first?.decode("total", as: Int64.self) ?? 0
    }
}
