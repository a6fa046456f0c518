import HTTPAPI
import Migrations
import Postgres
import SettingsReading

/// What an error of the database means to the operator: the cause in PostgreSQL's own words, and the remedy.
///
/// A refusal is one line, names the setting, and holds no piece of a password.
struct DatabaseRefusal: Sendable {
    /// The environment variable of the connection string.
    let setting: String
    /// PostgreSQL's message with its hint, or libpq's.
    let cause: String
    /// What to do.
    let remedy: String
    /// True if another attempt cannot succeed before an operator changes something.
    let isPermanent: Bool

    /// The line without the name of the setting.
    var text: String { "\(cause); \(remedy)" }

    /// The error of the program, which decides the exit status: 78 if waiting cannot help, otherwise 1.
    var error: any Error {
        isPermanent ? SettingError(setting, text) : CommandFailure("\(setting): \(text)")
    }

    /// Explains an error.
    ///
    /// - Parameters:
    ///   - error: The error of a connection or of a statement.
    ///   - setting: The environment variable of the connection string.
    init(_ error: PostgresError, setting: String) {
        self.setting = setting
        let answer = Answer(error)
        cause = answer.text
        if let known = Self.table.first(where: { $0.matches(answer) }) {
            remedy = known.remedy(setting)
            isPermanent = known.isPermanent
        } else {
            isPermanent = error.code == .configuration
            remedy = isPermanent ? "correct the connection string" : "see the log of PostgreSQL"
        }
    }

    /// Explains the error of an operator's command or of a start, if it is one of the database.
    ///
    /// - Parameters:
    ///   - error: Any error.
    ///   - setting: The environment variable of the connection string.
    /// - Returns: The error for the operator, or the same error.
    static func explained(_ error: any Error, setting: String) -> any Error {
        switch error {
        case let error as PostgresError: DatabaseRefusal(error, setting: setting).error
        case MigrationError.failed(let filename, let cause as PostgresError):
            Self.failed(filename, DatabaseRefusal(cause, setting: setting))
        default: error
        }
    }

    private static func failed(_ filename: String, _ refusal: DatabaseRefusal) -> any Error {
        let text = "\(filename) failed, and nothing was applied: \(refusal.text)"
        return refusal.isPermanent
            ? SettingError(refusal.setting, text) : CommandFailure("\(refusal.setting): \(text)")
    }

    /// Runs an operator's command, and explains its error.
    static func explaining<Value>(_ setting: String, _ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch {
            throw explained(error, setting: setting)
        }
    }
}

extension DatabaseRefusal {
    /// An error, as the table looks at it.
    private struct Answer {
        let state: SQLState?
        let text: String
        let isOfConnecting: Bool

        init(_ error: PostgresError) {
            state = error.sqlState
            text = Self.words(of: error)
            isOfConnecting = error.code == .connection || error.code == .deadlineExceeded
        }

        /// The server's message and hint, or the reasons of all addresses that were tried.
        private static func words(of error: PostgresError) -> String {
            if let server = error.server, error.code != .connection {
                let words = [server.message, server.hint].compactMap(\.self).joined(separator: ". ")
                // Without the message, only the kind of the error is sure to hold no value.
                return server.safeMessage == nil ? error.description : words
            }
            return error.description
        }
    }

    /// One line of the table.
    private struct Known: Sendable {
        let isPermanent: Bool
        let matches: @Sendable (Answer) -> Bool
        let remedy: @Sendable (String) -> String

        init(
            waits: Bool = false, _ states: [SQLState], _ words: String? = nil,
            _ remedy: @escaping @Sendable (String) -> String
        ) {
            isPermanent = !waits
            matches = { answer in
                (answer.state.map(states.contains) ?? states.isEmpty)
                    && (words.map { answer.text.contains($0) } ?? true)
            }
            self.remedy = remedy
        }

        /// A fault that libpq found itself, without an SQLSTATE.
        init(local pattern: @escaping @Sendable (String) -> Bool, waits: Bool = false, _ remedy: String) {
            isPermanent = !waits
            matches = { $0.state == nil && pattern($0.text) }
            self.remedy = { _ in remedy }
        }
    }

