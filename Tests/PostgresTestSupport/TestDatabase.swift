public import Domain
public import LocalPostgres
public import Postgres
public import TestSupport

/// The database of one test.
public struct TestDatabase: Sendable {
    /// Its cluster.
    public let cluster: LocalPostgres
    /// Its name in the cluster.
    public let name: String

    /// Refers to an existing database.
    public init(cluster: LocalPostgres, name: String) {
        self.cluster = cluster
        self.name = name
    }

    /// The connection string of a role.
    public func url(_ role: String = "postgres") -> String { cluster.connectionString(database: name, user: role) }

    /// Runs one statement, as a superuser or another role.
    @discardableResult
    public func query(_ query: PostgresQuery, as role: String = "postgres") async throws -> PostgresRows {
        try await withConnection(as: role) { try await $0.query(query) }
    }

    /// Lends a connection of a superuser or another role.
    public func withConnection<Result>(
        as role: String = "postgres", _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        try await PostgresConnection.withConnection(
            try PostgresConfiguration.forTests(url(role)), body)
    }

    /// Adds an account without a password.
    public func addUser(_ role: Role, email: String? = nil, isActive: Bool = true) async throws -> UserID {
        let id = UserID.random()
        let name = "Test Person"
        CanaryWatch.shared.plant(name)
        try await query(
            """
            INSERT INTO app.users (id, email, full_name, role, is_active)
            VALUES (\(id.rawValue), \(email ?? "\(id)@test.example"), \(name), \(role.rawValue), \(isActive))
            """)
        return id
    }

    /// Begins an assignment.
    public func assign(_ therapist: UserID, to patient: UserID) async throws {
        try await query(
            """
            INSERT INTO app.therapist_patients (therapist_id, patient_id)
            VALUES (\(therapist.rawValue), \(patient.rawValue))
            """)
    }

    /// Ends an assignment.
    public func endAssignment(of therapist: UserID, to patient: UserID) async throws {
        try await query(
            """
            UPDATE app.therapist_patients SET is_active = false
            WHERE therapist_id = \(therapist.rawValue) AND patient_id = \(patient.rawValue)
            """)
    }

    /// Adds a session that waits for its recording.
    public func addSession(of patient: UserID, therapist: UserID? = nil) async throws -> SessionID {
        let id = SessionID.random()
        try await query(
            """
            INSERT INTO app.therapy_sessions (id, patient_id, therapist_id)
            VALUES (\(id.rawValue), \(patient.rawValue), \(therapist?.rawValue))
            """)
        return id
    }

    /// Reports progress as a pipeline does.
    ///
    /// - Returns: The version after the report.
    @discardableResult
    public func report(
        _ session: SessionID, _ status: SessionStatus, _ progress: Int, message: String? = nil, error: String? = nil
    ) async throws -> Int64 {
        for words in [message, error] { words.map(CanaryWatch.shared.plant) }
        return try await query(
            """
            SELECT app.report_progress(
                \(session.rawValue), \(status.rawValue), \(Int32(progress)), \(message), \(error)) AS version
            """,
            as: "therapybridge_pipeline"
        )[0].decode("version", as: Int64.self)
    }

    /// Waits until a connection to this database waits for a lock.
    public func untilSomeoneWaitsForALock() async throws {
        try await withConnection { connection in
            try await eventually("a session of the database waits for a lock") {
                try await !connection.query(
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).isEmpty
            }
        }
    }

    /// Raises the lock timeout of batches of reports, for a loaded machine.
    public func letBatchesWait() async throws {
        try await query("ALTER FUNCTION app.write_progress_batch SET lock_timeout = '120s'")
    }
}

extension TestDatabase {
    /// Runs psql as an operator does: `psql -X -v ON_ERROR_STOP=1`.
    public func psql(_ arguments: String..., role: String = "postgres") async throws -> ProgramRun {
        try await runProgram(
            cluster.programDirectory + "/psql", ["-X", "-v", "ON_ERROR_STOP=1", "-d", url(role)] + arguments)
    }
}

/// Lends a database with the present schema.
public func withDatabase<Result>(_ body: (TestDatabase) async throws -> Result) async throws -> Result {
    try await lend(TestCluster.shared.makeDatabase, to: body)
}

/// Lends a database without a schema.
public func withBareDatabase<Result>(_ body: (TestDatabase) async throws -> Result) async throws -> Result {
    try await lend(TestCluster.shared.makeBareDatabase, to: body)
}

/// All tests start together, and a machine with two cores is faster with a few databases at a time than with a hundred.
private let databaseGate = TestGate(width: 6)

private func lend<Result>(
    _ make: () async throws -> (LocalPostgres, name: String), to body: (TestDatabase) async throws -> Result
) async throws -> Result {
    await databaseGate.enter()
    defer { databaseGate.leave() }
    let (cluster, name) = try await make()
    do {
        let result = try await body(TestDatabase(cluster: cluster, name: name))
        try await TestCluster.shared.drop(name)
        return result
    } catch {
        // The test has failed already. The cluster's end removes the rest.
        try? await TestCluster.shared.drop(name)
        throw error
    }
}
