import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Single reports: what changes something, what does not, and what is refused.
@Suite(.deadline) struct ReportTests {
    /// A session at transcribing, 45 %, in its second attempt.
    private func withSession(
        _ body: @escaping @Sendable (TestDatabase, PostgresConnection, SessionID) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .failed)
                try await connection.report(Report("pending", 0), session)
                try await connection.report(
                    Report("transcribing", 45, message: "Half way", estimate: 30, attempt: 2), session)
                try await body(database, connection, session)
            }
        }
    }

    @Test(
        "a report that is late, goes back or says nothing new leaves all as it is and notifies nobody",
        arguments: [
            Report("the attempt before, further on", "transcribing", 99, attempt: 1),
            Report("the attempt before, failing", "failed", 45, error: "I give up", attempt: 1),
            Report("the attempt before, with what is forbidden now", "uploading", 5, attempt: 1),
            Report("a lower percentage", "transcribing", 44, estimate: 30),
            Report("a lower percentage with a message", "transcribing", 44, message: "Late"),
            Report("the same without a message", "transcribing", 45, estimate: 30),
            Report("the same in full", "transcribing", 45, message: "Half way", estimate: 30, attempt: 2),
            Report("an error while not failed", "transcribing", 45, error: "oops", estimate: 30),
        ])
    func stale(report: Report) async throws {
        try await withSession { database, connection, session in
            let before = try await connection.progress(of: session)
            let updated = try await Self.updatedAt(connection, session)
            try await withNotifications(of: database) { notifications async throws in
                #expect(try await database.query(report.query(of: session), as: "therapybridge_pipeline").count == 1)
                #expect(try await notifications.heard() == [])
            }
            #expect(try await connection.report(report, session) == before.version)
            #expect(try await connection.progress(of: session) == before)
            #expect(try await Self.updatedAt(connection, session) == updated)
            #expect(try await connection.transitions(of: session).last?.0 == before.version)
        }
    }

    @Test("an UPDATE that goes back or changes nothing touches no row")
    func staleUpdates() async throws {
        try await withSession { _, connection, session in
            for change in ["progress = 44", "progress = 45", "attempt = 1, progress = 99", "message = 'Half way'"] {
                let touched = try await connection.execute(
                    "UPDATE app.session_progress SET \(unescaped: change) WHERE session_id = \(session)")
                #expect(touched == 0, "\(change)")
            }
        }
    }

    @Test(
        "each change counts once",
        arguments: [
            Report("a greater percentage", "transcribing", 46, estimate: 30),
            Report("another message", "transcribing", 45, message: "Still at it", estimate: 30),
            Report("another estimate", "transcribing", 45, estimate: 29),
            Report("no estimate any more", "transcribing", 45),
            Report("a transition", "diarizing", 45),
            Report("a failure", "failed", 45, error: "no"),
        ])
    func changes(report: Report) async throws {
        try await withSession { _, connection, session in
            let before = try await connection.progress(of: session)
            #expect(try await connection.report(report, session) == before.version + 1)
            #expect(try await connection.progress(of: session).version == before.version + 1)
        }
    }

    @Test(
        "a transition takes the greater progress",
        arguments: [
            (Report("lower", "diarizing", 30), 45), (Report("higher", "diarizing", 50), 50),
            (Report("zero", "transcribed", 0), 45), (Report("failed at zero", "failed", 0), 45),
        ])
    func greaterProgress(report: Report, expected: Int) async throws {
        try await withSession { _, connection, session in
            try await connection.report(report, session)
            #expect(try await connection.progress(of: session).progress == expected)
        }
    }

    @Test("processed is 100 %, with no time remaining and no error")
    func processed() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribed)
                try await connection.report(Report("processed", 70, error: "x", estimate: 9), session)
                let row = try await connection.progress(of: session)
                #expect(row.progress == 100 && row.estimate == nil && row.error == nil)
            }
        }
    }

    @Test("a message of one status says nothing of the next, and one that is left out stays within a status")
    func messages() async throws {
        try await withSession { _, connection, session in
            try await connection.report(Report("transcribing", 50), session)
            #expect(try await connection.progress(of: session).message == "Half way")
            try await connection.report(Report("diarizing", 50), session)
            #expect(try await connection.progress(of: session).message == nil)
        }
    }

    @Test(
        "what is out of range raises 22023",
        arguments: [
            Report("progress below 0", "transcribing", -1), Report("progress above 100", "transcribing", 101),
            Report("progress beyond a smallint", "transcribing", 40_000), Report("no progress", "transcribing", nil),
            Report("no status", nil, 50), Report("a status that is none", "sleeping", 50),
            Report("a status in capitals", "TRANSCRIBING", 50),
            Report("a negative estimate", "transcribing", 50, estimate: -1),
            Report("attempt 0", "transcribing", 50, attempt: 0),
        ])
    func outOfRange(report: Report) async throws {
        try await withSession { _, connection, session in
            let before = try await connection.progress(of: session)
            #expect(try await connection.refusal(of: report.query(of: session)) == .invalidParameterValue)
            #expect(try await connection.progress(of: session) == before)
        }
    }

    @Test("an unknown session raises P0002, an attempt that has not begun 23514")
    func unknown() async throws {
        try await withSession { _, connection, session async throws in
            let report = Report("transcribing", 50)
            #expect(try await connection.refusal(of: report.query(of: .random())) == .noDataFound)
            let ahead = Report("transcribing", 50, attempt: 3)
            #expect(try await connection.refusal(of: ahead.query(of: session)) == .checkViolation)
        }
    }

    @Test(
        "message and error keep their first 2,000 characters, whatever these weigh in bytes",
        arguments: ["a", "ä", "🧠"])
    func longWords(character: String) async throws {
        try await withSession { _, connection, session in
            let long = String(repeating: character, count: 2001)
            try await connection.report(Report("failed", 45, message: long, error: long), session)
            let row = try await connection.progress(of: session)
            #expect(row.message == String(repeating: character, count: 2000))
            #expect(row.error == row.message)
        }
    }

    @Test("control characters become spaces, so that words stay on one line")
    func controlCharacters() async throws {
        try await withSession { _, connection, session in
            let words = "one\r\n\ttwo\u{1b}[31m\u{7f}three\u{0b}\u{01}four"
            try await connection.report(Report("failed", 45, message: words, error: words), session)
            let row = try await connection.progress(of: session)
            #expect(row.message == "one two [31m three four")
            #expect(row.error == row.message)
        }
    }

    @Test("a failure has an error: its own, else its message, else a fixed text; and nothing else has one")
    func errors() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection async throws in
                func error(_ report: Report) async throws -> String? {
                    let session = try await connection.addSession(in: .transcribing)
                    try await connection.report(report, session)
                    return try await connection.progress(of: session).error
                }
                #expect(try await error(Report("failed", 10, message: "m", error: "e")) == "e")
                #expect(try await error(Report("failed", 10, message: "m")) == "m")
                #expect(try await error(Report("failed", 10))?.isEmpty == false)
                #expect(try await error(Report("failed", 10, error: "\n"))?.isEmpty == false)
                #expect(try await error(Report("diarizing", 10, error: "e")) == nil)
            }
        }
    }

    private static func updatedAt(_ connection: PostgresConnection, _ session: SessionID) async throws -> Timestamp {
        try await connection.query("SELECT updated_at FROM app.session_progress WHERE session_id = \(session)")[0]
            .decode(0, as: Timestamp.self)
    }
}
