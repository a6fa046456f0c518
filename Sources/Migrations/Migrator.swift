public import Logging
public import Postgres

/// Why migrations were not applied.
public enum MigrationError: Error, CustomStringConvertible {
    /// Files that are applied already have other contents in this binary.
    case edited([String])
    /// Another migration held the lock for all the time that there was.
    case busy
    /// One failed; those before it are applied, and nothing of it.
    case failed(filename: String, any Error)

    public var description: String {
        switch self {
        case .edited(let files):
            "applied migrations differ from this binary's: \(files.joined(separator: ", ")); "
                + "restore those files, and put the change into a new migration"
        case .busy: "another migration is under way; try again when it is done"
        case .failed(let filename, let error): "\(filename) failed and changed nothing: \(error)"
        }
    }
}

/// Brings a database to the schema that this binary needs.
public struct Migrator: Sendable {
    private let configuration: PostgresConfiguration
    private let migrations: [Migration]
    private let logger: Logger

    /// Two that migrate at once take turns by this advisory lock: "TherapyB" in ASCII.
    private static let lockKey: Int64 = 0x5468_6572_6170_7942

    /// - Parameter configuration: A connection of a member of `therapybridge_owner` (`DATABASE_MIGRATE_URL`).
    public init(
        configuration: PostgresConfiguration, migrations: [Migration] = Migration.carried, logger: Logger
    ) {
        var configuration = configuration
        // A migration takes as long as it takes: an index on a large table, say. Only its locks have a limit, in the file.
        configuration.queryTimeout = nil
        configuration.statementTimeout = nil
        self.configuration = configuration
        self.migrations = migrations
        self.logger = logger
    }

    /// How the database stands.
    public func status() async throws -> MigrationStatus {
        try await PostgresConnection.withConnection(configuration) { connection in
            try await Self.status(of: migrations) { try await connection.query($0) }
        }
    }

    /// How a database stands, as any role may ask that can read the ledger.
    public static func status(
        of migrations: [Migration] = Migration.carried, query: (PostgresQuery) async throws -> PostgresRows
    ) async throws -> MigrationStatus {
        MigrationStatus(carried: migrations, applied: try await ledger(query))
    }

    /// Applies what is missing, in order, and enters the checksums of what psql has applied.
    ///
    /// - Parameter lockTimeout: How long to wait for another that migrates.
    /// - Returns: The migrations that were applied.
    /// - Throws: A ``MigrationError``, or the error of the connection.
    public func up(lockTimeout: Duration = .seconds(60)) async throws -> [Migration] {
        try await PostgresConnection.withConnection(configuration) { connection in
            try await lock(connection, timeout: lockTimeout)
            // Ending the connection would release the lock, too; this is for poolers that keep it.
            let result: Result<[Migration], any Error>
            do {
                result = .success(try await apply(connection))
            } catch {
                result = .failure(error)
            }
            _ = try? await connection.query("SELECT pg_advisory_unlock(\(Self.lockKey))")
            return try result.get()
        }
    }

    private func apply(_ connection: PostgresConnection) async throws -> [Migration] {
        let status = try await Self.status(of: migrations) { try await connection.query($0) }
        guard status.edited.isEmpty else { throw MigrationError.edited(status.edited.map(\.filename)) }
        for migration in status.unsigned { try await sign(migration, connection) }
        for migration in status.missing {
            do {
                try await connection.executeScript(migration.sql)
                try await sign(migration, connection)
            } catch {
                // The file's own transaction is still open, in the state of having failed.
                _ = try? await connection.executeScript("ROLLBACK")
                throw MigrationError.failed(filename: migration.filename, error)
            }
            logger.info("migration applied", metadata: ["file": "\(migration.filename)"])
        }
        return status.missing
    }

    private func sign(_ migration: Migration, _ connection: PostgresConnection) async throws {
        _ = try await connection.execute(
            """
            UPDATE app.schema_migrations SET checksum = \(migration.checksum)
            WHERE version = \(Int32(migration.version)) AND checksum IS NULL
            """)
    }

    /// Polls: a session that waits for an advisory lock holds back a vacuum for as long as it waits.
    private func lock(_ connection: PostgresConnection, timeout: Duration) async throws {
        let deadline = ContinuousClock.now.advanced(by: timeout)
        while true {
            let row = try await connection.query("SELECT pg_try_advisory_lock(\(Self.lockKey)) AS is_locked").first
            if try row?.decode("is_locked", as: Bool.self) == true { return }
            guard ContinuousClock.now < deadline else { throw MigrationError.busy }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private static func ledger(
        _ query: (PostgresQuery) async throws -> PostgresRows
    ) async throws -> [MigrationStatus.Applied] {
        let exists = try await query(
            "SELECT to_regclass('app.schema_migrations') IS NOT NULL AS is_there"
        ).first?.decode("is_there", as: Bool.self)
        guard exists == true else { return [] }
        return try await query("SELECT version, name, checksum FROM app.schema_migrations ORDER BY version").map {
            MigrationStatus.Applied(
                version: Int(try $0.decode("version", as: Int32.self)),
                name: try $0.decode("name", as: String.self),
                checksum: try $0.decode("checksum", as: String?.self))
        }
    }
}
