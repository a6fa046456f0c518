import Postgres

/// The functions: their purposes, files, rights and callers.
struct Functions {
    let section: String

    init(_ connection: PostgresConnection, _ fileOfFunction: (String) -> String?) async throws {
        var parts = [
            """
            ## Functions

            *Definer* means that a function runs with the rights of `therapybridge_owner`, and *caller* with those of its
            caller. Without a named role, only other functions and triggers call it.
            """
        ]
        let rows = try await connection.query(
            """
            SELECT p.proname::text AS name, pg_get_function_arguments(p.oid) AS arguments,
                   pg_get_function_result(p.oid) AS result, p.prosecdef AS is_definer,
                   array_to_string(p.proconfig, E'\n') AS settings, obj_description(p.oid, 'pg_proc') AS comment,
                   (SELECT string_agg('`' || pg_get_userbyid(x.grantee) || '`', ', ' ORDER BY pg_get_userbyid(x.grantee)::text)
                    FROM aclexplode(p.proacl) AS x WHERE x.grantee <> p.proowner) AS callers
            FROM pg_proc p WHERE p.pronamespace = 'app'::regnamespace
            ORDER BY p.proname COLLATE "C", pg_get_function_identity_arguments(p.oid) COLLATE "C"
            """)
        for row in rows { parts.append(try Self.describe(row, fileOfFunction)) }
        section = parts.joined(separator: "\n\n")
    }

    private static func describe(_ row: PostgresRow, _ fileOfFunction: (String) -> String?) throws -> String {
        let name = try row.text("name")
        let callers = try row.text("callers")
        let settings = try row.text("settings").split(separator: "\n").filter { !$0.hasPrefix("search_path") }
        var facts = [try row.decode("is_definer", as: Bool.self) ? "definer" : "caller"]
        if !callers.isEmpty { facts.append("called by \(callers)") }
        if !settings.isEmpty { facts.append("sets \(settings.map { "`\($0)`" }.joined(separator: ", "))") }
        if let file = fileOfFunction(name) { facts.append("in `\(file)`") }
        return [
            "### `app.\(name)`", try row.text("comment"),
            "```sql\n\(name)(\(try row.text("arguments")))\n  returns \(try row.text("result"))\n```",
            facts.joined(separator: "; ") + ".",
        ].filter { !$0.isEmpty }.joined(separator: "\n\n")
    }
}

/// The functions that notify the server.
struct Notifications {
    let section: String

    init(_ connection: PostgresConnection) async throws {
        var table = MarkdownTable("function", "what it notifies of")
        let rows = try await connection.query(
            """
            SELECT p.proname::text AS name, obj_description(p.oid, 'pg_proc') AS comment FROM pg_proc p
            WHERE p.pronamespace = 'app'::regnamespace AND p.prosrc LIKE '%pg_notify(%'
            ORDER BY p.proname COLLATE "C"
            """)
        for row in rows { table.add("`app.\(try row.text("name"))`", try row.text("comment")) }
        section = """
            ## Notifications

            There is one channel, `tb_session_v1`. A payload is a hint, and any database role can send one. The server therefore
            reads the session that a hint names, and never shows the payload itself. These functions send hints:

            \(table.text)
            """
    }
}
