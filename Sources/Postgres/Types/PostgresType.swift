/// The object identifier (OID) of a PostgreSQL type.
///
/// The numbers of built-in types are fixed for ever by `pg_type.dat` in PostgreSQL's source.
public struct PostgresType: Hashable, Sendable, CustomStringConvertible {
    /// The OID.
    public let oid: UInt32

    /// Makes a type from its OID.
    public init(oid: UInt32) { self.oid = oid }

    /// Left to the server to infer.
    public static let unspecified = PostgresType(oid: 0)
    /// `boolean`
    public static let bool = PostgresType(oid: 16)
    /// `bytea`
    public static let bytea = PostgresType(oid: 17)
    /// `"char"`, the one-byte type of the catalogs
    public static let char = PostgresType(oid: 18)
    /// `name`
    public static let name = PostgresType(oid: 19)
    /// `bigint`
    public static let int8 = PostgresType(oid: 20)
    /// `smallint`
    public static let int2 = PostgresType(oid: 21)
    /// `integer`
    public static let int4 = PostgresType(oid: 23)
    /// `text`
    public static let text = PostgresType(oid: 25)
    /// `oid`
    public static let oid = PostgresType(oid: 26)
    /// `json`
    public static let json = PostgresType(oid: 114)
    /// `real`
    public static let float4 = PostgresType(oid: 700)
    /// `double precision`
    public static let float8 = PostgresType(oid: 701)
    /// `unknown`: a literal whose type nothing decides
    public static let unknown = PostgresType(oid: 705)
    /// `character(n)`
    public static let bpchar = PostgresType(oid: 1042)
    /// `character varying`
    public static let varchar = PostgresType(oid: 1043)
    /// `timestamp without time zone`
    public static let timestamp = PostgresType(oid: 1114)
    /// `timestamp with time zone`
    public static let timestamptz = PostgresType(oid: 1184)
    /// `interval`
    public static let interval = PostgresType(oid: 1186)
    /// `numeric`
    public static let numeric = PostgresType(oid: 1700)
    /// `void`: what a procedure-like function returns
    public static let void = PostgresType(oid: 2278)
    /// `uuid`
    public static let uuid = PostgresType(oid: 2950)
    /// `jsonb`
    public static let jsonb = PostgresType(oid: 3802)

    /// `json[]`
    public static let jsonArray = PostgresType(oid: 199)
    /// `boolean[]`
    public static let boolArray = PostgresType(oid: 1000)
    /// `bytea[]`
    public static let byteaArray = PostgresType(oid: 1001)
    /// `name[]`
    public static let nameArray = PostgresType(oid: 1003)
    /// `smallint[]`
    public static let int2Array = PostgresType(oid: 1005)
    /// `integer[]`
    public static let int4Array = PostgresType(oid: 1007)
    /// `text[]`
    public static let textArray = PostgresType(oid: 1009)
    /// `character varying[]`
    public static let varcharArray = PostgresType(oid: 1015)
    /// `bigint[]`
    public static let int8Array = PostgresType(oid: 1016)
    /// `real[]`
    public static let float4Array = PostgresType(oid: 1021)
    /// `double precision[]`
    public static let float8Array = PostgresType(oid: 1022)
    /// `timestamp with time zone[]`
    public static let timestamptzArray = PostgresType(oid: 1185)
    /// `interval[]`
    public static let intervalArray = PostgresType(oid: 1187)
    /// `uuid[]`
    public static let uuidArray = PostgresType(oid: 2951)
    /// `jsonb[]`
    public static let jsonbArray = PostgresType(oid: 3807)

    /// Whether the type was made in a database rather than built in: an enum, a domain over text, `citext`, …
    ///
    /// `FirstNormalObjectId` in PostgreSQL's `transam.h` is 16384.
    var isUserDefined: Bool { oid >= 16384 }

    /// The type's SQL name where it is built in and known here, else its OID.
    public var description: String { Self.names[self] ?? "type \(oid)" }

    private static let names: [PostgresType: String] = [
        .bool: "boolean", .bytea: "bytea", .char: "\"char\"", .name: "name", .int8: "bigint", .int2: "smallint",
        .int4: "integer", .text: "text", .oid: "oid", .json: "json", .float4: "real", .float8: "double precision",
        .unknown: "unknown", .bpchar: "character", .varchar: "character varying", .timestamp: "timestamp",
        .timestamptz: "timestamptz", .interval: "interval", .numeric: "numeric", .void: "void", .uuid: "uuid",
        .jsonb: "jsonb", .jsonArray: "json[]", .boolArray: "boolean[]", .byteaArray: "bytea[]", .nameArray: "name[]",
        .int2Array: "smallint[]", .int4Array: "integer[]", .textArray: "text[]",
        .varcharArray: "character varying[]", .int8Array: "bigint[]", .float4Array: "real[]",
        .float8Array: "double precision[]", .timestamptzArray: "timestamptz[]", .intervalArray: "interval[]",
        .uuidArray: "uuid[]", .jsonbArray: "jsonb[]",
    ]
}
