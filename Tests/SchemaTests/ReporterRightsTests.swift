import Domain
import Postgres
import PostgresTestSupport
import Store
import Testing

/// The rights of callers who report in a batch.
@Suite struct ReporterRightsTests {
    private func withSession(
        _ body: @escaping @Sendable (TestDatabase, PostgresConnection, SessionID) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            try await database.letBatchesWait()
            let session = try await database.withConnection { try await $0.addSession() }
            try await database.withConnection(as: "therapybridge_server") { try await body(database, $0, session) }
        }
    }

    @Test("Only pipelines and administrators can report, and a refusal does not affect other reports")
    func roles() async throws {
        try await withSession { database, connection, session async throws in
            let roles: [Role] = [.pipeline, .therapist, .admin, .patient]
            var reporters: [Reporter] = []
            for role in roles { reporters.append(try await database.addReporter(role)) }
            let reports = (0..<4).map { (session as SessionID?, Report("transcribing", 10 + $0)) }
            let answers = try await connection.reportBatch(reports, by: reporters, callers: [1, 2, 3, 4])
            #expect(answers.map(\.code) == [nil, "42501", nil, "42501"])
            #expect(answers[2] == .version(3))
            // Every signed-in caller may learn that a session does not exist.
            let unknown = try await connection.reportBatch(
                [(.random(), reports[0].1), (.random(), Report("done", 10))], by: reporters, callers: [2, 4])
            #expect(unknown.map(\.code) == ["P0002", "P0002"])
        }
    }

    @Test("A caller who is signed out, inactive or unknown is refused before any other check")
    func verdicts() async throws {
        try await withSession { database, connection, session async throws in
            let good = try await database.addReporter()
            let revoked = try await database.addReporter()
            let expired = try await database.addReporter()
            let inactive = try await database.addReporter()
            let gone = try await database.addReporter()
            let foreign = Reporter(user: try await database.addUser(.pipeline), signIn: good.signIn)
            try await database.query(
                "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(revoked.signIn)")
            try await database.query("UPDATE app.auth_sessions SET expires_at = now() WHERE id = \(expired.signIn)")
            try await database.query("UPDATE app.users SET is_active = false WHERE id = \(inactive.user)")
            try await database.query("DELETE FROM app.users WHERE id = \(gone.user)")
            let reporters = [good, revoked, expired, inactive, gone, foreign]
            // The last three have no caller.
            let callers: [Int32?] = [1, 2, 3, 4, 5, 6, 7, 0, nil]
            let answers = try await connection.reportBatch(
                callers.map { _ in (session, Report("no status", nil, 10)) }, by: reporters, callers: callers)
            let signedOut = ReportAnswer.refusal("28000", "signed_out")
            #expect(
                answers == [
                    .refusal("22023", "unknown_status"), signedOut, signedOut,
                    .refusal("28000", "inactive"), signedOut, signedOut, signedOut, signedOut, signedOut,
                ])
            #expect(
                try await connection.reportBatch(
                    callers.map { _ in (session, Report("transcribing", 10)) }, by: reporters, callers: callers
                ).compactMap(\.code).count == 8)
        }
    }

    @Test("A caller without the right locks nothing")
    func locksNothing() async throws {
        try await withSession { database, connection, session async throws in
            let reporter = try await database.addReporter(.patient)
            try await database.withConnection { other in
                try await other.executeScript("BEGIN")
                _ = try await other.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session) FOR UPDATE")
                _ = try await other.query("SELECT FROM app.users FOR UPDATE")
                let answers = try await connection.reportBatch([(session, Report("transcribing", 10))], by: [reporter])
                #expect(answers.map(\.code) == ["42501"])
                try await other.executeScript("ROLLBACK")
            }
        }
    }

    /// The race between a revocation and a report that waits for its session.
    @Test(
        "A right that ends while the batch waits for a session is gone",
        arguments: [
            ("UPDATE app.auth_sessions SET revoked_at = now()", "signed_out"),
            ("UPDATE app.users SET is_active = false", "inactive"),
        ])
    func revokedWhileWaiting(change: String, verdict: String) async throws {
        try await withSession { database, connection, session async throws in
            let reporter = try await database.addReporter()
            try await database.withConnection { other in
                try await other.executeScript("BEGIN")
                _ = try await other.query(
                    "SELECT FROM app.session_progress WHERE session_id = \(session) FOR NO KEY UPDATE")
                async let answers = connection.reportBatch([(session, Report("transcribing", 10))], by: [reporter])
                try await database.untilSomeoneWaitsForALock()
                try await database.query(PostgresQuery(unescaped: change))
                try await other.executeScript("COMMIT")
                #expect(try await answers == [.refusal("28000", verdict)])
            }
            #expect(try await database.withConnection { try await $0.progress(of: session).version } == 1)
        }
    }

    /// The race between a revocation that is about to commit, and a report that is about to commit.
    @Test("A batch waits for a revocation that has begun, and a later revocation waits for the batch")
    func revocationInProgress() async throws {
        try await withSession { database, connection, session async throws in
            let reporter = try await database.addReporter()
            let beside = try await database.addReporter()
            try await database.withConnection { other in
                try await other.executeScript("BEGIN")
                _ = try await other.query(
                    "UPDATE app.users SET is_active = false WHERE id = \(reporter.user)")
                async let answers = connection.reportBatch(
                    [(session, Report("transcribing", 10)), (session, Report("transcribing", 20))],
                    by: [reporter, beside], callers: [1, 2])
                try await database.untilSomeoneWaitsForALock()
                try await other.executeScript("COMMIT")
                #expect(try await answers == [.refusal("28000", "inactive"), .version(2)])

                try await connection.executeScript("BEGIN")
                #expect(
                    try await connection.reportBatch([(session, Report("transcribing", 30))], by: [beside])
                        == [.version(3)])
                async let revoked = other.execute(
                    "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(beside.signIn)")
                try await database.untilSomeoneWaitsForALock()
                try await connection.executeScript("COMMIT")
                #expect(try await revoked == 1)
            }
        }
    }

    @Test("Without waiting, a batch refuses a caller whom another transaction has locked")
    func heldCaller() async throws {
        try await withSession { database, connection, session async throws in
            let (held, free) = (try await database.addReporter(), try await database.addReporter())
            try await database.withConnection { other in
                try await other.executeScript("BEGIN")
                _ = try await other.query("UPDATE app.users SET full_name = 'x' WHERE id = \(held.user)")
                let answers = try await connection.reportBatch(
                    [(session, Report("transcribing", 10)), (session, Report("transcribing", 20))],
                    by: [held, free], callers: [1, 2], waits: false)
                #expect(answers.map(\.code) == ["55P03", nil])
                try await other.executeScript("ROLLBACK")
            }
        }
    }
}
