import Foundation
import Postgres
import TestSupport
import Testing

/// A type of another module.
private struct PatientID: Hashable, PostgresRepresentable, PostgresArrayElement {
    let uuid: UUID
    init(uuid: UUID) { self.uuid = uuid }
    init(postgresValue: UUID) { self.init(uuid: postgresValue) }
    var postgresValue: UUID { uuid }
}

private enum Role: String, PostgresRepresentable {
    case patient, therapist
    init?(postgresValue: String) { self.init(rawValue: postgresValue) }
    var postgresValue: String { rawValue }
}

@Suite("Types", .deadline) struct TypeTests {
    /// Sends values and reads them back, alone, as NULL, and in an array with a NULL.
    private func roundTrip<Value: PostgresArrayElement & Equatable>(_ values: [Value], type: String) async throws {
        try await withConnection { connection in
            for value in values {
                let row = try await connection.query("SELECT \(value), pg_typeof(\(value))::text, \(value as Value?)")[
                    0]
                let (same, name, optional) = try row.decode((Value, String, Value?).self)
                #expect(same == value)
                #expect(name == type)
                #expect(optional == value)
            }
            let array = values.map { Optional($0) } + [nil]
            let row = try await connection.query(
                "SELECT \(values), \(array), \([Value]()), \(Value?.none), \([Value]?.none)")[0]
            #expect(try row.decode(0, as: [Value].self) == values)
            #expect(try row.decode(1, as: [Value?].self) == array)
            #expect(try row.decode(2, as: [Value].self) == [])
            #expect(try row.decode(3, as: Value?.self) == nil)
            #expect(try row.decode(4, as: [Value]?.self) == nil)
        }
    }

    @Test("Values come back as they were sent")
    func roundTrip() async throws {
        try await roundTrip([true, false], type: "boolean")
        try await roundTrip([Int16.min, -1, 0, .max], type: "smallint")
        try await roundTrip([Int32.min, -1, 0, .max], type: "integer")
        try await roundTrip([Int64.min, -1, 0, .max], type: "bigint")
        try await roundTrip([Int.min, -1, 0, .max], type: "bigint")
        try await roundTrip([0.1, -.infinity, .infinity, 0, .leastNonzeroMagnitude], type: "double precision")
        try await roundTrip(["", "a", "Ünïcødé 🫀", "'; DROP TABLE x; --", "{a,\"b\"}"], type: "text")
        try await roundTrip([UUID(), UUID(uuidString: "00000000-0000-0000-0000-0000000000FF")!], type: "uuid")
        try await roundTrip([Data(), Data([0, 1, 255]), Data(repeating: 7, count: 100_000)], type: "bytea")
        try await roundTrip([PatientID(uuid: UUID()), PatientID(uuid: UUID())], type: "uuid")
        try await roundTrip(
            [.infinity, .negativeInfinity, PostgresTimestamp(microsecondsSinceEpoch: 0)]
                + [-1, 1, 1_795_339_800_123_456].map(PostgresTimestamp.init(microsecondsSinceEpoch:)),
            type: "timestamp with time zone")
        try await roundTrip(
            [
                Duration.zero, .microseconds(1), .microseconds(-1), .milliseconds(1_500), .milliseconds(-1_500),
                .seconds(-3600), .seconds(90 * 86400), .microseconds(Int64.max), .microseconds(Int64.min),
            ], type: "interval")
    }

    @Test("Values mean the same to the server")
    func meaning() async throws {
        try await withConnection { connection in
            let id = UUID()
            let row = try await connection.query(
                """
                SELECT \(PostgresTimestamp(microsecondsSinceEpoch: 1_795_339_800_123_456)) AT TIME ZONE 'UTC'
                         = '2026-11-22 09:30:00.123456'::timestamp,
                       \(PostgresTimestamp.infinity) = 'infinity'::timestamptz,
                       \(id)::text, \([UInt8]([1, 254])) = '\\x01fe'::bytea, \(Duration.seconds(90)) = interval '90 seconds',
                       \(["a", nil] as [String?]) = ARRAY['a', NULL], \(PostgresJSON(text: #"{"a": [1]}"#)) -> 'a' -> 0 = '1',
                       \(Double.nan) = 'NaN'::float8, \([3, 1, 2])::int8[] @> ARRAY[2::int8]
                """)[0]
            for column in [0, 1, 3, 4, 5, 6, 7, 8] {
                #expect(try row.decode(column, as: Bool.self), "column \(column)")
            }
            #expect(try row.decode(2, as: String.self) == id.uuidString.lowercased())
        }
    }

    @Test(
        "A duration becomes an interval of the nearest microsecond",
        arguments: [
            (Duration.nanoseconds(499), "00:00:00"), (.nanoseconds(500), "00:00:00"),
            (.nanoseconds(501), "00:00:00.000001"),
            (.nanoseconds(1_500), "00:00:00.000002"), (.nanoseconds(2_500), "00:00:00.000002"),
            (.nanoseconds(-499), "00:00:00"), (.nanoseconds(-501), "-00:00:00.000001"),
            (.nanoseconds(-1_500), "-00:00:00.000002"),
            // A binary fraction just below 0.3.
            (.seconds(0.3), "00:00:00.3"), (.seconds(-0.3), "-00:00:00.3"), (.seconds(3.25), "00:00:03.25"),
        ])
    func durations(duration: Duration, text: String) async throws {
        try await withConnection { connection in
            let row = try await connection.query(
                "SELECT \(duration)::text AS text, \(duration) = make_interval(secs => \(duration / .seconds(1))) AS same"
            )[0]
            #expect(try row.decode("text", as: String.self) == text)
            #expect(try row.decode("same", as: Bool.self))
        }
    }

