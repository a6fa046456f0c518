import Postgres

extension AuditStore {
    /// Ends the transaction of a rehearsal.
    private struct End: Error {}

    /// Writes a record, and takes it back.
    ///
    /// - Parameter timeout: The longest wait for the database.
    /// - Throws: ``PostgresError`` if the log takes no records: a lock, a full disk, a missing right.
    public func rehearse(timeout: Duration) async throws {
        do {
            try await pool.withTransaction { connection in
                _ = try await connection.query(
                    """
                    SELECT app.record_repeats(
                        ARRAY[NULL::uuid], ARRAY[NULL::uuid], ARRAY['metrics.read'], ARRAY[true], ARRAY[NULL::uuid],
                        ARRAY[NULL::uuid], ARRAY[NULL::inet], ARRAY[1::bigint], ARRAY['0'::interval],
                        ARRAY['0'::interval])
                    """, timeout: timeout)
                throw End()
            }
        } catch is End {}
    }
}
