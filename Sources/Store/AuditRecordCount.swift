import Postgres

extension AuditStore {
    /// Reads how many records the audit log has had, of all servers and programs, removed ones included.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func recordCount() async throws -> Int {
        let rows = try await pool.query("SELECT app.audit_record_count() AS count")
        guard let row = rows.first else { throw StoreError.noRow }
        return Int(try row.decode("count", as: Int64.self))
    }
}
