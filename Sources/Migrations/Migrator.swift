public import Logging
public import Polling
public import Postgres

/// Why the migrations were not applied.
public enum MigrationError: Error, CustomStringConvertible {
    /// The named files were applied with other contents than the binary's.
    case edited([String])
    /// Another migration, or a writer of the tables, held a lock until the timeout.
    case busy
    /// The cluster has another installation, or roles with rights that they must not have.
    ///
    /// The text names the other database or the role, and the remedy.
    case unsafeCluster(String)
    /// A file failed. Nothing of this run was applied.
    case failed(filename: String, any Error)

    /// One line with the cause and the remedy.
    public var description: String {
        switch self {
        case .edited(let files):
            "applied migrations differ from this binary's: \(files.joined(separator: ", ")); "
                + "restore those files, and put the change into a new step or a higher revision"
        case .busy: "another migration is under way, or writers hold the tables; try again when they have ended"
        case .unsafeCluster(let text): text
        case .failed(let filename, let error): "\(filename) failed, and nothing was applied: \(error)"
        }
    }

    /// True if the same run may succeed later: a lock timeout or a deadlock.
    fileprivate var isTransient: Bool {
        guard case .failed(_, let error as PostgresError) = self else { return false }
        return error.sqlState == .lockNotAvailable || error.sqlState == .deadlockDetected
    }
}

/// Brings a database to the schema of this binary.
public struct Migrator: Sendable {
    private let configuration: PostgresConfiguration
    private let migrations: [Migration]
    private let clock: any MonotonicClock
    private let logger: Logger

    /// The key of the advisory lock of migrations: "TherapyB" in ASCII.
    ///
    /// A code file takes the same lock when psql runs it.
    private static let lockKey: Int64 = 0x5468_6572_6170_7942

    /// The pause between two attempts to get a lock.
    private static let pause = Duration.milliseconds(200)

    /// Makes a migrator.
    ///
    /// - Parameters:
    ///   - configuration: The connection of a member of `therapybridge_owner` (`DATABASE_MIGRATE_URL`).
    ///   - migrations: The files in order. The default is the files of the binary.
    ///   - clock: The clock of the waits for locks.
    ///   - logger: Receives a line for each applied file.
    public init(
        configuration: PostgresConfiguration, migrations: [Migration] = Migration.carried,
        clock: any MonotonicClock = ContinuousClock(), logger: Logger
    ) {
        var configuration = configuration
        // Building a database index on a large table may take hours. Each file limits its own wait for locks.
        configuration.queryTimeout = nil
        // The role or the database may have a timeout for statements: 0 switches it off.
        configuration.statementTimeout = .zero
        self.configuration = configuration
        self.migrations = migrations
        self.clock = clock
        self.logger = logger
    }

    /// Compares the files with the ledger of the database.
    ///
    /// - Returns: The difference.
    /// - Throws: The error of the connection.
    public func status() async throws -> MigrationStatus {
        try await PostgresConnection.withConnection(configuration) { connection in
            try await Self.status(of: migrations) { try await connection.query($0) }
        }
    }

    /// Compares files with the ledger of a database.
    ///
    /// The role of `query` must be able to read the ledger.
    ///
    /// - Parameters:
    ///   - migrations: The files in order. The default is the files of the binary.
    ///   - query: Runs a query.
    /// - Returns: The difference.
    /// - Throws: The error of `query`.
    public static func status(
        of migrations: [Migration] = Migration.carried, query: (PostgresQuery) async throws -> PostgresRows
    ) async throws -> MigrationStatus {
        MigrationStatus(carried: migrations, applied: try await Ledger.read(query))
    }

