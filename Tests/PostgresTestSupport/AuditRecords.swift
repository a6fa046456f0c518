public import Domain
import Postgres
import Store

extension TestDatabase {
    /// Reads the audit log, the oldest record first.
    public func audit(_ condition: String = "true") async throws -> [AuditEntry] {
        try await query(
            """
            SELECT \(unescaped: AuditEntry.columns) FROM app.audit_log WHERE \(unescaped: condition) ORDER BY at, id
            """
        ).map(AuditEntry.init)
    }

    /// Makes all records older.
    ///
    /// Only a superuser can do that, by disabling the triggers.
    public func ageAudit(by interval: String) async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                SET session_replication_role = replica;
                UPDATE app.audit_log SET at = at - interval '\(interval)';
                """)
        }
    }

    /// Makes every write of a record fail, as on a full disk.
    public func breakAudit() async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                CREATE FUNCTION app.fail() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER fail BEFORE INSERT ON app.audit_log FOR EACH ROW EXECUTE FUNCTION app.fail();
                """)
        }
    }

    /// Lets records be written again.
    public func mendAudit() async throws { try await query("DROP TRIGGER fail ON app.audit_log") }
}
