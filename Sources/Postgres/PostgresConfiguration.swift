import CLibPQ
import DurationUnits
public import Logging

/// How to reach a database, and how long to wait for it.
///
/// The description never shows the password.
public struct PostgresConfiguration: Sendable, CustomStringConvertible, CustomReflectable {
    /// What is between this program and the server.
    public enum Pooler: Sendable {
        /// Nothing.
        ///
        /// A connection is the server's own.
        case off
        /// A pooler in transaction mode.
        ///
        /// It allows no named statements, no startup options and no session state.
        case transaction
    }

    /// What is between this program and the server.
    public var pooler: Pooler

    /// The name of this program in `pg_stat_activity`, unless the connection string has one.
    public var applicationName: String

    /// How long to try to connect, over all addresses; 5 s.
    public var connectTimeout: Duration

    /// How long a query may take if the call does not say; 10 s.
    ///
    /// Nil means for ever.
    public var queryTimeout: Duration?

    /// The server's `statement_timeout`, which ends a statement that nothing waits for any more.
    ///
    /// Nil leaves the role's setting. It is not sent through a pooler.
    public var statementTimeout: Duration?

    /// Further settings of each session.
    ///
    /// They are sent with the connection, but not through a pooler.
    public var sessionSettings: [String: String]

    /// How many statements each connection keeps prepared; 256.
    ///
    /// Through a pooler no statement is prepared.
    public var statementCacheSize: Int

    /// `read-write` refuses a standby.
    ///
    /// Nil leaves the setting of the connection string.
    public var targetSessionAttributes: String?

    /// How long a TCP connection may wait for an acknowledgement before it counts as dead; 10 s.
    public var tcpUserTimeout: Duration

    /// The log of this library.
    ///
    /// It never contains SQL text, values or messages of the server.
    public var logger: Logger

    /// The settings of the connection string, as libpq reads them.
    let connectionInfo: [String: String]

    /// Reads a connection string.
    ///
    /// - Parameters:
    ///   - connectionString: A URI or `key=value` pairs, as in chapter 34.1.1 of the PostgreSQL manual. Missing
    ///     settings come from libpq's defaults and environment variables.
    ///   - pooler: What is between this program and the server.
    ///   - applicationName: The name of this program in `pg_stat_activity`.
    ///   - connectTimeout: How long to try to connect.
    ///   - queryTimeout: How long a query may take if the call does not say; nil means for ever.
    ///   - statementTimeout: The server's `statement_timeout`; nil leaves the role's setting.
    ///   - logger: The log of this library.
    /// - Throws: `PostgresError` with code `configuration` if libpq cannot read the string. Its description names the fault and
    ///   the remedy, and holds no piece of the string.
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

    /// The host; nil for libpq's default.
    public var host: String? { connectionInfo["host"] }

    /// The database; nil for libpq's default.
    public var database: String? { connectionInfo["dbname"] }

    /// The role; nil for libpq's default.
    public var user: String? { connectionInfo["user"] }

    /// The settings without secrets.
    public var description: String {
        let shown = ["host", "hostaddr", "port", "dbname", "user", "sslmode"].compactMap { key in
            connectionInfo[key].map { "\(key)=\($0)" }
        }
        return "PostgresConfiguration(" + shown.joined(separator: " ") + ")"
    }

    /// The same text as the description: a dump must not show the password.
    public var customMirror: Mirror { Mirror(self, children: ["settings": description]) }

    /// The parameters of `PQconnectStartParams`, without the address.
    ///
    /// `keepalives*` and `tcp_user_timeout` detect a peer that is gone. Without them a half-open connection waits for
    /// hours. `gssencmode=disable` saves a round trip, and the blocking look-ups of the GSS library.
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
        // The library's own deadline counts: PQconnectPoll ignores `connect_timeout`.
        all["connect_timeout"] = nil
        if let targetSessionAttributes { all["target_session_attrs"] = targetSessionAttributes }
        if pooler == .off {
            var settings = sessionSettings
            if let statementTimeout { settings["statement_timeout"] = "\(statementTimeout.timeout)" }
            // The options of the connection string come last and therefore win.
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
        String(
            text.unicodeScalars.replacing("\\".unicodeScalars, with: "\\\\".unicodeScalars)
                .replacing(" ".unicodeScalars, with: "\\ ".unicodeScalars))
    }
}

extension Duration {
    /// Milliseconds as libpq and the server take them, in an `int`.
    ///
    /// They are rounded up, because 0 would mean no limit.
    fileprivate var timeout: Int32 { Int32(clamping: max(0, whole(.milliseconds, .up))) }
}

/// Reads connection strings with libpq.
enum ConnectionInfo {
    /// Reads a connection string into its settings.
    static func parse(_ text: String) throws -> [String: String] {
        var message: UnsafeMutablePointer<CChar>?
        let options = unsafe PQconninfoParse(text, &message)
        defer {
            // libpq's message may quote a piece of the string, which may be a piece of the password. Nothing reads it.
            unsafe PQfreemem(message)
            unsafe PQconninfoFree(options)
        }
        if let fault = ConnectionStringFault.find(in: text, isReadable: unsafe options != nil) {
            throw PostgresError(.configuration, fault)
        }
        guard let options = unsafe options else {
            throw PostgresError(.configuration, "libpq cannot read the connection string")
        }
        return try completed(unsafe settings(options))
    }

    /// Adds the settings of the service that a connection string names.
    ///
    /// libpq would add them too late: this library has taken the default for the port of the service by then. Settings of the
    /// string win, as in libpq.
    private static func completed(_ given: [String: String]) throws -> [String: String] {
        // A password with "/" and no "@" after it makes libpq take the password for the port, and quote it in its message.
        if let port = given["port"], port.contains(where: { !$0.isNumber && $0 != "," }) {
            throw PostgresError(
                .configuration, "has a port that is no number: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        }
        guard let name = given["service"] else { return given }
        var all = try ServiceFile.standard().settings(of: name).merging(given) { _, given in given }
        all["service"] = nil
        return all
    }

    /// libpq's defaults: environment variables and built-in values.
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
