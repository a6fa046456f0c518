import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

@testable import Store

/// The log of rights: whom each change names, and which changes a reader finds.
///
/// The tests run one by one: a long transaction of one of them holds up the removal of rows in all databases of the cluster.
@Suite(.serialized) struct RightsLogTests {
    /// Whom a change concerns, by names instead of ids.
    private enum Concern: Hashable { case therapist, patient, other, session, signIn }

    private struct Stage {
        let therapist: UserID
        let patient: UserID
        let other: UserID
        let session: SessionID
        let signIn = SignInID.random()

        init(_ database: TestDatabase) async throws {
            therapist = try await database.addUser(.therapist)
            patient = try await database.addUser(.patient)
            other = try await database.addUser(.patient)
            try await database.assign(therapist, to: patient)
            session = try await database.addSession(of: patient)
            try await database.query(
                """
                INSERT INTO app.auth_sessions (id, user_id, expires_at)
                VALUES (\(signIn.rawValue), \(therapist.rawValue), now() + interval '1 h')
                """)
        }

        func concerns(_ change: RightsChange) -> Set<Concern> {
            let users = [therapist: Concern.therapist, patient: .patient, other: .other]
            let named: [Concern?] = [
                change.user.flatMap { users[$0] }, change.patient.flatMap { users[$0] },
                change.session == session ? .session : nil, change.signIn == signIn ? .signIn : nil,
            ]
            return Set(named.compactMap(\.self))
        }
    }

    /// Reads the log as a server does.
    private func read(_ connection: PostgresConnection, since snapshot: DatabaseSnapshot?) async throws -> RightsNews {
        try RightsNews.split(
            await connection.query("SELECT * FROM app.read_rights(\(snapshot?.text))"), since: snapshot
        ).news
    }

    private func expect(
        _ statement: String, after preparation: String = "SELECT 1", concerns expected: Set<Set<Concern>>,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await withDatabase { database in
            let stage = try await Stage(database)
            try await database.query(PostgresQuery(unescaped: preparation))
            try await database.withConnection(as: "therapybridge_server") { server in
                let before = try await read(server, since: nil)
                #expect(before.changes == nil, sourceLocation: sourceLocation)
                try await database.query(
                    PostgresQuery(
                        unescaped: statement.replacing("OTHER", with: "'\(stage.other)'")
                            .replacing("SESSION", with: "'\(stage.session)'")))
                let news = try await read(server, since: before.snapshot)
                #expect(Set(news.changes?.map(stage.concerns) ?? []) == expected, sourceLocation: sourceLocation)
                #expect(try await read(server, since: news.snapshot).changes == [], sourceLocation: sourceLocation)
            }
        }
    }

    @Test(
        "A change of an assignment names its therapist and its patient",
        arguments: [
            "UPDATE app.therapist_patients SET is_active = false", "DELETE FROM app.therapist_patients",
        ])
    func assignment(statement: String) async throws {
        try await expect(statement, concerns: [[.therapist, .patient]])
    }

    @Test("A new assignment names its therapist and its patient")
    func newAssignment() async throws {
        try await expect(
            "INSERT INTO app.therapist_patients (therapist_id, patient_id) SELECT id, OTHER FROM app.users "
                + "WHERE role = 'therapist'", concerns: [[.therapist, .other]])
    }

    @Test("A deactivation and a new role name the account")
    func account() async throws {
        try await expect(
            "UPDATE app.users SET is_active = false WHERE role = 'patient'",
            concerns: [[.patient], [.other]])
        try await expect("UPDATE app.users SET full_name = 'Other'", concerns: [])
    }

    @Test("A new role of an account names the account")
    func newRole() async throws {
        try await expect(
            "UPDATE app.users SET role = 'therapist' WHERE id = OTHER", concerns: [[.other]])
    }

    @Test("An activation names the account")
    func activation() async throws {
        try await expect(
            "UPDATE app.users SET is_active = true WHERE id = OTHER", after: "UPDATE app.users SET is_active = false",
            concerns: [[.other]])
    }

    @Test("A deletion of an account names the account, and what is deleted with it")
    func deletedAccount() async throws {
        try await expect("DELETE FROM app.users WHERE id = OTHER", concerns: [[.other]])
        try await expect(
            "DELETE FROM app.users WHERE role = 'therapist'",
            concerns: [[.therapist], [.therapist, .patient], [.therapist, .signIn]])
    }

    @Test("The end of a sign-in names the sign-in and its account")
    func signIn() async throws {
        for statement in [
            "UPDATE app.auth_sessions SET revoked_at = now()", "DELETE FROM app.auth_sessions",
            "UPDATE app.auth_sessions SET expires_at = now()",
        ] {
            try await expect(statement, concerns: [[.therapist, .signIn]])
        }
        try await expect("UPDATE app.auth_sessions SET expires_at = expires_at + interval '1 h'", concerns: [])
    }

