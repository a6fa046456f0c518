public import Domain
public import Foundation
public import Postgres

// Conversions between the values of the domain and those of PostgreSQL.

extension EntityID where Self: PostgresRepresentable {
    /// Makes the id of a `uuid`; never nil.
    public init?(postgresValue: UUID) { self.init(rawValue: postgresValue) }
    /// The id as a `uuid`.
    public var postgresValue: UUID { rawValue }
}

extension UserID: PostgresRepresentable, PostgresArrayElement {}
extension SessionID: PostgresRepresentable, PostgresArrayElement {}
extension SignInID: PostgresRepresentable, PostgresArrayElement {}

extension Timestamp: PostgresRepresentable, PostgresArrayElement {
    /// Makes the time of a `timestamptz`.
    public init?(postgresValue: PostgresTimestamp) {
        self.init(microsecondsSinceEpoch: postgresValue.microsecondsSinceEpoch)
    }
    /// The time as a `timestamptz`.
    public var postgresValue: PostgresTimestamp {
        PostgresTimestamp(microsecondsSinceEpoch: microsecondsSinceEpoch)
    }
}

extension Timestamp {
    /// The times that both PostgreSQL and RFC 3339 can write: the years 1 to 9999.
    private static let shared: Range<Int64> = -62_135_596_800_000_000..<253_402_300_800_000_000

    /// Reads the time in a cursor, in microseconds since 1970; nil for a time that the database cannot hold.
    init?(cursor text: Substring) {
        guard let time = Int64(text), Self.shared.contains(time) else { return nil }
        self.init(microsecondsSinceEpoch: time)
    }
}

extension Role: PostgresRepresentable {
    /// Reads a role by its name in the database; nil for a role that this release does not know.
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    /// The role's name in the database.
    public var postgresValue: String { rawValue }
}

extension SessionStatus: PostgresRepresentable {
    /// Reads a status by its name in the database; nil for a status that this release does not know.
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    /// The status's name in the database.
    public var postgresValue: String { rawValue }
}

extension PostgresRow {
    /// Reads the role of an account.
    ///
    /// - Throws: ``UnreadableRow`` for a role that this release does not know; ``PostgresError`` with code `decoding`
    ///   if the column is not text.
    func role(_ column: String) throws -> Role {
        guard let role = Role(rawValue: try decode(column, as: String.self)) else { throw UnreadableRow(.role) }
        return role
    }

    /// Reads the status of a session or of a transition.
    ///
    /// - Throws: ``UnreadableRow`` for a status that this release does not know; ``PostgresError`` with code `decoding`
    ///   if the column is not text.
    func status(_ column: String) throws -> SessionStatus {
        guard let status = SessionStatus(rawValue: try decode(column, as: String.self)) else {
            throw UnreadableRow(.status)
        }
        return status
    }
}
