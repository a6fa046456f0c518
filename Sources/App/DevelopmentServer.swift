import Crypto
import Domain
import FoundationEssentials
import Glibc
import HTTPAPI
import LocalPostgres
public import Logging
import Postgres
public import Prometheus
import Recordings
import SecretFiles
import SettingsReading
import TextForms

/// All that `therapybridge dev` runs: a private PostgreSQL, the schema, demo accounts and the server.
public struct DevelopmentServer: Sendable {
    /// A demo account.
    ///
    /// All demo accounts share one password. The first start makes it and keeps it in the folder.
    private struct DemoAccount {
        let email: String
        let name: String
        let role: Role
    }

    private static let accounts = [
        DemoAccount(email: "therapist@demo.test", name: "Dr. Thea Brandt", role: .therapist),
        DemoAccount(email: "patient@demo.test", name: "Paul Sommer", role: .patient),
        DemoAccount(email: "admin@demo.test", name: "Ada Voss", role: .admin),
    ]

    private let directory: URL
    private let logger: Logger
    private let metrics: PrometheusRegistry
    private let show: @Sendable (String) -> Void

    /// Makes a development server that keeps everything in one folder.
    ///
    /// - Parameters:
    ///   - directory: The folder of the database, the recordings and the secrets. The server makes it if it is missing.
    ///   - logger: Receives the log.
    ///   - metrics: Receives the metrics of the server.
    ///   - show: Prints a line for the person at the terminal.
    public init(
        directory: String, logger: Logger, metrics: PrometheusRegistry, show: @escaping @Sendable (String) -> Void
    ) {
        self.directory = URL(filePath: directory, directoryHint: .isDirectory)
        self.logger = logger
        self.metrics = metrics
        self.show = show
    }

    /// Runs until SIGTERM or SIGINT, then stops the server and PostgreSQL.
    ///
    /// - Throws: The first error of PostgreSQL, of the migrations or of the server.
    public func run() async throws {
        try FileManager.default.createDirectory(
            at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        show("Starting PostgreSQL in \(directory.path(percentEncoded: false))postgres …")
        let postgres = try await LocalPostgres.start(
            directory: directory.appending(path: "postgres").path(percentEncoded: false), logger: logger)
        try await postgres.use { try await serve($0) }
    }

    private func serve(_ postgres: LocalPostgres) async throws {
        let owner = postgres.connectionString(database: "therapybridge")
        try await makeDatabase(postgres)
        var environment = ProcessInfo.processInfo.environment.merging([
            "DATABASE_URL": postgres.connectionString(database: "therapybridge", user: "therapybridge_server"),
            "DATABASE_MIGRATE_URL": owner,
            "JWT_SECRET": try secret("jwt-secret"),
            "UPLOAD_DIR": directory.appending(path: "uploads").path(percentEncoded: false),
        ]) { _, ours in ours }
        environment["JWT_SECRET_FILE"] = nil
        let reader = SettingsReader(environment: environment)
        let operations = try Operations(reader: reader, logger: logger)
        _ = try await operations.migrateUp(dryRun: false)
        let password = try await makeAccounts(operations)
        let recording = try writeRecording()
        var settings = try Settings(reader)
        settings.recordings.checksFolder = false
        settings.stageFiles.secrets += ["postgres", "jwt-secret", "demo-password"].map {
            directory.appending(path: $0).path(percentEncoded: false)
        }
        let http = settings.http
        try await Server(settings: settings, runsWorker: true, logger: logger, metrics: metrics) { port in
            greet(port: port, settings: http, password: password, recording: recording)
        }.run()
    }

    private func makeDatabase(_ postgres: LocalPostgres) async throws {
        let configuration = try PostgresConfiguration(connectionString: postgres.connectionString(), logger: logger)
        try await PostgresConnection.withConnection(configuration) { connection in
            let rows = try await connection.query("SELECT FROM pg_database WHERE datname = 'therapybridge'")
            if rows.isEmpty { _ = try await connection.execute("CREATE DATABASE therapybridge") }
        }
    }

    /// Makes the demo accounts that are missing.
    ///
    /// The first start also assigns the therapist to the patient.
    ///
    /// - Returns: The password of the demo accounts.
    private func makeAccounts(_ operations: Operations) async throws -> String {
        let password = try secret("demo-password")
        let present = try await operations.listUsers()
        for account in Self.accounts where !present.contains(where: { $0.contains("\t\(account.email)\t") }) {
            _ = try await operations.addUser(
                email: account.email, name: account.name, role: account.role, password: password)
        }
        if present.isEmpty {
            try await operations.assign(therapist: Self.accounts[0].email, patient: Self.accounts[1].email)
        }
        return password
    }

    /// Reads a secret from the folder.
    ///
    /// If it is missing, makes it, in a file that only the owner may read.
    private func secret(_ name: String) throws -> String {
        let path = directory.appending(path: name).path(percentEncoded: false)
        // An earlier start may have left a file that others may read.
        if chmod(path, 0o600) == 0 {
            let known = String(decoding: try readSecret(path), as: UTF8.self)
            if !known.isEmpty { return known }
            unlink(path)
        }
        let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0) }.hexadecimal
        let value = name == "demo-password" ? "demo-" + fresh.prefix(10) : fresh
        do {
            try SecretFile.create(path, contents: value.utf8)
        } catch {
            throw CommandFailure("\(path) \(error)")
        }
        return value
    }

    private func readSecret(_ path: String) throws -> [UInt8] {
        do {
            return try SecretFile.read(path, limit: 4096)
        } catch {
            throw CommandFailure("\(path) \(error)")
        }
    }

    private func writeRecording() throws -> String {
        let file = directory.appending(path: "demo-recording.ogg")
        guard let recording = EmbeddedFiles.all["demo-recording.ogg"] else {
            throw CommandFailure("this program was built without its demo recording")
        }
        try recording.write(to: file, options: .atomic)
        return file.path(percentEncoded: false)
    }

    private func padded(_ text: String, to length: Int) -> String {
        text + String(repeating: " ", count: max(0, length - text.count))
    }

    private func greet(port: Int, settings: HTTPSettings, password: String, recording: String) {
        let listen = settings.listen
        let url = listen.port == port ? settings.publicURL.absoluteString : "http://\(listen.host):\(port)"
        show(
            """

            TherapyBridge is at \(url)

              account                password         who
            \(Self.accounts.map { account in
                "  " + padded(account.email, to: 23)
                    + padded(password, to: 17)
                    + "\(account.name), \(account.role.rawValue)"
            }.joined(separator: "\n"))

            A recording to upload: \(recording)
            Ctrl-C stops everything; the next start keeps the data.
            """)
    }
}
