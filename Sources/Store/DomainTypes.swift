public import Domain
public import Foundation
public import Postgres

// How the domain's values travel to and from PostgreSQL.

extension EntityID where Self: PostgresRepresentable {
    /// Makes the id of a `uuid`, which every one is.
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
    /// The times that PostgreSQL and RFC 3339 share: the years 1 to 9999.
    private static let shared: Range<Int64> = -62_135_596_800_000_000..<253_402_300_800_000_000

    /// Reads the time in a list's cursor, in microseconds since 1970; nil for what is no time that the database could hold.
    init?(cursor text: Substring) {
        guard let time = Int64(text), Self.shared.contains(time) else { return nil }
        self.init(microsecondsSinceEpoch: time)
    }
}

extension Role: PostgresRepresentable {
    /// Reads a role by its name in the database; nil for one that this release does not know.
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    /// The role's name in the database.
    public var postgresValue: String { rawValue }
}

extension SessionStatus: PostgresRepresentable {
    /// Reads a status by its name in the database; nil for one that this release does not know.
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    /// The status's name in the database.
    public var postgresValue: String { rawValue }
}
