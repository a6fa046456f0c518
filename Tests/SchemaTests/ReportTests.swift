import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Single reports: changes, stale reports and refusals.
@Suite(.deadline) struct ReportTests {
    /// Lends a session that is transcribing at 45 % in its second attempt.
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
        "A stale report changes nothing and announces nothing",
        arguments: [
            Report("a higher percentage of the former attempt", "transcribing", 99, attempt: 1),
            Report("a failure of the former attempt", "failed", 45, error: "I give up", attempt: 1),
            Report("a forbidden transition of the former attempt", "uploading", 5, attempt: 1),
            Report("a lower percentage", "transcribing", 44, estimate: 30),
            Report("a lower percentage with a message", "transcribing", 44, message: "Late"),
            Report("the same without a message", "transcribing", 45, estimate: 30),
            Report("the same with all values", "transcribing", 45, message: "Half way", estimate: 30, attempt: 2),
            Report("an error without a failure", "transcribing", 45, error: "oops", estimate: 30),
        ])
    func stale(report: Report) async throws {
        try await withSession { database, connection, session in
            let before = try await connection.progress(of: session)
            let updated = try await Self.updatedAt(connection, session)
            try await withNotifications(of: database) { notifications async throws in
                #expect(try await database.query(report.query(of: session), as: "therapybridge_pipeline").count == 1)
                #expect(try await notifications.received() == [])
            }
            #expect(try await connection.report(report, session) == before.version)
            #expect(try await connection.progress(of: session) == before)
            #expect(try await Self.updatedAt(connection, session) == updated)
            #expect(try await connection.transitions(of: session).last?.0 == before.version)
        }
    }

    @Test("An UPDATE that goes back or changes nothing touches no row")
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
        "Each change raises the version by one",
        arguments: [
            Report("a greater percentage", "transcribing", 46, estimate: 30),
            Report("another message", "transcribing", 45, message: "Still at it", estimate: 30),
            Report("another estimate", "transcribing", 45, estimate: 29),
            Report("no estimate", "transcribing", 45),
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
        "A transition takes the greater progress",
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

    @Test("A processed session has 100 %, no estimate and no error")
    func processed() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: .transcribed)
                try await connection.report(Report("processed", 70, error: "x", estimate: 9), session)
                let row = try await connection.progress(of: session)
                #expect(row.progress == 100)
                #expect(row.estimate == nil)
                #expect(row.error == nil)
            }
        }
    }

    @Test("A report without a message keeps the message of its status, and a transition clears it")
    func messages() async throws {
        try await withSession { _, connection, session in
            try await connection.report(Report("transcribing", 50), session)
            #expect(try await connection.progress(of: session).message == "Half way")
            try await connection.report(Report("diarizing", 50), session)
            #expect(try await connection.progress(of: session).message == nil)
        }
    }

    @Test(
        "A value out of range raises 22023",
        arguments: [
            Report("progress below 0", "transcribing", -1), Report("progress above 100", "transcribing", 101),
            Report("progress beyond a smallint", "transcribing", 40_000), Report("no progress", "transcribing", nil),
            Report("no status", nil, 50), Report("an unknown status", "sleeping", 50),
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

    @Test("An unknown session raises P0002, and an attempt that has not begun raises 23514")
    func unknown() async throws {
        try await withSession { _, connection, session async throws in
            let report = Report("transcribing", 50)
            #expect(try await connection.refusal(of: report.query(of: .random())) == .noDataFound)
            let ahead = Report("transcribing", 50, attempt: 3)
            #expect(try await connection.refusal(of: ahead.query(of: session)) == .checkViolation)
        }
    }

    @Test(
        "Message and error keep their first 2,000 characters, whatever their size in bytes",
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

    @Test("Control characters become one space")
    func controlCharacters() async throws {
        try await withSession { _, connection, session in
            let words = "one\r\n\ttwo\u{1b}[31m\u{7f}three\u{0b}\u{01}four"
            try await connection.report(Report("failed", 45, message: words, error: words), session)
            let row = try await connection.progress(of: session)
            #expect(row.message == "one two [31m three four")
            #expect(row.error == row.message)
        }
    }

    @Test("A failed session has its error, its message or a fixed text as error, and no other session has an error")
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
