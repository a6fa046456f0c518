import Postgres
import SettingsReading

/// The settings of PostgreSQL that every statement of the program is written for, whatever the cluster, the database or the
/// role carries.
///
/// A connection asks for them when it starts. A pooler does not pass that on. The migrations therefore set the
/// ``required`` ones on the roles, too, and the program checks them at its start.
enum SessionSettings {
    /// One setting and the value that the program needs.
    struct Setting: Sendable, Equatable {
        /// The name in PostgreSQL.
        let name: String
        /// The value that the program asks for.
        let value: String
        /// What happens with another value.
        let reason: String
        /// True if the program must not run with another value.
        ///
        /// The others cost time or change the form of a message.
        let isRequired: Bool
    }

    /// All settings that a connection of the program asks for, but the timeouts.
    static let all: [Setting] = [
        Setting(
            name: "default_transaction_isolation", value: "read committed",
            reason: "updates of the same row at once would fail", isRequired: true),
        Setting(
            name: "row_security", value: "on", reason: "each statement on private data would fail", isRequired: true),
        Setting(
            name: "default_transaction_read_only", value: "off", reason: "every change would fail", isRequired: true),
        Setting(
            name: "search_path", value: "pg_catalog",
            reason: "an operator or function of another schema could take the place of PostgreSQL's", isRequired: false),
        Setting(
            name: "idle_session_timeout", value: "0",
            reason: "the connection of the listener would end again and again",
            isRequired: false),
        Setting(
            name: "DateStyle", value: "ISO", reason: "dates in messages would have another form", isRequired: false),
        Setting(
            name: "IntervalStyle", value: "postgres", reason: "intervals in messages would have another form",
            isRequired: false),
        Setting(
            name: "TimeZone", value: "UTC", reason: "a day would begin at another time", isRequired: false),
        Setting(
            name: "jit", value: "off", reason: "compiling takes longer than any statement of the server",
            isRequired: false),
        Setting(
            name: "plan_cache_mode", value: "auto", reason: "each statement would be planned again", isRequired: false),
        Setting(
            name: "transform_null_equals", value: "off", reason: "comparisons with NULL would change their meaning",
            isRequired: false),
    ]

    /// The names and values, for the start of a connection.
    static let values = Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0.value) })

    /// The settings that must have their values.
    static let required = all.filter(\.isRequired)

    /// Checks that a connection has the required settings.
    ///
    /// It lacks them behind a pooler, or if the options of the connection string change them.
    ///
    /// - Parameters:
    ///   - connection: A connection of the program.
    ///   - setting: The environment variable of the connection string.
    /// - Throws: ``SettingError`` for the first setting with another value; ``PostgresError``.
    static func check(_ connection: PostgresConnection, setting: String) async throws {
        let row = try await connection.query(
            """
            SELECT current_setting('default_transaction_isolation'), current_setting('row_security'),
                   current_setting('default_transaction_read_only')
            """)[0]
        for (index, wanted) in required.enumerated() {
            let present = try row.decode(index, as: String.self)
            guard present != wanted.value else { continue }
            throw SettingError(
                setting,
                "its sessions have \(wanted.name) = '\(present)', and \(wanted.reason); set \(wanted.name) to "
                    + "'\(wanted.value)' for its role in this database, and take it out of the options of the connection string"
            )
        }
    }
}
