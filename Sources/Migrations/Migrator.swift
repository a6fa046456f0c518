public import Logging
public import Polling
public import Postgres

/// Why migrations were not applied.
public enum MigrationError: Error, CustomStringConvertible {
    /// Files that are applied already have other contents in this binary.
    case edited([String])
    /// Another migration, or a writer of the tables, held a lock for all the time that there was.
    case busy
    /// One file failed; nothing of this run is applied.
    case failed(filename: String, any Error)

    /// What happened and what to do, in one line.
    public var description: String {
        switch self {
        case .edited(let files):
            "applied migrations differ from this binary's: \(files.joined(separator: ", ")); "
                + "restore those files, and put the change into a new step or a higher revision"
        case .busy: "another migration is under way, or writers hold the tables; try again when they are done"
        case .failed(let filename, let error): "\(filename) failed, and nothing was applied: \(error)"
        }
    }

    /// Whether the same run may succeed a moment later: a lock was not to be had in time, or two waited for each other.
    fileprivate var isTransient: Bool {
        guard case .failed(_, let error as PostgresError) = self else { return false }
        return error.sqlState == .lockNotAvailable || error.sqlState == .deadlockDetected
    }
}

/// Brings a database to the schema that this binary needs.
public struct Migrator: Sendable {
    private let configuration: PostgresConfiguration
    private let migrations: [Migration]
    private let clock: any MonotonicClock
    private let logger: Logger

    /// The key of the advisory lock by which migrations take turns: "TherapyB" in ASCII.
    ///
    /// A code file that psql runs takes the same lock.
    private static let lockKey: Int64 = 0x5468_6572_6170_7942

    /// The pause before the next try for a lock.
    private static let pause = Duration.milliseconds(200)

    /// Makes a migrator.
    ///
    /// - Parameters:
    ///   - configuration: A connection of a member of `therapybridge_owner` (`DATABASE_MIGRATE_URL`).
    ///   - migrations: The files, in order; those that the binary carries unless a test says otherwise.
    ///   - clock: The clock by which locks are waited for.
    ///   - logger: Gets a line for each file that was applied.
    public init(
        configuration: PostgresConfiguration, migrations: [Migration] = Migration.carried,
        clock: any MonotonicClock = ContinuousClock(), logger: Logger
    ) {
        var configuration = configuration
        // An index on a large table may take hours. Each file limits its wait for locks itself.
        configuration.queryTimeout = nil
        configuration.statementTimeout = nil
        self.configuration = configuration
        self.migrations = migrations
        self.clock = clock
        self.logger = logger
    }

    /// Compares the files with the database's ledger.
    ///
    /// - Throws: The error of the connection.
    public func status() async throws -> MigrationStatus {
        try await PostgresConnection.withConnection(configuration) { connection in
            try await Self.status(of: migrations) { try await connection.query($0) }
        }
    }

    /// Compares files with a database's ledger, for any role that may read the ledger.
    ///
    /// - Throws: The error of `query`.
    public static func status(
        of migrations: [Migration] = Migration.carried, query: (PostgresQuery) async throws -> PostgresRows
    ) async throws -> MigrationStatus {
        MigrationStatus(carried: migrations, applied: try await Ledger.read(query))
    }

    /// Applies what is missing in one transaction, and enters the checksums of what psql applied.
    ///
    /// A run that loses a lock to a writer (SQLSTATE 55P03, 40P01) begins again, for as long as `lockTimeout` lasts.
    ///
    /// - Parameter lockTimeout: How long to wait for locks: that of another migration, and those of writers.
    /// - Returns: The files that were applied.
    /// - Throws: A ``MigrationError``, or the error of the connection. Nothing is applied then.
    public func up(lockTimeout: Duration = .seconds(60)) async throws -> [Migration] {
        let deadline = clock.now.advanced(by: lockTimeout)
        return try await PostgresConnection.withConnection(configuration) { connection in
            try await lock(connection, until: deadline)
            // The end of the connection releases the lock, too; this is for a pooler that keeps the connection.
            let result: Result<[Migration], any Error>
            do {
                result = .success(try await applyAgain(connection, until: deadline))
            } catch {
                result = .failure(error)
            }
            _ = try? await connection.query("SELECT pg_advisory_unlock(\(Self.lockKey))")
            return try result.get()
        }
    }

    /// Applies what is missing, and begins again while a lock is not to be had.
    private func applyAgain(
        _ connection: PostgresConnection, until deadline: ContinuousClock.Instant
    ) async throws -> [Migration] {
        while true {
            do {
                return try await apply(connection)
            } catch let error as MigrationError where error.isTransient {
                guard clock.now < deadline else { throw MigrationError.busy }
                logger.notice("migration begins again", metadata: ["reason": "\(error)"])
                try await clock.sleep(for: Self.pause)
            }
        }
    }

    private func apply(_ connection: PostgresConnection) async throws -> [Migration] {
        let status = try await Self.status(of: migrations) { try await connection.query($0) }
        guard status.edited.isEmpty else { throw MigrationError.edited(status.edited.map(\.filename)) }
        for file in status.unsigned { try await Ledger.sign(file, connection) }
        guard !status.missing.isEmpty else { return [] }
        var filename = ""
        do {
            try await connection.executeScript("BEGIN")
            for file in status.missing {
                filename = file.filename
                try await connection.executeScript(file.statements)
                try await Ledger.sign(file, connection)
            }
            try await connection.executeScript("COMMIT")
        } catch {
            _ = try? await connection.executeScript("ROLLBACK")
            throw MigrationError.failed(filename: filename, error)
        }
        for file in status.missing { logger.info("migration applied", metadata: ["file": "\(file.filename)"]) }
        return status.missing
    }

    /// Polls: a connection that waits for an advisory lock holds back VACUUM for as long as it waits.
    private func lock(_ connection: PostgresConnection, until deadline: ContinuousClock.Instant) async throws {
        while true {
            let row = try await connection.query("SELECT pg_try_advisory_lock(\(Self.lockKey)) AS is_locked").first
            if try row?.decode("is_locked", as: Bool.self) == true { return }
            guard clock.now < deadline else { throw MigrationError.busy }
            try await clock.sleep(for: Self.pause)
        }
    }
}