    @Test("A duration beyond an interval becomes the nearest interval")
    func hugeDuration() async throws {
        try await withConnection { connection in
            for (duration, limit) in [(Duration.seconds(Int64.max), Int64.max), (.seconds(Int64.min), .min)] {
                let row = try await connection.query("SELECT \(duration)")[0]
                #expect(try row.decode(0, as: Duration.self) == .microseconds(limit))
            }
        }
    }

    @Test("Values that the server makes can be read")
    func serverValues() async throws {
        try await withConnection { connection in
            let row = try await connection.query(
                """
                SELECT 1::int2 AS two, 2::int4 AS four, 3::oid AS oid, 1.5::real AS real, 'n'::name AS name, 'v'::varchar AS v,
                       'c'::char(3) AS c, '{"a": 1}'::json AS json, '{"a": 1}'::jsonb AS jsonb, 'x' AS unknown,
                       interval '1 day 1 second' AS day, '2000-01-01 00:00:00'::timestamp AS plain, '\\x0102'::bytea AS bytes
                """)[0]
            #expect(try row.decode("two", as: Int.self) == 1)
            #expect(try row.decode("four", as: Int16.self) == 2)
            #expect(try row.decode("oid", as: Int64.self) == 3)
            #expect(try row.decode("real", as: Double.self) == 1.5)
            #expect(try row.decode("name", as: String.self) == "n")
            #expect(try row.decode("v", as: String.self) == "v")
            #expect(try row.decode("c", as: String.self) == "c  ")
            #expect(try row.decode("json", as: PostgresJSON.self).text == #"{"a": 1}"#)
            #expect(try row.decode("jsonb", as: PostgresJSON.self).text == #"{"a": 1}"#)
            #expect(try row.decode("jsonb", as: String.self) == #"{"a": 1}"#)
            #expect(try row.decode("unknown", as: String.self) == "x")
            #expect(try row.decode("day", as: Duration.self) == .seconds(86401))
            #expect(
                try row.decode("plain", as: PostgresTimestamp.self).microsecondsSinceEpoch == 946_684_800_000_000)
            #expect(try row.decode("bytes", as: [UInt8].self) == [1, 2])
        }
    }

    @Test("An enum of the database is text")
    func enums() async throws {
        try await withConnection { connection in
            try await connection.executeScript("CREATE TYPE pg_temp.role AS ENUM ('patient', 'therapist')")
            let row = try await connection.query("SELECT \(Role.therapist)::pg_temp.role")[0]
            #expect(try row.decode(0, as: Role.self) == .therapist)
        }
    }

    @Test("An error names column and types, and never the value")
    func decodingErrors() async throws {
        try await withConnection { connection in
            let row = try await connection.query(
                "SELECT 4711 AS number, NULL::text AS missing, 'geheim' AS word, 40000::int4 AS big, interval '1 month' AS month"
            )[0]
            func message(_ body: () throws -> some Any) -> String {
                do {
                    _ = try body()
                    return "no error"
                } catch {
                    #expect((error as? PostgresError)?.code == .decoding)
                    return "\(error)"
                }
            }
            #expect(
                message { try row.decode("number", as: String.self) }
                    == #"cannot read column "number" of type integer as String: the types do not match"#)
            #expect(
                message { try row.decode("missing", as: String.self) }
                    == #"cannot read column "missing" of type text as String: it is NULL"#)
            #expect(
                message { try row.decode("word", as: Role.self) }
                    == #"cannot read column "word" of type text as Role: the value is malformed"#)
            #expect(
                message { try row.decode("big", as: Int16.self) }
                    == #"cannot read column "big" of type integer as Int16: the value is out of range"#)
            let month = message { try row.decode("month", as: Duration.self) }
            #expect(month.hasSuffix("the value is out of range"))
            #expect(message { try row.decode("nothing", as: Int.self) } == #"the result has no column "nothing""#)
            #expect(
                message { try row.decode(9, as: Int.self) } == "the result has 5 columns, and number 9 was asked for")
            let tuple = message { try row.decode((Int, String?, Int).self) }
            #expect(tuple.contains(#""word""#))
        }
    }

    @Test("A row outlives its connection")
    func rowOutlives() async throws {
        let row = try await withConnection { try await $0.query("SELECT repeat('x', 1000) AS t")[0] }
        #expect(try row.decode("t", as: String.self).count == 1000)
    }

    @Test("An array of two dimensions, or of another type, is refused")
    func dimensions() async throws {
        try await withConnection { connection in
            let row = try await connection.query("SELECT ARRAY[[1, 2], [3, 4]] AS m, ARRAY['a'] AS t")[0]
            #expect(throws: PostgresError.self) { try row.decode("m", as: [Int].self) }
            #expect(throws: PostgresError.self) { try row.decode("t", as: [Int].self) }
        }
    }

    @Test("A result without rows has its columns, and a statement without a result has its count")
    func emptyResult() async throws {
        try await withConnection { connection in
            let empty = try await connection.query("SELECT 1 AS one WHERE false")
            #expect(empty.isEmpty)
            #expect(empty.columns.map(\.name) == ["one"])
            #expect(empty.columns.first?.type == .int4)
            try await connection.executeScript("CREATE TEMPORARY TABLE t (n int8)")
            try await #expect(connection.execute("INSERT INTO t SELECT generate_series(1, \(7))") == 7)
            try await #expect(connection.execute("UPDATE t SET n = n WHERE n > \(5)") == 2)
            try await #expect(connection.query("DELETE FROM t RETURNING n").affectedRows == 7)
            try await #expect(connection.execute("SET LOCAL work_mem = '4MB'") == 0)
        }
    }
}
