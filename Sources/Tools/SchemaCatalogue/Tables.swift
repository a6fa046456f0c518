import Postgres

/// The tables and views with their columns, database indexes, triggers, policies and privileges.
struct Tables {
    let section: String

    init(_ connection: PostgresConnection) async throws {
        var parts = ["## Tables"]
        let tables = try await connection.query(
            """
            SELECT c.relname::text AS name, obj_description(c.oid, 'pg_class') AS comment,
                   c.relrowsecurity AS is_guarded, c.relpersistence = 'u' AS is_unlogged,
                   CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid, true) END AS definition
            FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p', 'v')
              -- The names of the months' partitions depend on the day.
              AND c.relname !~ '^audit_log_[0-9]'
            ORDER BY c.relname COLLATE "C"
            """)
        for table in tables { parts.append(try await Self.describe(table, connection)) }
        section = parts.joined(separator: "\n\n")
    }

    private static func describe(_ table: PostgresRow, _ connection: PostgresConnection) async throws -> String {
        let name = try table.text("name")
        var parts = ["### `app.\(name)`", try table.text("comment")]
        var traits: [String] = []
        if try table.decode("is_guarded", as: Bool.self) { traits.append("Row-level security is on.") }
        if try table.decode("is_unlogged", as: Bool.self) {
            traits.append("The table is unlogged: a crash empties it.")
        }
        parts.append(traits.joined(separator: " "))
        let definition = try table.text("definition")
        if !definition.isEmpty { parts.append("A view:\n\n```sql\n\(definition)\n```") }
        parts.append(try await columns(of: name, connection))
        parts.append(try await indexes(of: name, connection))
        parts.append(try await triggers(of: name, connection))
        parts.append(try await policies(of: name, connection))
        parts.append(try await privileges(on: name, connection))
        return parts.filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    private static func columns(of table: String, _ connection: PostgresConnection) async throws -> String {
        var text = MarkdownTable("column", "type", "default", "meaning")
        let rows = try await connection.query(
            """
            SELECT a.attname::text AS name,
                   format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN '' ELSE ', null' END AS type,
                   CASE WHEN a.attidentity <> '' THEN 'identity' ELSE pg_get_expr(d.adbin, d.adrelid) END AS value,
                   col_description(a.attrelid, a.attnum) AS comment
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = ('app.' || \(table))::regclass AND a.attnum > 0 AND NOT a.attisdropped
            ORDER BY a.attnum
            """)
        for row in rows {
            let value = try row.text("value")
            text.add(
                "`\(try row.text("name"))`", try row.text("type"), value.isEmpty ? "" : "`\(value)`",
                try row.text("comment"))
        }
        return text.text
    }

    private static func indexes(of table: String, _ connection: PostgresConnection) async throws -> String {
        let rows = try await connection.query(
            """
            SELECT pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = ('app.' || \(table))::regclass ORDER BY c.relname COLLATE "C"
            """)
        return try list("Indexes", rows.map { "`\(try $0.text("definition"))`" })
    }

    private static func triggers(of table: String, _ connection: PostgresConnection) async throws -> String {
        let rows = try await connection.query(
            """
            SELECT pg_get_triggerdef(t.oid, true) AS definition FROM pg_trigger t
            WHERE t.tgrelid = ('app.' || \(table))::regclass AND NOT t.tgisinternal ORDER BY t.tgname COLLATE "C"
            """)
        return try list("Triggers", rows.map { "`\(try $0.text("definition"))`" })
    }

    private static func policies(of table: String, _ connection: PostgresConnection) async throws -> String {
        var text = MarkdownTable("policy", "for", "role", "sees rows where", "writes rows where")
        let rows = try await connection.query(
            """
            SELECT policyname::text AS name, cmd AS command, array_to_string(roles, ', ') AS roles,
                   qual AS condition, with_check AS check_condition
            FROM pg_policies WHERE schemaname = 'app' AND tablename = \(table) ORDER BY policyname COLLATE "C"
            """)
        for row in rows {
            text.add(
                "`\(try row.text("name"))`", try row.text("command"), "`\(try row.text("roles"))`",
                code(try row.text("condition")), code(try row.text("check_condition")))
        }
        return text.text
    }

    private static func privileges(on table: String, _ connection: PostgresConnection) async throws -> String {
        let rows = try await connection.query(
            """
            SELECT grantee, string_agg(privilege, ', ' ORDER BY privilege) AS privileges FROM (
                SELECT pg_get_userbyid(x.grantee)::text AS grantee, x.privilege_type AS privilege
                FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS x
                WHERE c.oid = ('app.' || \(table))::regclass AND x.grantee <> c.relowner
                UNION ALL
                SELECT pg_get_userbyid(x.grantee)::text,
                       x.privilege_type || ' (' || string_agg(a.attname, ', ' ORDER BY a.attnum) || ')'
                FROM pg_attribute a CROSS JOIN LATERAL aclexplode(a.attacl) AS x
                WHERE a.attrelid = ('app.' || \(table))::regclass GROUP BY x.grantee, x.privilege_type
            ) AS p GROUP BY grantee ORDER BY grantee
            """)
        return try list("Privileges", rows.map { "`\(try $0.text("grantee"))`: \(try $0.text("privileges"))" })
    }

    private static func list(_ title: String, _ items: [String]) -> String {
        guard !items.isEmpty else { return "" }
        return "\(title):\n\n" + items.map { "- \($0)" }.joined(separator: "\n")
    }

    private static func code(_ condition: String) -> String {
        let words = condition.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        return words.isEmpty ? "" : "`\(words)`"
    }
}
