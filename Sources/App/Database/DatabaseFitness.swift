import Migrations
import Postgres
import SettingsReading

/// The properties of a database that no migration changes, and without which the program must not touch it.
struct DatabaseFitness: Sendable {
    /// The name of the database.
    private let name: String
    /// The encoding of its texts.
    private let encoding: String
    /// The owner of its schema `app`, or nil if it has none.
    private let schemaOwner: String?

    /// Reads the properties.
    ///
    /// - Parameter connection: A connection of any role.
    /// - Returns: The properties.
    /// - Throws: ``PostgresError``.
    static func read(_ connection: PostgresConnection) async throws -> DatabaseFitness {
        let row = try await connection.query(
            """
            SELECT current_database()::text AS name, current_setting('server_encoding') AS encoding,
                   (SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_catalog.pg_namespace WHERE nspname = 'app')
                       AS schema_owner
            """)[0]
        return DatabaseFitness(
            name: try row.decode("name", as: String.self), encoding: try row.decode("encoding", as: String.self),
            schemaOwner: try row.decode("schema_owner", as: String?.self))
    }

    /// Checks the properties.
    ///
    /// A database in SQL_ASCII takes any bytes. Half a character in one text would then end every stream that shows it. In
    /// other encodings most texts have no place.
    ///
    /// - Parameter setting: The environment variable of the connection string.
    /// - Throws: ``SettingError`` if the encoding is not UTF8, or the schema belongs to another program.
    func check(setting: String) throws(SettingError) {
        guard encoding == "UTF8" else {
            throw SettingError(
                setting,
                "its database \"\(name)\" has the encoding \(encoding) and needs UTF8; create another one: createdb --encoding "
                    + "UTF8 --template template0 …")
        }
        if let schemaOwner, schemaOwner != "therapybridge_owner" {
            throw SettingError(
                setting,
                "its database \"\(name)\" has a schema app that belongs to \(schemaOwner), not to therapybridge_owner; use a "
                    + "database of its own, or drop the schema if it is empty")
        }
    }
}
