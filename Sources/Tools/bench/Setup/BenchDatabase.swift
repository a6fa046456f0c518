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
        case stranger
        case strangerSignIn
        case strangersPatient
        case member
        case memberSignIn
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

    /// The processes of PostgreSQL.
    var figures: ProcessFigures {
        get throws {
            let file = try String(contentsOfFile: cluster.directory + "/data/postmaster.pid", encoding: .utf8)
            guard let first = file.split(separator: "\n").first, let processID = Int32(first) else {
                throw BenchmarkError("postmaster.pid has no process")
            }
            return ProcessFigures(processID: processID)
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

    /// The statement that ends a sign-in, as the server does.
    ///
    /// The identifier is an expression in SQL.
    static func signOut(_ id: String) -> String {
        """
        UPDATE app.auth_sessions SET revoked_at = clock_timestamp(), revoked_reason = 'signed_out' \
        WHERE id = \(id) AND revoked_at IS NULL
        """
    }

    /// The number of sign-ins that were ended.
    func endedSignIns() async throws -> Int {
        let count = try await withConnection { connection in
            try await connection.query("SELECT count(*) AS ended FROM app.auth_sessions WHERE revoked_at IS NOT NULL")[
                0
            ]
            .decode("ended", as: Int64.self)
        }
        return Int(count)
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

    /// The e-mail address of the account with a number.
    static func address(_ kind: Kind, _ number: Int) -> String { "\(kind.rawValue)-\(number)@bench.example" }

    /// Issues access tokens for the accounts with these numbers.
    func tokens(of kind: Kind, _ numbers: Range<Int>) async throws -> [String] {
        let signIn: Kind =
            switch kind {
            case .patient: .patientSignIn
            case .therapist: .therapistSignIn
            default: .pipelineSignIn
            }
        return try await tokens(of: numbers.map { (Self.id(kind, $0), Self.id(signIn, $0)) })
    }

    /// Issues access tokens for these accounts and sign-ins.
    func tokens(of holders: [(user: String, signIn: String)]) async throws -> [String] {
        let issuer = await AccessTokens(secret: Self.jwtSecret)
        let expiry = Timestamp.now().advanced(by: .seconds(6 * 3600))
        var tokens: [String] = []
        for holder in holders {
            guard let user = UserID(holder.user), let signIn = SignInID(holder.signIn) else {
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
        try await add(
            Self.users(.pipeline, .pipelineSignIn, "pipeline", 1..<2)
                + Self.watchers(patients: 0..<patients + 1, therapists: 1..<therapists + 1))
        try await withConnection { try await $0.executeScript("CHECKPOINT") }
    }

    /// Adds rows, and leaves all tables as autovacuum does a minute after a database goes to work, small ones included.
    ///
    /// Otherwise autovacuum would do it in the middle of a measurement.
    func add(_ script: String) async throws {
        try await withConnection { connection in
            try await connection.executeScript(script)
            try await connection.executeScript("VACUUM (ANALYZE)")
        }
    }

    /// The statements that add patients, each with a session, and therapists, all of them assigned to patient 0.
    ///
    /// All sessions are in `transcribing`, which allows any number of reports.
    static func watchers(patients: Range<Int>, therapists: Range<Int>) -> String {
        users(.patient, .patientSignIn, "patient", patients)
            + users(.therapist, .therapistSignIn, "therapist", therapists)
                + """
                INSERT INTO app.therapist_patients (therapist_id, patient_id)
                SELECT \(idExpression(.therapist, "n")), \(idExpression(.patient, "0"))
                FROM \(series(therapists)) n;
                INSERT INTO app.therapy_sessions (id, patient_id)
                SELECT \(idExpression(.session, "n")), \(idExpression(.patient, "n")) FROM \(series(patients)) n;
                UPDATE app.session_progress SET status = 'transcribing', progress = 40 WHERE status = 'pending';

                """
    }

    /// The statements that add accounts of a role, each with a number of sign-ins.
    ///
    /// With more than one for each account, account n has the sign-ins n × `signInsEach` and the following ones.
    ///
    /// - Parameters:
    ///   - kind: The kind of the accounts.
    ///   - signIn: The kind of their sign-ins; nil for none.
    ///   - role: The role of the accounts.
    ///   - numbers: The numbers of the accounts.
    ///   - signInsEach: The number of sign-ins of each account.
    ///   - passwordHash: The hash of their common password; nil for none.
    /// - Returns: The statements.
    static func users(
        _ kind: Kind, _ signIn: Kind?, _ role: String, _ numbers: Range<Int>, signInsEach: Int = 1,
        passwordHash: String? = nil
    ) -> String {
        let accounts = """
            INSERT INTO app.users (id, email, full_name, role, password_hash)
            SELECT \(idExpression(kind, "n")), '\(kind.rawValue)-' || n || '@bench.example', 'Number ' || n, '\(role)',
                   \(passwordHash.map { "'\($0)'" } ?? "NULL")
            FROM \(series(numbers)) n;

            """
        guard let signIn else { return accounts }
        return accounts + """
            INSERT INTO app.auth_sessions (id, user_id, expires_at)
            SELECT \(idExpression(signIn, "n * \(signInsEach) + k")), \(idExpression(kind, "n")), now() + interval '1 day'
            FROM \(series(numbers)) n, \(series(0..<signInsEach)) k;

            """
    }

    private static func series(_ numbers: Range<Int>) -> String {
        "generate_series(\(numbers.lowerBound), \(numbers.upperBound - 1))"
    }
}
