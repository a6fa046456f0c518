public import Domain
import Postgres
import Store

extension TestDatabase {
    /// The records of the audit log, the oldest first.
    public func audit(_ condition: String = "true") async throws -> [AuditEntry] {
        try await query(
            """
            SELECT \(unescaped: AuditEntry.columns) FROM app.audit_log WHERE \(unescaped: condition) ORDER BY at, id
            """
        ).map(AuditEntry.init)
    }

    /// Makes all records older, as no role but a superuser could that takes the triggers away.
    public func ageAudit(by interval: String) async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                SET session_replication_role = replica;
                UPDATE app.audit_log SET at = at - interval '\(interval)';
                """)
        }
    }

    /// Lets no record be written any more, as when the disk is full.
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
