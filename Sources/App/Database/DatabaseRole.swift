import Postgres
import SettingsReading

/// What a database role may do that would switch row-level security off.
///
/// PostgreSQL manual, 5.8: "Superusers and roles with the BYPASSRLS attribute always bypass the row security system when
/// accessing a table. Table owners normally bypass row security as well".
struct DatabaseRole: Sendable {
    private let name: String
    private let isSuperuser: Bool
    private let bypassesRowSecurity: Bool
    private let ownsSchema: Bool
    private let isOfServer: Bool

    /// Reads the role of a connection, and the role that the connection acts as, if that is another one.
    ///
    /// A member of a role counts like the role: `SET ROLE` gives it the attributes.
    ///
    /// - Parameter connection: A connection to `DATABASE_URL`.
    /// - Returns: One or two roles.
    /// - Throws: ``PostgresError``.
    static func read(_ connection: PostgresConnection) async throws -> [DatabaseRole] {
        try await connection.query(
            """
            SELECT r.rolname::text AS name, bool_or(g.rolsuper) AS is_superuser, bool_or(g.rolbypassrls) AS bypasses,
                   coalesce(bool_or(g.oid = n.nspowner), false) AS owns_schema,
                   bool_or(g.rolname = 'therapybridge_server') AS is_of_server
            FROM pg_catalog.pg_roles r
            JOIN pg_catalog.pg_roles g ON pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')
            LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'app'
            WHERE r.rolname IN (session_user, current_user)
            GROUP BY r.rolname ORDER BY r.rolname
            """
        ).map { row in
            DatabaseRole(
                name: try row.decode("name", as: String.self),
                isSuperuser: try row.decode("is_superuser", as: Bool.self),
                bypassesRowSecurity: try row.decode("bypasses", as: Bool.self),
                ownsSchema: try row.decode("owns_schema", as: Bool.self),
                isOfServer: try row.decode("is_of_server", as: Bool.self))
        }
    }

    /// Checks that row-level security binds the role, and that the role has the rights of the server.
    ///
    /// - Throws: ``SettingError`` otherwise.
    func check() throws(SettingError) {
        let fault: String
        if isSuperuser {
            fault = "is a superuser or a member of one"
        } else if bypassesRowSecurity {
            fault = "has BYPASSRLS or is a member of a role that has it"
        } else if ownsSchema {
            fault = "owns the schema or is a member of its owner"
        } else if !isOfServer {
            throw SettingError(
                "DATABASE_URL",
                "its role \(name) has not the rights of the server; use therapybridge_server, or: GRANT therapybridge_server "
                    + "TO \(name)")
        } else {
            return
        }
        throw SettingError(
            "DATABASE_URL",
            "its role \(name) \(fault), and row-level security would not bind the server; use therapybridge_server")
    }
}
