public import Postgres

extension AuditStore {
    /// Writes a record, and takes it back.
    ///
    /// All of it is one message to the database, and therefore one wait.
    ///
    /// - Parameters:
    ///   - connection: A connection of the server's role without a transaction.
    ///   - timeout: The longest wait for the database.
    /// - Throws: ``PostgresError`` if the log takes no records: a lock, a full disk, a missing right. The pool then ends the
    ///   transaction.
    public func rehearse(on connection: PostgresConnection, timeout: Duration) async throws {
        try await connection.executeScript(
            """
            BEGIN;
            SELECT app.record_repeats(
                ARRAY[NULL::uuid], ARRAY[NULL::uuid], ARRAY['metrics.read'], ARRAY[true], ARRAY[NULL::uuid],
                ARRAY[NULL::uuid], ARRAY[NULL::inet], ARRAY[1::bigint], ARRAY['0'::interval], ARRAY['0'::interval]);
            ROLLBACK
            """, timeout: timeout)
    }
}
