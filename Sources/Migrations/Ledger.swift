import Postgres

/// The tables that record the applied files: `app.schema_migrations` for steps and `app.schema_code` for code files.
enum Ledger {
    /// Reads both tables.
    ///
    /// A database without them has no applied files.
    static func read(
        _ query: (PostgresQuery) async throws -> PostgresRows
    ) async throws -> [MigrationStatus.Applied] {
        let row = try await query(
            """
            SELECT to_regclass('app.schema_migrations') IS NOT NULL AS has_steps,
                   to_regclass('app.schema_code') IS NOT NULL AS has_code
            """
        ).first
        var applied: [MigrationStatus.Applied] = []
        if try row?.decode("has_steps", as: Bool.self) == true {
            applied += try await query(
                "SELECT version, name, checksum FROM app.schema_migrations ORDER BY version"
            ).map {
                let version = Int(try $0.decode("version", as: Int32.self))
                return MigrationStatus.Applied(
                    .step(version: version), name: try $0.decode("name", as: String.self),
                    checksum: try $0.decode("checksum", as: String?.self))
            }
        }
        if try row?.decode("has_code", as: Bool.self) == true {
            applied += try await query(
                "SELECT name, revision, checksum, is_stale FROM app.schema_code ORDER BY name"
            ).map {
                MigrationStatus.Applied(
                    .code(revision: Int(try $0.decode("revision", as: Int32.self))),
                    name: try $0.decode("name", as: String.self),
                    checksum: try $0.decode("checksum", as: String?.self),
                    isStale: try $0.decode("is_stale", as: Bool.self))
            }
        }
        return applied
    }

    /// Writes the checksum of a file into the row that the file itself inserted.
    static func sign(_ file: Migration, _ connection: PostgresConnection) async throws {
        switch file.kind {
        case .step(let version):
            try await connection.execute(
                """
                UPDATE app.schema_migrations SET checksum = \(file.checksum)
                WHERE version = \(Int32(version)) AND checksum IS NULL
                """)
        case .code(let revision):
            try await connection.execute(
                """
                UPDATE app.schema_code SET checksum = \(file.checksum)
                WHERE name = \(file.name) AND revision = \(Int32(revision)) AND checksum IS NULL
                """)
        }
    }
}