    @Test("A session that moves names both patients; one that is deleted names itself alone")
    func session() async throws {
        try await expect(
            "UPDATE app.therapy_sessions SET patient_id = OTHER WHERE id = SESSION",
            concerns: [[.session, .patient], [.session, .other]])
        try await expect("DELETE FROM app.therapy_sessions WHERE id = SESSION", concerns: [[.session]])
    }

    @Test("A table of rights that is emptied names nobody, which concerns everybody")
    func truncation() async throws {
        try await expect("TRUNCATE app.therapist_patients", concerns: [[]])
    }

    // MARK: - What a reader finds

    @Test(
        "A reader finds a change by its transaction, also from inside a savepoint, once the transaction has committed")
    func savepoint() async throws {
        try await withDatabase { database in
            let stage = try await Stage(database)
            try await database.withConnection { writer in
                try await writer.executeScript("BEGIN; SELECT pg_current_xact_id()")
                let before = try await read(writer, since: nil)
                try await writer.executeScript(
                    "SAVEPOINT s; UPDATE app.auth_sessions SET revoked_at = now(); RELEASE s; SAVEPOINT t; "
                        + "UPDATE app.users SET is_active = false; ROLLBACK TO t")
                try await database.withConnection(as: "therapybridge_server") { server in
                    let during = try await read(server, since: before.snapshot)
                    #expect(during.changes == [])
                    try await writer.executeScript("COMMIT")
                    let after = try await read(server, since: during.snapshot)
                    #expect(after.changes?.map(stage.concerns) == [[.therapist, .signIn]])
                }
            }
        }
    }

    @Test("A transaction that stays open through many sign-outs hides none of them, and repeats none")
    func longTransaction() async throws {
        try await withDatabase { database in
            let stage = try await Stage(database)
            // Records in the audit log would take most of the time.
            try await database.query("ALTER TABLE app.auth_sessions DISABLE TRIGGER record_begin")
            try await database.query("ALTER TABLE app.auth_sessions DISABLE TRIGGER record_end")
            try await database.withConnection { writer in
                try await writer.executeScript("BEGIN; UPDATE app.users SET is_active = false WHERE role = 'patient'")
                try await database.withConnection(as: "therapybridge_server") { server in
                    var last = try await read(server, since: nil)
                    var found = 0
                    try await database.query(
                        """
                        INSERT INTO app.auth_sessions (user_id, expires_at)
                        SELECT \(stage.therapist.rawValue), now() + interval '1 h' FROM generate_series(1, 100000)
                        """)
                    for _ in 0..<10 {
                        try await database.query(
                            """
                            UPDATE app.auth_sessions SET revoked_at = now() WHERE id IN (
                                SELECT id FROM app.auth_sessions WHERE revoked_at IS NULL LIMIT 10000)
                            """)
                        let news = try await read(server, since: last.snapshot)
                        found += news.changes?.count ?? 0
                        last = news
                    }
                    #expect(found == 100_000)
                    // What was committed meanwhile cannot be removed: a reader may still need it.
                    _ = try await removed("0 s", by: server)
                    let kept = try await database.query("SELECT count(*) FROM app.rights_log")[0]
                    #expect(try kept.decode(0, as: Int64.self) >= 100_000)
                    try await writer.executeScript("COMMIT")
                    let news = try await read(server, since: last.snapshot)
                    #expect(Set(news.changes?.map(stage.concerns) ?? []) == [[.patient], [.other]])
                }
            }
        }
    }

    private func removed(_ age: String, by connection: PostgresConnection) async throws -> Int64 {
        try await connection.query("SELECT app.delete_expired_logs(\(age)::text::interval)")[0]
            .decode(0, as: Int64.self)
    }

    @Test("Old changes are removed, and the horizon tells a reader that it may have missed one")
    func horizon() async throws {
        try await withDatabase { database in
            _ = try await Stage(database)
            try await database.withConnection(as: "therapybridge_server") { server in
                let start = try await read(server, since: nil)
                try await database.query("UPDATE app.auth_sessions SET revoked_at = now()")
                let late = try await read(server, since: start.snapshot)
                #expect(try await removed("1 h", by: server) == 0)
                #expect(late.snapshot.oldest > late.horizon)
                // A transaction in another database of the cluster may hold the removal up.
                try await eventually("the changes are removed") {
                    _ = try await removed("0 s", by: server)
                    return try await read(server, since: start.snapshot).changes == []
                }
                let after = try await read(server, since: start.snapshot)
                #expect(after.changes == [])
                #expect(start.snapshot.oldest <= after.horizon, "the reader of the first snapshot has missed something")
                #expect(after.snapshot.oldest > after.horizon, "a reader of the present snapshot has not")
            }
        }
    }

