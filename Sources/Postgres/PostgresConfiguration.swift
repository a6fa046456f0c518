import CLibPQ
import DurationUnits
public import Logging

/// How to reach a database, and how long to wait for it.
///
/// The description never shows the password.
public struct PostgresConfiguration: Sendable, CustomStringConvertible, CustomReflectable {
    /// What stands between this program and the server.
    public enum Pooler: Sendable {
        /// Nothing: connections are the server's.
        case off
        /// A pooler in transaction mode: no named statements, no startup options, no session state.
        case transaction
    }

    /// What stands between this program and the server.
    public var pooler: Pooler

    /// What `pg_stat_activity` calls this program, unless the connection string says otherwise.
    public var applicationName: String

    /// How long to try to connect, over all addresses; 5 s.
    public var connectTimeout: Duration

    /// How long a query may take where the call does not say; 10 s.
    ///
    /// Nil means for ever.
    public var queryTimeout: Duration?

    /// `statement_timeout` on the server, which ends a statement that nobody waits for any more; nil leaves the
    /// role's setting.
    ///
    /// Not sent through a pooler.
    public var statementTimeout: Duration?

    /// Further settings for each session, sent at connection; not through a pooler.
    public var sessionSettings: [String: String]

    /// How many statements each connection keeps prepared; 256.
    ///
    /// Through a pooler none are.
    public var statementCacheSize: Int

    /// `read-write` refuses a standby; nil takes what the connection string says.
    public var targetSessionAttributes: String?

    /// After how long without an acknowledgement a TCP connection counts as dead; 10 s.
    public var tcpUserTimeout: Duration

    /// Where this library tells what it does; it never logs SQL text, values or messages of the server.
    public var logger: Logger

    /// The settings of the connection string, as libpq understands them.
    let connectionInfo: [String: String]

    /// Reads a connection string.
    ///
    /// - Parameters:
    ///   - connectionString: a URI or `key=value` pairs, as in chapter 34.1.1 of the PostgreSQL manual. What it leaves
    ///     out comes from libpq's defaults and environment variables.
    ///   - pooler: what stands between this program and the server.
    ///   - applicationName: what `pg_stat_activity` shows.
    ///   - connectTimeout: how long to try to connect.
    ///   - queryTimeout: how long a query may take where the call does not say; nil means for ever.
    ///   - statementTimeout: the same on the server's side; nil leaves the role's setting.
    ///   - logger: where the library tells what it does.
    /// - Throws: `PostgresError` with code `configuration` when libpq does not understand the string.
    public init(
        connectionString: String,
        pooler: Pooler = .off,
        applicationName: String = "therapybridge",
        connectTimeout: Duration = .seconds(5),
        queryTimeout: Duration? = .seconds(10),
        statementTimeout: Duration? = .seconds(60),
        logger: Logger = Logger(label: "postgres", factory: { _ in SwiftLogNoOpLogHandler() })
    ) throws {
        self.pooler = pooler
        self.applicationName = applicationName
        self.connectTimeout = connectTimeout
        self.queryTimeout = queryTimeout
        self.statementTimeout = statementTimeout
        self.sessionSettings = [:]
        self.statementCacheSize = 256
        self.targetSessionAttributes = nil
        self.tcpUserTimeout = .seconds(10)
        self.logger = logger
        self.connectionInfo = try ConnectionInfo.parse(connectionString)
    }

    /// The host, or nil for libpq's default.
    public var host: String? { connectionInfo["host"] }

    /// The database, or nil for libpq's default.
    public var database: String? { connectionInfo["dbname"] }

    /// The role, or nil for libpq's default.
    public var user: String? { connectionInfo["user"] }

    /// The settings without secrets.
    public var description: String {
        let shown = ["host", "hostaddr", "port", "dbname", "user", "sslmode"].compactMap { key in
            connectionInfo[key].map { "\(key)=\($0)" }
        }
        return "PostgresConfiguration(" + shown.joined(separator: " ") + ")"
    }

    /// The same as the description, so that no dump shows more.
    public var customMirror: Mirror { Mirror(self, children: ["settings": description]) }

    /// What `PQconnectStartParams` is given, but for the address.
    ///
    /// `keepalives*` and `tcp_user_timeout` notice a peer that is gone; without them a half-open connection waits for
    /// hours. `gssencmode=disable` spares a round trip, and the GSS library's own blocking look-ups.
    func parameters() -> [String: String] {
        var all = [
            "gssencmode": "disable",
            "keepalives": "1",
            "keepalives_idle": "10",
            "keepalives_interval": "3",
            "keepalives_count": "3",
            "tcp_user_timeout": "\(tcpUserTimeout.timeout)",
            "fallback_application_name": applicationName,
        ]
        all.merge(connectionInfo) { _, given in given }
        all["client_encoding"] = "UTF8"
        // Our own deadline holds: "connect_timeout" is not looked at by PQconnectPoll.
        all["connect_timeout"] = nil
        if let targetSessionAttributes { all["target_session_attrs"] = targetSessionAttributes }
        if pooler == .off {
            var settings = sessionSettings
            if let statementTimeout { settings["statement_timeout"] = "\(statementTimeout.timeout)" }
            // What the connection string says comes last, and so wins.
            let options =
                settings.sorted { $0.key < $1.key }.map { "-c " + escapedOption("\($0.key)=\($0.value)") }
                + [all["options"]].compactMap { $0 }
            if !options.isEmpty { all["options"] = options.joined(separator: " ") }
        }
        return all
    }

    /// "Spaces within this string are considered to separate command-line arguments, unless escaped with a backslash
    /// (\)" (manual, 34.1.2, `options`).
    private func escapedOption(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing(" ", with: "\\ ")
    }
}

extension Duration {
    /// Milliseconds as libpq and the server take them, in an `int`; rounded up, since 0 would stand for no limit.
    fileprivate var timeout: Int32 { Int32(clamping: max(0, whole(.milliseconds, .up))) }
}

/// What libpq makes of connection strings.
enum ConnectionInfo {
    /// Reads a connection string into its settings.
    static func parse(_ text: String) throws -> [String: String] {
        guard !text.utf8.contains(0) else {
            throw PostgresError(.configuration, "the connection string contains a NUL")
        }
        var message: UnsafeMutablePointer<CChar>?
        guard let options = unsafe PQconninfoParse(text, &message) else {
            defer { unsafe PQfreemem(message) }
            // libpq's message may quote a piece of the string, and so of the password: it is not passed on.
            throw PostgresError(.configuration, "the connection string is not understood by libpq")
        }
        defer { unsafe PQconninfoFree(options) }
        return unsafe settings(options)
    }

    /// What libpq takes where a connection string says nothing: environment variables and built-in values.
    static func defaults() -> [String: String] {
        guard let options = unsafe PQconndefaults() else { return [:] }
        defer { unsafe PQconninfoFree(options) }
        return unsafe settings(options)
    }

    private static func settings(_ options: UnsafeMutablePointer<PQconninfoOption>) -> [String: String] {
        var result: [String: String] = [:]
        var option = unsafe options
        while let keyword = unsafe option.pointee.keyword {
            if let value = unsafe option.pointee.val {
                unsafe result[String(cString: keyword)] = unsafe String(cString: value)
            }
            unsafe option += 1
        }
        return result
    }
}
