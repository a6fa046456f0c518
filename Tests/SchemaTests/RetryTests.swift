import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Retries and takeovers.
@Suite(.deadline) struct RetryTests {
    @Test(
        "A retry sets the session to pending, with the next attempt and the share of the upload",
        arguments: [
            "SELECT app.retry_session($1)", "SELECT app.report_progress($1, 'pending', 77)",
            "UPDATE app.session_progress SET status = 'pending', progress = 77 WHERE session_id = $1",
        ])
    func retry(statement: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .failed, at: 42, recording: "key")
                let before = try await connection.progress(of: session)
                var bindings = PostgresBindings()
                bindings.append(session)
                _ = try await connection.query(PostgresQuery(unescaped: statement, bindings: bindings))
                let after = try await connection.progress(of: session)
                #expect(after.status == .pending)
                #expect(after.attempt == before.attempt + 1)
                #expect(after.progress == 20)
                #expect(after.error == nil)
                #expect(after.version == before.version + 1)
                #expect(try await connection.transitions(of: session).last?.0 == after.version)
            }
        }
    }

    @Test("A retry of a session without a recording begins at 0 %")
    func retryWithoutRecording() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .failed, at: 12)
                try await connection.report(Report("pending", 0), session)
                #expect(try await connection.progress(of: session).progress == 0)
            }
        }
    }

    @Test(
        "retry_session refuses a session that has not failed",
        arguments: SessionStatus.allCases.filter { $0 != .failed })
    func notFailed(status: SessionStatus) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: status, recording: "key")
                #expect(try await connection.refusal(of: "SELECT app.retry_session(\(session))") == .checkViolation)
            }
        }
    }

    @Test("retry_session refuses a session without a recording, and an unknown session")
    func nothingToRetry() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .failed)
                #expect(try await connection.refusal(of: "SELECT app.retry_session(\(session))") == .checkViolation)
                #expect(
                    try await connection.refusal(of: "SELECT app.retry_session(\(SessionID.random()))") == .noDataFound)
            }
        }
    }

    @Test("The server's role cannot retry without an acting user")
    func nobody() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession(in: .failed, recording: "key") }
            let refusal = try await database.withConnection(as: "therapybridge_server") {
                try await $0.refusal(of: "SELECT app.retry_session(\(session))")
            }
            #expect(refusal == .noDataFound)
        }
    }

    @Test(
        "A takeover keeps the status, raises the attempt, begins at the floor of the status, and is a transition",
        arguments: [
            (SessionStatus.uploading, 0...20), (.pending, 0...20), (.preprocessing, 20...20), (.transcribing, 20...20),
            (.diarizing, 20...60), (.transcribed, 60...60), (.extractingNotes, 60...60),
        ])
    func takeOver(status: SessionStatus, floor: ClosedRange<Int>) async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                let session = try await connection.addSession(in: status, at: 94, recording: "key")
                let before = try await connection.progress(of: session)
                let touched = try await connection.execute(
                    "UPDATE app.session_progress SET attempt = attempt + 1 WHERE session_id = \(session)")
                #expect(touched == 1)
                let after = try await connection.progress(of: session)
                #expect(after.status == status)
                #expect(after.attempt == 2)
                #expect(floor.contains(after.progress))
                #expect(after.version == before.version + 1)
                #expect(try await connection.transitions(of: session).last?.0 == after.version)
            }
        }
    }

    @Test("A finished session cannot be taken over", arguments: [SessionStatus.processed, .failed])
    func finished(status: SessionStatus) async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                let session = try await connection.addSession(in: status, recording: "key")
                #expect(
                    try await connection.refusal(
                        of: "UPDATE app.session_progress SET attempt = attempt + 1 WHERE session_id = \(session)")
                        == .checkViolation)
            }
        }
    }

    @Test("An attempt cannot be skipped")
    func noSkipping() async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                let session = try await connection.addSession(in: .transcribing)
                #expect(
                    try await connection.refusal(
                        of: "UPDATE app.session_progress SET attempt = attempt + 2 WHERE session_id = \(session)")
                        == .checkViolation)
            }
        }
    }
}
