import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The statements of `docs/database.md` that write the tables of the lists anew.
@Suite(.deadline) struct ListRepairTests {
    private static let tables = ["session_list", "session_counts", "session_day_counts"]

    private static func statements() throws -> String {
        let page = packageRoot.appending(path: "docs/database.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let begin = try #require(text.firstRange(of: "\nBEGIN;\nTRUNCATE app.session_list;\n"))
        let end = try #require(text[begin.upperBound...].firstRange(of: "\n```"))
        return String(text[begin.lowerBound..<end.lowerBound])
    }

    private func rows(_ database: TestDatabase) async throws -> [String] {
        var rows: [String] = []
        for table in Self.tables {
            rows += try await database.query("SELECT t::text AS row FROM app.\(unescaped: table) t ORDER BY 1")
                .map { "\(table) \(try $0.decode("row", as: String.self))" }
        }
        return rows
    }

    @Test("The statements that write the lists anew give what the triggers would have written")
    func repair() async throws {
        let statements = try Self.statements()
        try await withDatabase { database in
            for patient in [try await database.addUser(.patient), try await database.addUser(.patient)] {
                for _ in 0..<3 { _ = try await database.addSession(of: patient) }
            }
            try await database.query(
                """
                UPDATE app.therapy_sessions
                SET filename = 'Größe.MP3', session_date = timestamptz '2026-01-01 23:59:59.999999+00'
                WHERE id = (SELECT min(id::text)::uuid FROM app.therapy_sessions)
                """)
            try await database.query(
                """
                UPDATE app.session_progress SET status = 'failed'
                WHERE session_id = (SELECT max(session_id::text)::uuid FROM app.session_progress)
                """)
            try await database.query("SELECT app.fold_session_counts()")
            let before = try await rows(database)
            #expect(before.count > 10)
            try await database.withConnection { connection in
                try await connection.executeScript(
                    """
                    SET session_replication_role = replica;
                    DELETE FROM app.session_list WHERE status = 'failed';
                    UPDATE app.session_list SET filename = 'x', held_at = now(), status = 'processed';
                    UPDATE app.session_counts SET sessions = 7;
                    INSERT INTO app.session_count_changes (patient_id, held_at, entered_status)
                    VALUES (gen_random_uuid(), now(), 'failed');
                    RESET session_replication_role
                    """)
                try await connection.executeScript(statements)
            }
            #expect(try await rows(database) == before)
            #expect(try await database.query("SELECT FROM app.session_count_changes").isEmpty)
        }
    }
}
