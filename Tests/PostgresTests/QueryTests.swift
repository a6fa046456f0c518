import Foundation
import Postgres
import TestSupport
import Testing

@Suite("Queries", .deadline) struct QueryTests {
    @Test("A query returns its rows")
    func rows() async throws {
        try await withConnection { connection in
            let rows = try await connection.query(
                "SELECT n, n::text AS t FROM generate_series(1, \(3)) AS n ORDER BY n")
            #expect(try rows.decode((Int, String).self).map(\.1) == ["1", "2", "3"])
            #expect(try rows[1].decode("t", as: String.self) == "2")
            #expect(try rows.map { try $0.decode("n", as: Int.self) } == [1, 2, 3])
        }
    }

    @Test("An interpolated value is never part of the text")
    func interpolation() async throws {
        let evil = "'); DROP TABLE students; --"
        let query: PostgresQuery = "SELECT \(evil), \(unescaped: "1 + 1"), 1 AS \(identifier: #"odd "name""#)"
        #expect(query.sql == #"SELECT $1, 1 + 1, 1 AS "odd ""name""""#)
        #expect(query.bindings.count == 1)
        try await withConnection { connection in
            let row = try await connection.query(query)[0]
            #expect(try row.decode((String, Int).self) == (evil, 2))
            #expect(row.columns[2].name == #"odd "name""#)
        }
    }

    @Test("A name cannot end its quotes, not even with a combining mark")
    func identifier() {
        let query: PostgresQuery = "SELECT 1 AS \(identifier: "a\"\u{301}; DROP TABLE students")"
        #expect(Array(query.sql.utf8) == Array("SELECT 1 AS \"a\"\"\u{301}; DROP TABLE students\"".utf8))
    }

    @Test("Queries that start at the same time run one after the other")
    func order() async throws {
        try await withConnection { connection in
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<500 {
                    group.addTask {
                        try await connection.query("SELECT \(number)::int8")[0].decode(0, as: Int.self) == number
                    }
                }
                for try await isRight in group { #expect(isRight) }
            }
        }
    }

    @Test("A script runs several statements, up to the first one that fails")
    func script() async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                "CREATE TEMPORARY TABLE s (n int); INSERT INTO s VALUES (1), (2); SELECT * FROM s; -- the end")
            try await #expect(connection.query("SELECT count(*) FROM s")[0].decode(0, as: Int.self) == 2)
            let error = await #expect(throws: PostgresError.self) {
                try await connection.executeScript("INSERT INTO s VALUES (3); SELECT 1/0; INSERT INTO s VALUES (4)")
            }
            #expect(error?.sqlState == "22012")
            try await #expect(connection.query("SELECT count(*) FROM s")[0].decode(0, as: Int.self) == 2)
            try await connection.executeScript("")
        }
    }

    @Test("An error of the server carries its fields, and its description shows no value")
    func serverError() async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                CREATE TEMPORARY TABLE people (email text CONSTRAINT people_email_key UNIQUE, age int CONSTRAINT grown CHECK (age > 17));
                """)
            try await connection.execute("INSERT INTO people VALUES (\("secret@example.org"), \(Int32(30)))")
            let unique = await #expect(throws: PostgresError.self) {
                try await connection.execute("INSERT INTO people VALUES (\("secret@example.org"), \(Int32(31)))")
            }
            #expect(unique?.code == .server)
            #expect(unique?.sqlState == .uniqueViolation)
            #expect(unique?.constraintName == "people_email_key")
            #expect(unique?.isTransient == false)
            let (shown, full) = unique.map { ("\($0)", String(reflecting: $0)) } ?? ("", "")
            #expect(
                shown
                    == "the database refused the statement (SQLSTATE 23505, constraint people_email_key, table people)")
            #expect(full.contains("secret@example.org"))
            let check = await #expect(throws: PostgresError.self) {
                try await connection.execute("INSERT INTO people VALUES ('a', \(Int32(7)))")
            }
            #expect(check?.sqlState == .checkViolation)
            let raised = await #expect(throws: PostgresError.self) {
                try await connection.executeScript("DO $$ BEGIN RAISE no_data_found; END $$")
            }
            #expect(raised?.sqlState == .noDataFound)
            try await #expect(connection.query("SELECT 1").count == 1, "the connection goes on")
        }
    }

    @Test("A query that cannot be sent is refused, and the connection goes on")
    func refused() async throws {
        try await withConnection { connection in
            var bindings = PostgresBindings()
            for number in 0...65_535 { bindings.append(number) }
            let tooMany = PostgresQuery(unescaped: "SELECT 1", bindings: bindings)
            let refused = await #expect(throws: PostgresError.self) { try await connection.query(tooMany) }
            #expect(refused?.code == .protocolViolation)
            let nul = await #expect(throws: PostgresError.self) {
                try await connection.query(PostgresQuery(unescaped: "SELECT 1\0 oops"))
            }
            #expect(nul?.code == .protocolViolation)
            let inText = await #expect(throws: PostgresError.self) { try await connection.query("SELECT \("a\0b")") }
            #expect(inText?.sqlState == .characterNotInRepertoire)
            try await #expect(connection.query("SELECT 1").count == 1)
        }
    }

    @Test("COPY is refused, and the connection is closed")
    func copy() async throws {
        let connection = try await PostgresConnection.connect(try await testConfiguration())
        let error = await #expect(throws: PostgresError.self) {
            try await connection.executeScript("COPY (SELECT 1) TO STDOUT")
        }
        #expect(error?.code == .protocolViolation)
        await #expect(throws: PostgresError.self) { try await connection.query("SELECT 1") }
        await connection.close()
    }

    @Test("The connection keeps the latest notices")
    func notices() async throws {
        try await withConnection { connection in
            try await connection.executeScript("DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'beware'; END $$")
            let notices = await connection.lastNotices()
            #expect(notices.map(\.severity) == ["NOTICE", "WARNING"])
            #expect(notices.map(\.message) == ["hello", "beware"])
            try await connection.executeScript(
                "DO $$ BEGIN FOR i IN 1..1000 LOOP RAISE NOTICE 'n%', i; END LOOP; END $$")
            await #expect(connection.lastNotices().count == 64)
            await #expect(connection.lastNotices().last?.message == "n1000")
        }
    }

    @Test("Large results and large parameters pass")
    func large() async throws {
        try await withConnection { connection in
            let rows = try await connection.query("SELECT n FROM generate_series(1, 1000000) AS n")
            #expect(rows.count == 1_000_000)
            #expect(try rows[999_999].decode(0, as: Int.self) == 1_000_000)
            // More than any socket buffer holds, in both directions.
            let megabytes = String(repeating: "0123456789abcdef", count: 50 * 65_536)
            let echo = try await connection.query("SELECT \(megabytes), length(\(megabytes))")[0]
            #expect(try echo.decode(1, as: Int.self) == megabytes.utf8.count)
            #expect(try echo.decode(0, as: String.self) == megabytes)
        }
    }

    @Test("Ten thousand concurrent queries go through a pool of four")
    func concurrent() async throws {
        try await withPool(size: 4) { pool in
            let sum = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 1...10_000 {
                    group.addTask { try await pool.query("SELECT \(number)::int8")[0].decode(0, as: Int.self) }
                }
                return try await group.reduce(0, +)
            }
            #expect(sum == 10_000 * 10_001 / 2)
            #expect(pool.statistics.openedTotal <= 4)
        }
    }
}
