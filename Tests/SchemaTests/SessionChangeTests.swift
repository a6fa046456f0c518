import Domain
import Postgres
import PostgresTestSupport
import PropertySupport
import Store
import TestSupport
import Testing

/// The date and the language of a session: what the table takes, and who may change them.
@Suite("Changes of a session", .deadline) struct SessionChangeTests {
    @Test("The table takes the languages that LanguageTag reads, and no others")
    func languages() async throws {
        var texts = [
            "de", "de-AT", "DE-at", "sr-Latn-RS", "zh-min-nan", "sl-rozaj-biske-1994", "es-419", "x-private",
            "i-klingon",
            "en-GB-oed", "sgn-CH-DE", "qaa-Qaaa-QM-x-southern", "en-a-bbb-x-a-ccc", "", "d", "de_AT", "de-", "-de",
            "de--AT",
            "de\n", " de", "abcdefghi", "en-a", "x", "i-foo", "de-419-DE", "\u{212A}e", "i-\u{212A}lingon", "d\u{131}",
            "en-x" + String(repeating: "-abcdefg", count: 12), "en-x" + String(repeating: "-abcdefgh", count: 12),
        ]
        var generator = SeededGenerator(seed: 5)
        let pieces = [
            "de", "-", "-", "-", "AT", "latn", "1901", "x", "a", "1", "abcde", "419", "nan", "abcdefgh", "K", "\n",
        ]
        for _ in 0..<3000 { texts.append(generator.text(of: pieces, count: 1...9)) }
        // PostgreSQL has no text with NUL.
        texts.removeAll { $0.utf8.contains(0) }
        let all = texts
        let taken = try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            return try await database.withConnection { connection async throws in
                try await connection.executeScript(
                    """
                    CREATE FUNCTION app.takes(patient uuid, tag text) RETURNS boolean LANGUAGE plpgsql AS $$
                    BEGIN
                        INSERT INTO app.therapy_sessions (patient_id, language) VALUES (patient, tag);
                        RAISE SQLSTATE 'TB000';
                    EXCEPTION
                        WHEN SQLSTATE 'TB000' THEN RETURN true;
                        WHEN check_violation THEN RETURN false;
                    END $$
                    """)
                return try await connection.query(
                    """
                    SELECT app.takes(\(patient), t.tag) AS taken FROM unnest(\(all)::text[]) WITH ORDINALITY AS t (tag, place)
                    ORDER BY t.place
                    """
                ).map { try $0.decode("taken", as: Bool.self) }
            }
        }
        #expect(taken.count == texts.count)
        let different = zip(texts, taken).filter { (LanguageTag($0) != nil) != $1 }.map(\.0)
        #expect(different == [])
        #expect(taken.contains(true))
        #expect(taken.contains(false))
    }

    @Test(
        "A user changes the sessions that Access permits, and their progress stays",
        arguments: AuthorizeSessionTests.cases)
    func sameRule(cell: AuthorizeSessionTests.Case) async throws {
        try await withDatabase { database in
            let stage = try await database.withConnection { try await AuthorizeSessionTests.Stage(cell, on: $0) }
            let principal = Principal(user: stage.user, signIn: stage.signIn)
            let permitted = Access.permits(.manage, to: cell.role, as: cell.relation)
            let (date, tag) = (
                try #require(Timestamp(rfc3339: "2026-11-22T09:30:00Z")), try #require(LanguageTag("de-AT"))
            )
            try await database.query(
                "UPDATE app.therapy_sessions SET session_date = \(date), language = 'fr' WHERE id = \(stage.session)")
            let before = try await row(of: stage.session, in: database)
            try await database.withServerPool(size: 2) { pool in
                let sessions = SessionStore(pool: pool)
                let changed = try await sessions.change(stage.session, .init(language: tag), as: principal)
                #expect((changed != nil) == permitted)
                #expect(changed?.language == (permitted ? tag : nil))
                #expect(changed?.sessionDate == (permitted ? date : nil))
                let cleared = try await sessions.change(
                    stage.session, .init(sessionDate: .some(nil)), as: principal)
                #expect((cleared != nil) == permitted)
                #expect(cleared?.sessionDate == nil)
                #expect(cleared?.language == (permitted ? tag : nil))
                // A worker reads the language without a user.
                #expect(try await sessions.language(of: stage.session)?.description == (permitted ? "de-AT" : "fr"))
            }
            let after = try await row(of: stage.session, in: database)
            #expect(after.date == (permitted ? nil : date))
            #expect(after.version == before.version)
        }
    }

    private func row(
        of session: SessionID, in database: TestDatabase
    ) async throws -> (date: Timestamp?, version: Int64) {
        let row = try await database.query(
            """
            SELECT t.session_date, p.version FROM app.therapy_sessions t JOIN app.session_progress p ON p.session_id = t.id
            WHERE t.id = \(session)
            """)[0]
        return (try row.decode("session_date", as: Timestamp?.self), try row.decode("version", as: Int64.self))
    }

    @Test("Nobody changes a session without an acting user, or one that does not exist")
    func nobody() async throws {
        try await withDatabase { database in
            let stage = try await database.withConnection {
                try await AuthorizeSessionTests.Stage(
                    .init(role: .admin, relation: Relation(isPatient: false, isAssigned: false)), on: $0)
            }
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                let changed = try await connection.query(
                    "SELECT app.change_session(\(stage.session), true, NULL, true, 'de') AS changed")
                #expect(try changed[0].decode("changed", as: Bool.self) == false)
            }
            try await database.withServerPool(size: 1) { pool in
                let principal = Principal(user: stage.user, signIn: stage.signIn)
                let changed = try await SessionStore(pool: pool).change(
                    .random(), .init(language: LanguageTag("de")), as: principal)
                #expect(changed == nil)
            }
        }
    }
}
