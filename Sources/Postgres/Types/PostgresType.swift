/// The object identifier (OID) of a PostgreSQL type.
///
/// The numbers of built-in types never change. They are in `pg_type.dat` in PostgreSQL's source.
public struct PostgresType: Hashable, Sendable, CustomStringConvertible {
    /// The OID.
    public let oid: UInt32

    /// Makes a type.
    ///
    /// - Parameter oid: The OID.
    public init(oid: UInt32) { self.oid = oid }

    /// The type `boolean`.
    public static let bool = PostgresType(oid: 16)
    /// The type `bytea`.
    public static let bytea = PostgresType(oid: 17)
    /// The type `"char"`, the one-byte type of the catalogs.
    public static let char = PostgresType(oid: 18)
    /// The type `name`.
    public static let name = PostgresType(oid: 19)
    /// The type `bigint`.
    public static let int8 = PostgresType(oid: 20)
    /// The type `smallint`.
    public static let int2 = PostgresType(oid: 21)
    /// The type `integer`.
    public static let int4 = PostgresType(oid: 23)
    /// The type `text`.
    public static let text = PostgresType(oid: 25)
    /// The type `oid`.
    public static let oid = PostgresType(oid: 26)
    /// The type `json`.
    public static let json = PostgresType(oid: 114)
    /// The type `real`.
    public static let float4 = PostgresType(oid: 700)
    /// The type `double precision`.
    public static let float8 = PostgresType(oid: 701)
    /// The type `unknown`: a literal whose type nothing decides.
    public static let unknown = PostgresType(oid: 705)
    /// The type `inet`.
    public static let inet = PostgresType(oid: 869)
    /// The type `character(n)`.
    public static let bpchar = PostgresType(oid: 1042)
    /// The type `character varying`.
    public static let varchar = PostgresType(oid: 1043)
    /// The type `timestamp without time zone`.
    public static let timestamp = PostgresType(oid: 1114)
    /// The type `timestamp with time zone`.
    public static let timestamptz = PostgresType(oid: 1184)
    /// The type `interval`.
    public static let interval = PostgresType(oid: 1186)
    /// The type `numeric`.
    public static let numeric = PostgresType(oid: 1700)
    /// The type `void`: what a procedure-like function returns.
    public static let void = PostgresType(oid: 2278)
    /// The type `uuid`.
    public static let uuid = PostgresType(oid: 2950)
    /// The type `jsonb`.
    public static let jsonb = PostgresType(oid: 3802)

    /// The type `json[]`.
    public static let jsonArray = PostgresType(oid: 199)
    /// The type `boolean[]`.
    public static let boolArray = PostgresType(oid: 1000)
    /// The type `bytea[]`.
    public static let byteaArray = PostgresType(oid: 1001)
    /// The type `name[]`.
    public static let nameArray = PostgresType(oid: 1003)
    /// The type `smallint[]`.
    public static let int2Array = PostgresType(oid: 1005)
    /// The type `integer[]`.
    public static let int4Array = PostgresType(oid: 1007)
    /// The type `text[]`.
    public static let textArray = PostgresType(oid: 1009)
    /// The type `character varying[]`.
    public static let varcharArray = PostgresType(oid: 1015)
    /// The type `bigint[]`.
    public static let int8Array = PostgresType(oid: 1016)
    /// The type `real[]`.
    public static let float4Array = PostgresType(oid: 1021)
    /// The type `double precision[]`.
    public static let float8Array = PostgresType(oid: 1022)
    /// The type `inet[]`.
    public static let inetArray = PostgresType(oid: 1041)
    /// The type `timestamp with time zone[]`.
    public static let timestamptzArray = PostgresType(oid: 1185)
    /// The type `interval[]`.
    public static let intervalArray = PostgresType(oid: 1187)
    /// The type `uuid[]`.
    public static let uuidArray = PostgresType(oid: 2951)
    /// The type `jsonb[]`.
    public static let jsonbArray = PostgresType(oid: 3807)

    /// Whether the type was created in a database, such as an enum or `citext`, and is not built in.
    ///
    /// `FirstNormalObjectId` in PostgreSQL's `transam.h` is 16384.
    var isUserDefined: Bool { oid >= 16384 }

    /// The type's SQL name if this module knows it, else its OID.
    public var description: String { Self.names[self] ?? "type \(oid)" }

    private static let names: [PostgresType: String] = [
        .bool: "boolean", .bytea: "bytea", .char: "\"char\"", .name: "name", .int8: "bigint", .int2: "smallint",
        .int4: "integer", .text: "text", .oid: "oid", .json: "json", .float4: "real", .float8: "double precision",
        .unknown: "unknown", .inet: "inet", .bpchar: "character", .varchar: "character varying",
        .timestamp: "timestamp",
        .timestamptz: "timestamptz", .interval: "interval", .numeric: "numeric", .void: "void", .uuid: "uuid",
        .jsonb: "jsonb", .jsonArray: "json[]", .boolArray: "boolean[]", .byteaArray: "bytea[]", .nameArray: "name[]",
        .int2Array: "smallint[]", .int4Array: "integer[]", .textArray: "text[]",
        .varcharArray: "character varying[]", .int8Array: "bigint[]", .float4Array: "real[]",
        .float8Array: "double precision[]", .inetArray: "inet[]", .timestamptzArray: "timestamptz[]",
        .intervalArray: "interval[]",
        .uuidArray: "uuid[]", .jsonbArray: "jsonb[]",
    ]
}
