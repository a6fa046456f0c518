import Credentials
import Domain
import Foundation
import LocalPostgres
import Logging
import Migrations
import Postgres

/// A private PostgreSQL with accounts, sign-ins and sessions.
///
/// Its settings are those of production: a commit is on disk before it is answered. Accounts have numbers from 1 on,
/// which scripts in SQL use, too. Patient n has session n, and each account has a sign-in. Many therapists watch
/// session 0: therapist n is assigned to patient 0.
///
/// Its tables are as old as autovacuum lets them become: every table is analysed, and vacuumed.
struct BenchDatabase: Sendable {
    /// The kind of a numbered row.
    enum Kind: Int {
        case patient = 1
        case therapist
        case session
        case patientSignIn
        case therapistSignIn
        case pipeline
        case pipelineSignIn
    }

    let cluster: LocalPostgres
    /// The number of patients, each with a session, without patient 0.
    let patients: Int
    /// The number of therapists.
    ///
    /// All are assigned to patient 0.
    let therapists: Int

    static let jwtSecret = "the secret of a benchmark, which nobody else uses"
    private static let name = "bench"

    /// Makes and fills a cluster, lends it and ends it.
    static func lend<Result>(
        in scratch: ScratchDirectory, patients: Int, therapists: Int, _ body: (BenchDatabase) async throws -> Result
    ) async throws -> Result {
        let cluster = try await LocalPostgres.start(
            directory: scratch.path("postgres"), logger: Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() })
        return try await cluster.use(stopMode: .immediate) { cluster in
            let database = BenchDatabase(cluster: cluster, patients: patients, therapists: therapists)
            try await database.fill()
            return try await body(database)
        }
    }

    /// The connection string of a database role.
    func url(_ role: String) -> String { cluster.connectionString(database: Self.name, user: role) }

    func configuration(_ role: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: url(role), applicationName: "bench", queryTimeout: .seconds(300), statementTimeout: nil)
    }

    /// Lends a connection of a database role.
    ///
    /// The default is the superuser.
    func withConnection<Result>(
        as role: String = "postgres", _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        try await PostgresConnection.withConnection(try configuration(role), body)
    }

    /// The sum of the versions of all sessions, which grows by one with each committed change.
    func changes() async throws -> Int64 {
        try await withConnection { connection in
            try await connection.query("SELECT sum(version)::bigint AS changes FROM app.session_progress")[0]
                .decode("changes", as: Int64.self)
        }
    }

    // MARK: Identifiers and tokens

    /// The identifier of the row with a number.
    static func id(_ kind: Kind, _ number: Int) -> String {
        String(format: "%08x-0000-4000-8000-%012x", kind.rawValue, number)
    }

    /// The same identifier as an expression in SQL.
    static func idExpression(_ kind: Kind, _ number: String) -> String {
        let prefix = String(format: "%08x", kind.rawValue)
        return "('\(prefix)-0000-4000-8000-' || lpad(to_hex((\(number))::bigint), 12, '0'))::uuid"
    }

    /// Issues access tokens for the accounts with these numbers.
    func tokens(of kind: Kind, _ numbers: Range<Int>) async throws -> [String] {
        let signIn: Kind =
            switch kind {
            case .patient: .patientSignIn
            case .therapist: .therapistSignIn
            default: .pipelineSignIn
            }
        let issuer = await AccessTokens(secret: Self.jwtSecret)
        let expiry = Timestamp.now().advanced(by: .seconds(6 * 3600))
        var tokens: [String] = []
        for number in numbers {
            guard let user = UserID(Self.id(kind, number)), let signIn = SignInID(Self.id(signIn, number)) else {
                preconditionFailure("not a UUID")
            }
            tokens.append(try await issuer.issue(AccessClaims(user: user, signIn: signIn, expiresAt: expiry)))
        }
        return tokens
    }

    // MARK: Filling

    private func fill() async throws {
        try await PostgresConnection.withConnection(
            try PostgresConfiguration(connectionString: cluster.connectionString())
        ) { try await $0.executeScript("CREATE DATABASE \(Self.name)") }
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        _ = try await Migrator(configuration: try configuration("postgres"), logger: logger).up()
        try await withConnection { connection in
            try await connection.executeScript(accounts + sessions)
            // As autovacuum does a minute after a database goes to work, for all tables, small ones included.
            try await connection.executeScript("VACUUM (ANALYZE)")
            try await connection.executeScript("CHECKPOINT")
        }
    }

    private var accounts: String {
        func users(_ kind: Kind, _ signIn: Kind, _ role: String, _ numbers: ClosedRange<Int>) -> String {
            """
            INSERT INTO app.users (id, email, full_name, role)
            SELECT \(Self.idExpression(kind, "n")), '\(role)-' || n || '@bench.example', 'Number ' || n, '\(role)'
            FROM generate_series(\(numbers.lowerBound), \(numbers.upperBound)) n;
            INSERT INTO app.auth_sessions (id, user_id, expires_at)
            SELECT \(Self.idExpression(signIn, "n")), \(Self.idExpression(kind, "n")), now() + interval '1 day'
            FROM generate_series(\(numbers.lowerBound), \(numbers.upperBound)) n;

            """
        }
        return users(.patient, .patientSignIn, "patient", 0...patients)
            + users(.therapist, .therapistSignIn, "therapist", 1...therapists)
            + users(.pipeline, .pipelineSignIn, "pipeline", 1...1)
                + """
                INSERT INTO app.therapist_patients (therapist_id, patient_id)
                SELECT \(Self.idExpression(.therapist, "n")), \(Self.idExpression(.patient, "0"))
                FROM generate_series(1, \(therapists)) n;

                """
    }

    /// The sessions.
    ///
    /// All are in `transcribing`, which allows any number of reports.
    private var sessions: String {
        """
        INSERT INTO app.therapy_sessions (id, patient_id)
        SELECT \(Self.idExpression(.session, "n")), \(Self.idExpression(.patient, "n"))
        FROM generate_series(0, \(patients)) n;
        UPDATE app.session_progress SET status = 'transcribing', progress = 40;

        """
    }
}