    private static func poolerRemedy(_ setting: String) -> String {
        setting == "DATABASE_URL"
            ? UnnamedPooler.remedy
            : "a pooler is in between: name PostgreSQL itself in \(setting)"
    }

    /// The known errors, the more specific ones first.
    private static let table: [Known] = [
        // Names and passwords.
        Known(["28P01"]) { "correct the user or the password in \($0), or set one: ALTER ROLE … PASSWORD '…'" },
        Known(["28000"], "pg_hba.conf") {
            "allow this connection in pg_hba.conf of PostgreSQL, or add sslmode=require to \($0)"
        },
        Known(["28000"], "does not exist") {
            "correct the user in \($0), or create the roles: therapybridge migrate up"
        },
        Known(["28000"]) { "name a role in \($0) that may sign in: ALTER ROLE … LOGIN" },
        Known(["3D000"]) {
            "correct the database in \($0), or create it: createdb --encoding UTF8 --template template0 …"
        },
        Known(["42501"], "permission denied for database") {
            "let the role of \($0) in, as the owner of the database: GRANT CONNECT, CREATE ON DATABASE … TO …"
        },
        Known(["42501"], "create role") { "give the role of \($0) the right, as a superuser: ALTER ROLE … CREATEROLE" },
        Known(["42501"], "role") { setting in
            "another role has made the roles of therapybridge; as that role or a superuser: GRANT therapybridge_owner, "
                + "therapybridge_server, therapybridge_pipeline TO the role of \(setting) WITH ADMIN OPTION"
        },
        Known(["42501"]) { setting in
            setting == "DATABASE_MIGRATE_URL"
                ? "use a member of the owner: GRANT therapybridge_owner TO the role of \(setting)"
                : "use therapybridge_server, or a member of it, in \(setting)"
        },
        // Poolers.
        Known(["08P01"], "startup parameter", poolerRemedy),
        Known(["08P01"], "no such database") {
            "name the database in the configuration of the pooler, or correct \($0)"
        },
        Known(["08P01"], "no such user") { "name the user in the configuration of the pooler, or correct \($0)" },
        Known(["42P05", "26000"], nil, poolerRemedy),
        // States that pass.
        Known(waits: true, ["25006"]) {
            "the database takes no changes: name the primary in \($0), or end its recovery or read-only mode"
        },
        Known(waits: true, ["53300"]) { _ in "raise max_connections of PostgreSQL, or lower DATABASE_POOL_SIZE" },
        Known(waits: true, ["53100"]) { _ in "free space on the disk of PostgreSQL" },
        Known(waits: true, ["57P03"]) { _ in "PostgreSQL is starting or stopping: wait, or see its log" },
        Known(waits: true, ["55000"], "not currently accepting connections") { _ in
            "open the database: ALTER DATABASE … ALLOW_CONNECTIONS true"
        },
        // What libpq finds itself.
        Known(local: { $0.contains("connection option") }, "correct the connection string"),
        Known(
            local: { $0.contains("no password supplied") },
            "add the password to the connection string, or set PGPASSWORD"),
        Known(
            local: { $0.contains("server does not support SSL") },
            "switch TLS on in PostgreSQL (ssl = on), or correct sslmode"),
        Known(
            local: { $0.contains("certificate verify failed") || $0.contains("root certificate file") },
            "set sslrootcert to the certificate of the authority that signed PostgreSQL's"),
        Known(
            local: { $0.contains("does not match host name") },
            "name the host as in the certificate of PostgreSQL, and give its address by hostaddr"),
        Known(
            local: { $0.contains(#/SSL error: .*(alert|version|protocol)|private key file|certificate file/#) },
            "correct sslcert, sslkey and the versions of TLS on both sides"),
        Known(local: { $0.contains("session is read-only") }, waits: true, "name the primary among the hosts"),
        Known(
            local: { $0.contains("look up host") || $0.contains("find the database's host") }, waits: true,
            "correct the host, or wait for its name"),
        Known(
            local: { $0.contains("connect") || $0.contains("lost") }, waits: true,
            "start PostgreSQL, or correct the host and the port"),
    ]
}
