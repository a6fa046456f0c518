import Postgres

/// The roles of the first step.
struct Roles {
    let section: String

    init(_ connection: PostgresConnection) async throws {
        var table = MarkdownTable("role", "signs in", "uses the schema")
        let rows = try await connection.query(
            """
            SELECT rolname::text AS name, rolcanlogin AS can_log_in, has_schema_privilege(oid, 'app', 'USAGE') AS has_usage
            FROM pg_roles WHERE rolname IN ('therapybridge_owner', 'therapybridge_server', 'therapybridge_pipeline')
            ORDER BY rolname COLLATE "C"
            """)
        for row in rows {
            table.add(
                "`\(try row.text("name"))`", try row.decode("can_log_in", as: Bool.self) ? "yes" : "no",
                try row.decode("has_usage", as: Bool.self) ? "yes" : "no")
        }
        section = "## Roles\n\n\(table.text)"
    }
}

/// The statuses of a session and the transitions between them.
struct StateMachine {
    let section: String

    init(_ connection: PostgresConnection) async throws {
        var table = MarkdownTable("status", "floor", "is finished", "may become")
        let rows = try await connection.query(
            """
            SELECT s.status, s.floor::text AS floor, s.is_finished,
                   (SELECT string_agg('`' || t.to_status || '`', ', ' ORDER BY n.floor, t.to_status)
                    FROM app.status_transitions t JOIN app.statuses n ON n.status = t.to_status
                    WHERE t.from_status = s.status) AS next
            FROM app.statuses s ORDER BY s.floor, s.is_finished, s.status COLLATE "C"
            """)
        for row in rows {
            table.add(
                "`\(try row.text("status"))`", "\(try row.text("floor")) %",
                try row.decode("is_finished", as: Bool.self) ? "yes" : "no", try row.text("next"))
        }
        section = """
            ## State machine

            A session changes its status only by these transitions, whichever program writes. A takeover sets the progress
            to the floor of the status.

            \(table.text)
            """
    }
}