    /// Applies the missing files in one transaction, and records the checksums of files that psql applied.
    ///
    /// If a statement loses a lock to a writer (SQLSTATE 55P03, 40P01), the run begins again until `lockTimeout` is
    /// over.
    ///
    /// - Parameters:
    ///   - lockTimeout: The longest wait for the locks of another migration and of writers.
    ///   - isClusterShared: True if the operator says that all databases of the cluster are one trust domain. The first
    ///     migration then accepts another installation in the cluster.
    /// - Returns: The applied files.
    /// - Throws: ``MigrationError``, or the error of the connection. Nothing is applied then.
    public func up(lockTimeout: Duration = .seconds(60), isClusterShared: Bool = false) async throws -> [Migration] {
        let deadline = clock.now.advanced(by: lockTimeout)
        return try await PostgresConnection.withConnection(configuration) { connection in
            try await lock(connection, until: deadline)
            // The end of a connection releases the lock, but a pooler may keep the connection.
            let result: Result<[Migration], any Error>
            do {
                result = .success(
                    try await applyAgain(connection, until: deadline, isClusterShared: isClusterShared))
            } catch {
                result = .failure(error)
            }
            _ = try? await connection.query("SELECT pg_advisory_unlock(\(Self.lockKey))")
            return try result.get()
        }
    }

    /// Applies the missing files, and begins again after a transient error.
    private func applyAgain(
        _ connection: PostgresConnection, until deadline: ContinuousClock.Instant, isClusterShared: Bool
    ) async throws -> [Migration] {
        while true {
            do {
                return try await apply(connection, isClusterShared: isClusterShared)
            } catch let error as MigrationError where error.isTransient {
                guard clock.now < deadline else { throw MigrationError.busy }
                logger.notice("migration begins again", metadata: ["reason": "\(error)"])
                try await clock.sleep(for: Self.pause)
            }
        }
    }

    private func apply(_ connection: PostgresConnection, isClusterShared: Bool) async throws -> [Migration] {
        let status = try await Self.status(of: migrations) { try await connection.query($0) }
        guard status.edited.isEmpty else { throw MigrationError.edited(status.edited.map(\.filename)) }
        for file in status.unsigned { try await Ledger.sign(file, connection) }
        guard !status.missing.isEmpty else { return [] }
        var filename = ""
        do {
            try await connection.executeScript("BEGIN")
            if isClusterShared { try await connection.executeScript(ClusterRoles.acceptSharedCluster) }
            for file in status.missing {
                filename = file.filename
                try await connection.executeScript(file.statements)
                try await Ledger.sign(file, connection)
            }
            try await connection.executeScript("COMMIT")
        } catch {
            _ = try? await connection.executeScript("ROLLBACK")
            throw ClusterRoles.refusal(error) ?? MigrationError.failed(filename: filename, error)
        }
        for file in status.missing { logger.info("migration applied", metadata: ["file": "\(file.filename)"]) }
        return status.missing
    }

    /// Makes the roles alone, and the caller a member of the owner's role.
    ///
    /// A cluster needs them before a dump is restored into it: the dump names them and does not hold them. The call may be
    /// repeated.
    ///
    /// - Parameter isClusterShared: True if the operator says that all databases of the cluster are one trust domain.
    /// - Throws: ``MigrationError``, or the error of the connection. No role is made then.
    public func makeRoles(isClusterShared: Bool = false) async throws {
        try await PostgresConnection.withConnection(configuration) { connection in
            do {
                try await connection.executeScript("BEGIN")
                if isClusterShared { try await connection.executeScript(ClusterRoles.acceptSharedCluster) }
                try await connection.executeScript(ClusterRoles.statements)
                try await connection.executeScript("COMMIT")
            } catch {
                _ = try? await connection.executeScript("ROLLBACK")
                throw ClusterRoles.refusal(error) ?? error
            }
        }
    }

    /// Polls.
    ///
    /// A connection that waits for an advisory lock would hold back VACUUM all the time.
    private func lock(_ connection: PostgresConnection, until deadline: ContinuousClock.Instant) async throws {
        while true {
            let row = try await connection.query("SELECT pg_try_advisory_lock(\(Self.lockKey)) AS is_locked").first
            if try row?.decode("is_locked", as: Bool.self) == true { return }
            guard clock.now < deadline else { throw MigrationError.busy }
            try await clock.sleep(for: Self.pause)
        }
    }
}
