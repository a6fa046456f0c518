public import Domain
public import Foundation
public import Postgres

// How the domain's values travel to and from PostgreSQL.

extension EntityID where Self: PostgresRepresentable {
    public init?(postgresValue: UUID) { self.init(rawValue: postgresValue) }
    public var postgresValue: UUID { rawValue }
}

extension UserID: PostgresRepresentable, PostgresArrayElement {}
extension SessionID: PostgresRepresentable, PostgresArrayElement {}
extension SignInID: PostgresRepresentable, PostgresArrayElement {}

extension Timestamp: PostgresRepresentable, PostgresArrayElement {
    public init?(postgresValue: PostgresTimestamp) {
        self.init(microsecondsSinceEpoch: postgresValue.microsecondsSinceEpoch)
    }
    public var postgresValue: PostgresTimestamp {
        PostgresTimestamp(microsecondsSinceEpoch: microsecondsSinceEpoch)
    }
}

extension Role: PostgresRepresentable {
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    public var postgresValue: String { rawValue }
}

extension SessionStatus: PostgresRepresentable {
    public init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    public var postgresValue: String { rawValue }
}
