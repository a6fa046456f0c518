public import Domain
public import FoundationEssentials
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
extension RequestIdentifier: PostgresRepresentable, PostgresArrayElement {}

extension ClientNetwork: PostgresArrayElement {
    /// The families of `inet` in the binary format: `PGSQL_AF_INET` and `PGSQL_AF_INET6` of PostgreSQL's `inet.h`.
    private static let families: (ipv4: UInt8, ipv6: UInt8) = (2, 3)

    /// The type `inet`.
    public static var postgresType: PostgresType { .inet }
    /// The type `inet[]`.
    public static var postgresArrayType: PostgresType { .inetArray }

    /// Writes the address as `inet_recv` of PostgreSQL's `network.c` reads it.
    ///
    /// The order is: the family, the length of the network's prefix, whether it is a `cidr`, and the address after its length.
    public func encode(into buffer: inout PostgresBuffer) {
        let bytes = bytes
        let isIPv6 = bytes.count > 4
        buffer.write([isIPv6 ? Self.families.ipv6 : Self.families.ipv4, UInt8(bytes.count * 8), 0, isIPv6 ? 16 : 4])
        buffer.write(bytes)
        if isIPv6 { buffer.write(0 as UInt64) }
    }

    /// Reads an address of `inet`, with a prefix or without one.
    public static func decode(_ bytes: RawSpan, type: PostgresType) throws -> ClientNetwork {
        guard type == .inet else { throw PostgresDecodingFailure.typeMismatch }
        let address = bytes.postgresBytes().dropFirst(4)
        guard [4, 16].contains(address.count) else { throw PostgresDecodingFailure.malformed }
        return ClientNetwork(address: address)
    }
}

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
