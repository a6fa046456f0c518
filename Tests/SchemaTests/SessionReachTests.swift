import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Lists in which more sessions match than `app.list_sessions` gathers: 10,000, or 2,000 by their files.
@Suite(.deadline) struct SessionReachTests {
    private static let total = 10_040

    /// Adds sessions of one patient with a name, half of them failed, with equal times and without a date.
    private func fill(_ connection: PostgresConnection, patient: UserID) async throws {
        try await connection.executeScript(
            """
            SET session_replication_role = replica;
            INSERT INTO app.therapy_sessions (patient_id, filename, session_date, created_at)
            SELECT '\(patient)', CASE n % 3 WHEN 0 THEN 'Common ' || n ELSE 'common' END,
                   CASE n % 5 WHEN 0 THEN NULL ELSE timestamptz '2026-01-01' + make_interval(mins => n * 7 % 1000) END,
                   timestamptz '2026-02-01' + make_interval(mins => n / 4)
            FROM generate_series(1, \(Self.total)) AS n;
            INSERT INTO app.session_progress (session_id, status)
            SELECT id, CASE WHEN filename = 'common' THEN 'failed' ELSE 'processed' END FROM app.therapy_sessions;
            INSERT INTO app.session_list
            SELECT t.id, t.patient_id, p.status, t.created_at, coalesce(t.session_date, t.created_at),
                   convert_to(app.searchable(t.filename), 'UTF8')
            FROM app.therapy_sessions t JOIN app.session_progress p ON p.session_id = t.id;
            INSERT INTO app.session_counts SELECT patient_id, status, count(*) FROM app.session_list GROUP BY 1, 2;
            INSERT INTO app.session_day_counts
            SELECT (held_at AT TIME ZONE 'UTC')::date, status, count(*) FROM app.session_list GROUP BY 1, 2;
            RESET session_replication_role
            """)
    }

    @Test("A list of more sessions than are gathered has the same order, pages and counts")
    func beyond() async throws {
        try await withDatabase { database in
            let (patient, therapist) = (try await database.addUser(.patient), try await database.addUser(.therapist))
            let admin = try await database.addUser(.admin)
            try await database.assign(therapist, to: patient)
            try await database.withConnection { try await fill($0, patient: patient) }
            let from = "2026-01-01 03:00"
            let cases: [(caller: UserID, arguments: String, condition: String)] = [
                (therapist, "NULL, NULL, NULL, NULL, NULL", "true"),
                (admin, "NULL, NULL, NULL, NULL, NULL", "true"),
                (admin, "NULL, '\(patient)', NULL, NULL, NULL", "true"),
                (patient, "'{failed}', NULL, 'COMMON', NULL, NULL", "l.filename LIKE '%common%'"),
                (admin, "'{failed,processed}', NULL, 'common', NULL, NULL", "l.filename LIKE '%common%'"),
                (admin, "'{processed}', NULL, 'test person', NULL, NULL", "true"),
                (admin, "NULL, NULL, NULL, '\(from)', NULL", "l.held_at >= '\(from)'"),
                (therapist, "NULL, NULL, NULL, '\(from)', NULL", "l.held_at >= '\(from)'"),
                (
                    admin, "NULL, NULL, NULL, '\(from)', '2026-02-01 10:30:00.5'",
                    "l.held_at >= '\(from)' AND l.held_at < '2026-02-01 10:30:00.5'"
                ),
                (therapist, "NULL, NULL, 'test person', NULL, NULL", "true"),
                (admin, "NULL, NULL, 'test person', '\(from)', NULL", "l.held_at >= '\(from)'"),
                // More files than a search gathers (2,000), and fewer than all.
                (admin, "NULL, NULL, 'common ', NULL, NULL", "l.filename LIKE '%common %'"),
                (
                    therapist, "'{processed}', NULL, 'common ', '\(from)', NULL",
                    "l.held_at >= '\(from)' AND l.filename LIKE '%common %'"
                ),
                (
                    therapist, "NULL, NULL, 'common 3', '\(from)', NULL",
                    "l.held_at >= '\(from)' AND l.filename LIKE '%common 3%'"
                ),
            ]
            for isByDate in [false, true] {
                let order = isByDate ? "held_at" : "created_at"
                for (caller, arguments, condition) in cases {
                    let comment: Comment = "\(arguments) by \(order)"
                    let wanted =
                        arguments.hasPrefix("NULL")
                        ? "true" : "l.status = ANY (\(arguments.prefix { $0 != " " }.dropLast())::text[])"
                    let expected = try await database.query(
                        """
                        SELECT l.session_id FROM app.session_list l WHERE \(unescaped: condition) AND \(unescaped: wanted)
                        ORDER BY l.\(unescaped: order) DESC, l.session_id DESC LIMIT 150
                        """
                    ).map { try $0.decode("session_id", as: SessionID.self) }
                    let pages = try await pages(
                        of: caller, in: database, "\(arguments), \(isByDate)", order: order, size: 50, count: 3)
                    #expect(pages.ids == expected, comment)
                    let counts = try await database.query(
                        """
                        SELECT l.status::text AS status, count(*) AS n FROM app.session_list l
                        WHERE \(unescaped: condition) GROUP BY l.status
                        """
                    ).map { (try $0.decode("status", as: String.self), try $0.decode("n", as: Int64.self)) }
                    #expect(
                        pages.counts.filter { $0.value > 0 } == Dictionary(uniqueKeysWithValues: counts), comment)
                    #expect(pages.counts.count == 9, comment)
                }
            }
        }
    }

    /// Reads pages as the server's role does for a user.
    private func pages(
        of user: UserID, in database: TestDatabase, _ arguments: String, order: String, size: Int, count: Int
    ) async throws -> (ids: [SessionID], counts: [String: Int64]) {
        let signIn = try await database.query(
            "INSERT INTO app.auth_sessions (user_id, expires_at) VALUES (\(user), now() + interval '1 hour') RETURNING id"
        )[0].decode("id", as: SignInID.self)
        return try await database.withConnection(as: "therapybridge_server") { connection async throws in
            var (ids, counts): ([SessionID], [String: Int64]) = ([], [:])
            try await connection.executeScript("BEGIN")
            _ = try await connection.query(
                """
                SELECT set_config('app.user_id', \(user.description), true),
                       set_config('app.sign_in_id', \(signIn.description), true)
                """)
            for page in 0..<count {
                let rows = try await connection.query(
                    """
                    SELECT f.session_id, f.counted_status, f.counted_sessions FROM app.list_sessions(
                        \(unescaped: arguments),
                        (SELECT \(unescaped: order) FROM app.session_list WHERE session_id = \(ids.last)), \(ids.last),
                        \(Int32(size)), \(page == 0)) f ORDER BY f.place
                    """)
                for row in rows {
                    if let id = try row.decode("session_id", as: SessionID?.self) {
                        ids.append(id)
                    } else {
                        counts[try row.decode("counted_status", as: String.self)] =
                            try row.decode("counted_sessions", as: Int64.self)
                    }
                }
            }
            try await connection.executeScript("ROLLBACK")
            return (ids, counts)
        }
    }
}
