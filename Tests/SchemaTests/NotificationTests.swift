import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The notifications on `tb_session_v1`.
@Suite(.deadline) struct NotificationTests {
    private func withSession(
        in status: SessionStatus = .transcribing,
        _ body: @escaping @Sendable (PostgresConnection, SessionID, NotificationReader) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            try await withNotifications(of: database) { notifications in
                try await database.withConnection { connection in
                    let session = try await connection.addSession(in: status)
                    _ = try await notifications.received()
                    try await body(connection, session, notifications)
                }
            }
        }
    }

    @Test("Every transition is announced at once")
    func transitions() async throws {
        try await withDatabase { database in
            try await withNotifications(of: database) { notifications in
                try await database.withConnection { connection in
                    let session = try await connection.addSession()
                    for status in ["transcribing", "diarizing", "transcribed", "extracting_notes", "processed"] {
                        try await connection.report(Report(status, 50), session)
                    }
                    #expect(try await notifications.received() == (1...6).map { "\(session) \($0)" })
                }
            }
        }
    }

    @Test("A percentage is announced only 500 ms after the last announcement")
    func percentages() async throws {
        try await withSession { connection, _, notifications in
            try await untilQuick {
                let session = try await connection.addSession(in: .transcribing)
                try await connection.stage(
                    """
                    UPDATE app.session_progress SET notified_at = clock_timestamp() - interval '501 ms'
                    WHERE session_id = \(session)
                    """)
                _ = try await notifications.received()
                let reports: PostgresQuery =
                    "SELECT app.report_progress(\(session), 'transcribing', p) AS version FROM generate_series(20, 60) p"
                let (versions, isQuick) = try await timed { try await connection.query(reports) }
                #expect(try versions.map { try $0.decode("version", as: Int64.self) } == Array(3...43))
                let announced = try await notifications.received()
                if isQuick { #expect(announced == ["\(session) 3"]) }
                return isQuick
            }
        }
    }

    @Test("A percentage right after a transition is not announced")
    func percentageAfterTransition() async throws {
        try await withSession { connection, _, notifications in
            try await untilQuick {
                let session = try await connection.addSession()
                _ = try await notifications.received()
                let reports: PostgresQuery =
                    """
                    SELECT app.report_progress(\(session), 'transcribing', 20), app.report_progress(\(session), 'transcribing', 21)
                    """
                let (_, isQuick) = try await timed { try await connection.query(reports) }
                #expect(try await connection.progress(of: session).version == 3)
                let announced = try await notifications.received()
                if isQuick { #expect(announced == ["\(session) 2"]) }
                return isQuick
            }
        }
    }

    /// Tries again, with a new session, until the reports of one statement came within half a second.
    ///
    /// On a loaded machine a statement may take longer. Its later reports may then be announced.
    private func untilQuick(_ attempt: () async throws -> Bool) async throws {
        try await eventually("all reports of a statement within half a second", attempt)
    }

    /// Runs a statement, and tells whether all of it happened within half a second.
    private func timed<Value>(_ statement: () async throws -> Value) async throws -> (value: Value, isQuick: Bool) {
        let start = ContinuousClock.now
        let value = try await statement()
        return (value, ContinuousClock.now - start < .milliseconds(500))
    }

    @Test("After the clock was set back, transitions and percentages are still announced")
    func clockSetBack() async throws {
        try await withSession { connection, session, notifications in
            func stage() async throws {
                try await connection.stage(
                    """
                    UPDATE app.session_progress SET notified_at = '2999-01-01', updated_at = '2999-01-01'
                    WHERE session_id = \(session)
                    """)
            }
            try await stage()
            try await connection.report(Report("transcribing", 33), session)
            #expect(try await notifications.received() == ["\(session) 3"])
            try await stage()
            try await connection.report(Report("diarizing", 33), session)
            #expect(try await notifications.received() == ["\(session) 4"])
        }
    }

    @Test("Announcements come only after COMMIT, and then all of them")
    func commit() async throws {
        try await withSession { connection, session, notifications in
            try await connection.executeScript("BEGIN")
            try await connection.report(Report("diarizing", 50), session)
            try await connection.report(Report("transcribed", 60), session)
            #expect(try await notifications.received() == [])
            try await connection.executeScript("COMMIT")
            #expect(try await notifications.received() == ["\(session) 3", "\(session) 4"])
        }
    }

    @Test("A rollback announces nothing, and the next change gets the same version")
    func rollback() async throws {
        try await withSession { connection, session, notifications in
            try await connection.executeScript("BEGIN")
            #expect(try await connection.report(Report("failed", 50), session) == 3)
            try await connection.executeScript("ROLLBACK")
            #expect(try await notifications.received() == [])
            #expect(try await connection.report(Report("diarizing", 50), session) == 3)
            #expect(try await notifications.received() == ["\(session) 3"])
        }
    }

    @Test("A refused report announces nothing")
    func refused() async throws {
        try await withSession { connection, session, notifications async throws in
            #expect(try await connection.refusal(of: Report("uploading", 50).query(of: session)) == .checkViolation)
            #expect(try await notifications.received() == [])
        }
    }

    @Test("A deletion announces version 0 and a change of rights")
    func deletion() async throws {
        try await withSession { connection, session, notifications in
            _ = try await connection.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
            let heard = try await notifications.received()
            #expect(heard.contains("\(session) 0"))
            #expect(heard.contains("rights"))
        }
    }

    @Test("A takeover is announced at once")
    func takeOver() async throws {
        try await withSession { connection, session, notifications in
            _ = try await connection.query(
                "UPDATE app.session_progress SET attempt = 2 WHERE session_id = \(session)")
            #expect(try await notifications.received() == ["\(session) 3"])
        }
    }

    @Test("Work is announced when a session has both its recording and the status pending, and after a retry")
    func work() async throws {
        try await withSession(in: .uploading) { connection, session, notifications in
            _ = try await connection.query(
                "UPDATE app.therapy_sessions SET recording = 'key' WHERE id = \(session)")
            #expect(try await notifications.received() == [])
            try await connection.report(Report("pending", 20), session)
            #expect(Set(try await notifications.received()) == ["work", "\(session) 3"])
            try await connection.report(Report("failed", 20), session)
            #expect(try await notifications.received() == ["\(session) 4"])
            _ = try await connection.query("SELECT app.retry_session(\(session))")
            #expect(Set(try await notifications.received()) == ["work", "\(session) 5"])

            let other = try await connection.addSession()
            _ = try await notifications.received()
            _ = try await connection.query("UPDATE app.therapy_sessions SET recording = 'another' WHERE id = \(other)")
            #expect(try await notifications.received() == ["work"])
        }
    }

    @Test(
        "A change of rights is announced once, whatever the number of rows",
        arguments: [
            "UPDATE app.therapist_patients SET is_active = false",
            "UPDATE app.therapist_patients SET is_active = true",
            "DELETE FROM app.therapist_patients",
            "INSERT INTO app.therapist_patients (therapist_id, patient_id) SELECT t.id, p.id FROM app.users t, app.users p "
                + "WHERE t.role = 'therapist' AND p.role = 'patient' ON CONFLICT DO NOTHING",
            "UPDATE app.users SET is_active = false",
            "UPDATE app.users SET role = 'admin' WHERE role = 'therapist'",
            "UPDATE app.auth_sessions SET revoked_at = now()",
            "DELETE FROM app.auth_sessions", "TRUNCATE app.therapist_patients",
        ])
    func rights(change: String) async throws {
        try await withDatabase { database in
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            try await database.assign(therapist, to: patient)
            // A patient for the new assignment.
            _ = try await database.addUser(.patient)
            try await database.query(
                "INSERT INTO app.auth_sessions (user_id, expires_at) VALUES (\(therapist), now() + interval '1 h')")
            try await withNotifications(of: database) { notifications in
                try await database.query(PostgresQuery(unescaped: change))
                #expect(try await notifications.received() == ["rights"])
            }
        }
    }

    @Test("A change that affects no right announces none")
    func noRights() async throws {
        try await withDatabase { database in
            let user = try await database.addUser(.therapist)
            try await withNotifications(of: database) { notifications in
                try await database.query(
                    "UPDATE app.users SET full_name = 'Other', password_hash = 'x' WHERE id = \(user)")
                try await database.query(
                    "INSERT INTO app.auth_sessions (user_id, expires_at) VALUES (\(user), now() + interval '1 h')")
                // A statement that names a right without a change of it, or ends an ended right, announces nothing
                // either.
                for statement in [
                    "UPDATE app.users SET role = role, is_active = is_active, full_name = 'Third'",
                    "UPDATE app.auth_sessions SET revoked_at = now() WHERE false",
                    "UPDATE app.auth_sessions SET expires_at = expires_at + interval '1 h'",
                    "SELECT app.end_sign_in(gen_random_uuid())", "DELETE FROM app.auth_sessions WHERE false",
                ] {
                    try await database.query(PostgresQuery(unescaped: statement))
                }
                #expect(try await notifications.received() == [])
                try await database.query("UPDATE app.auth_sessions SET revoked_at = now()")
                #expect(try await notifications.received().count == 1)
                try await database.query("UPDATE app.auth_sessions SET revoked_at = now(), revoked_reason = 'again'")
                #expect(try await notifications.received() == [])
            }
        }
    }
}