    /// How many rows a server's read after the end of a stranger's sign-in reads, in all tables together, beside so many
    /// signed-in patients with a session each.
    private func rowsRead(watched: Int) async throws -> Int64 {
        try await withDatabase { database in
            let stage = try await Stage(database)
            try await database.query(
                """
                WITH patients AS (
                    INSERT INTO app.users (email, full_name, role)
                    SELECT n || '@many.example', 'Patient', 'patient' FROM generate_series(1, \(Int32(watched))) AS n
                    RETURNING id
                ), sign_ins AS (
                    INSERT INTO app.auth_sessions (user_id, expires_at) SELECT id, now() + interval '1 h' FROM patients
                ), tied AS (
                    INSERT INTO app.therapist_patients (therapist_id, patient_id)
                    SELECT \(stage.therapist.rawValue), id FROM patients
                )
                INSERT INTO app.therapy_sessions (patient_id) SELECT id FROM patients
                """)
            return try await database.withConnection(as: "therapybridge_server") { server in
                let before = try await read(server, since: nil)
                try await database.query(
                    "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(stage.signIn.rawValue)")
                // The statistics of this transaction alone.
                try await server.executeScript("BEGIN")
                let news = try await read(server, since: before.snapshot)
                #expect(news.changes?.map(stage.concerns) == [[.therapist, .signIn]])
                let row = try await server.query(
                    """
                    SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint AS total
                    FROM pg_stat_xact_user_tables
                    """)[0]
                try await server.executeScript("ROLLBACK")
                return try row.decode("total", as: Int64.self)
            }
        }
    }

    @Test("The end of a stranger's sign-in costs a server as many rows beside 300 watched sessions as beside one")
    func constantRows() async throws {
        let (one, many) = (try await rowsRead(watched: 1), try await rowsRead(watched: 300))
        #expect(one == many)
        #expect((1...10).contains(many))
    }

    @Test("Rows of another cluster, with transactions that have not begun here, are passed over and removed")
    func otherCluster() async throws {
        try await withDatabase { database in
            _ = try await Stage(database)
            try await database.withConnection(as: "therapybridge_server") { server in
                let before = try await read(server, since: nil)
                try await database.query(
                    "INSERT INTO app.rights_log (xid, user_id) VALUES ('1000000000', gen_random_uuid())")
                let news = try await read(server, since: before.snapshot)
                #expect(news.changes == [])
                #expect(try await removed("1 h", by: server) == 1)
                #expect(try await read(server, since: nil).horizon == before.horizon)
            }
        }
    }

    // MARK: - Announcements

    @Test("A commit of rights does not wait for another one that is about to commit")
    func noQueue() async throws {
        try await withDatabase { database in
            let stage = try await Stage(database)
            try await withNotifications(of: database) { notifications in
                try await database.withConnection { first in
                    // At the end of its transaction, before it is on disk.
                    try await first.executeScript(
                        """
                        BEGIN; UPDATE app.users SET is_active = false WHERE id = '\(stage.patient)';
                        SET CONSTRAINTS ALL IMMEDIATE
                        """)
                    try await database.query("UPDATE app.auth_sessions SET revoked_at = now()")
                    try await first.executeScript("COMMIT")
                    #expect(try await notifications.received().contains("rights"))
                }
            }
        }
    }

    @Test("A change of rights just after an announcement announces nothing, and a later one does")
    func rarely() async throws {
        try await withDatabase { database in
            let stage = try await Stage(database)
            @Sendable func change(announcedAt: String) -> String {
                """
                SELECT setval('app.rights_announced_at', (extract(epoch FROM \(announcedAt)) * 1000)::bigint);
                UPDATE app.users SET is_active = NOT is_active WHERE id = '\(stage.patient)'
                """
            }
            try await withNotifications(of: database) { notifications in
                try await database.withConnection { connection in
                    // The transaction may take longer than the time in which it announces nothing.
                    try await eventually("a change announces nothing") {
                        try await connection.executeScript(change(announcedAt: "clock_timestamp()"))
                        return try await notifications.received() == []
                    }
                    for earlier in ["clock_timestamp() - interval '10 ms'", "clock_timestamp() + interval '1 h'"] {
                        try await connection.executeScript(change(announcedAt: earlier))
                        #expect(try await notifications.received() == ["rights"], "announced at \(earlier)")
                    }
                }
            }
        }
    }
}
