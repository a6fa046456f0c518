import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// A transition from one status to another.
struct Step: Hashable, CustomStringConvertible {
    var from: SessionStatus
    var to: SessionStatus
    var description: String { "\(from.rawValue)→\(to.rawValue)" }
}

/// The state machine of docs/pipeline.md, "Statuses", against every pair of statuses.
@Suite(.deadline) struct StateMachineTests {
    /// The allowed transitions, written by hand.
    private static let allowed: Set<Step> = {
        let table: [(SessionStatus, [SessionStatus])] = [
            (.pending, [.uploading, .preprocessing, .transcribing]),
            (.uploading, [.pending]),
            (.preprocessing, [.transcribing]),
            (.transcribing, [.diarizing, .transcribed]),
            (.diarizing, [.transcribed]),
            (.transcribed, [.extractingNotes, .processed]),
            (.extractingNotes, [.processed]),
            (.failed, [.pending]),
            (.processed, [.pending]),
        ]
        let unfinished = SessionStatus.allCases.filter { $0 != .processed && $0 != .failed }
        return Set(table.flatMap { from, all in all.map { Step(from: from, to: $0) } })
            .union(unfinished.map { Step(from: $0, to: .failed) })
    }()

    private static let steps = SessionStatus.allCases.flatMap { from in
        SessionStatus.allCases.filter { $0 != from }.map { Step(from: from, to: $0) }
    }

    @Test("The database and Swift have the same statuses with the same floors, and the same ones are finished")
    func statuses() async throws {
        try await withDatabase { database in
            let rows = try await database.query("SELECT status, is_finished, floor FROM app.statuses")
            #expect(rows.count == SessionStatus.allCases.count)
            for row in rows {
                let status = try row.decode("status", as: SessionStatus.self)
                #expect(try row.decode("is_finished", as: Bool.self) == status.isFinished, "\(status)")
                #expect(try Int(row.decode("floor", as: Int16.self)) == status.floor, "\(status)")
            }
        }
    }

    @Test("A status is one of a wait, of a stage, or finished, as the table has it")
    func kinds() async throws {
        try await withDatabase { database in
            let rows = try await database.query(
                """
                SELECT status, is_finished, app.is_waiting(status), app.is_at_stage(status) FROM app.statuses
                ORDER BY status
                """)
            for (status, isFinished, isWaiting, isAtStage) in try rows.decode((String, Bool, Bool, Bool).self) {
                #expect(isAtStage == (!isFinished && !isWaiting), "\(status)")
                #expect(isWaiting == ["uploading", "pending"].contains(status), "\(status)")
            }
        }
    }

    @Test("report_progress allows the documented transitions, and raises 23514 for every other")
    func matrixByReport() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await check(connection) { session, status in
                    Report(status.rawValue, 30).query(of: session)
                }
            }
        }
    }

    @Test("A plain UPDATE by the owner obeys the same transitions")
    func matrixByUpdate() async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                try await check(connection) { session, status in
                    "UPDATE app.session_progress SET status = \(status) WHERE session_id = \(session)"
                }
            }
        }
    }

    private func check(
        _ connection: PostgresConnection, write: (SessionID, SessionStatus) -> PostgresQuery
    ) async throws {
        var permitted: Set<Step> = []
        for step in Self.steps {
            let session = try await connection.addSession(in: step.from)
            let before = try await connection.progress(of: session)
            try #require(before.status == step.from)
            let refusal = try await connection.refusal(of: write(session, step.to))
            let after = try await connection.progress(of: session)
            let transitions = try await connection.transitions(of: session)
            if refusal == nil {
                permitted.insert(step)
                #expect(after.status == step.to, "\(step)")
                #expect(after.version == before.version + 1, "\(step)")
                #expect(transitions.last?.0 == after.version, "\(step)")
                #expect(transitions.last?.1 == step.to, "\(step)")
            } else {
                #expect(refusal == .checkViolation, "\(step)")
                #expect(after == before, "\(step)")
                #expect(transitions.last?.0 == before.version, "\(step)")
            }
        }
        #expect(permitted.subtracting(Self.allowed) == [], "the database permits more than the table")
        #expect(Self.allowed.subtracting(permitted) == [], "the database refuses more than the table")
    }

    @Test("A new session is pending with 0 %, version 1 and attempt 1, and that is its first transition")
    func birth() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession()
                #expect(
                    try await connection.progress(of: session)
                        == ProgressRow(status: .pending, progress: 0, version: 1, attempt: 1))
                #expect(try await connection.transitions(of: session).map(\.0) == [1])
            }
        }
    }

    @Test("A row of progress cannot move to another session")
    func rowsStay() async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                let (one, other) = (try await connection.addSession(), try await connection.addSession())
                #expect(
                    try await connection.refusal(
                        of: "UPDATE app.session_progress SET session_id = \(other) WHERE session_id = \(one)")
                        == .checkViolation)
            }
        }
    }

    @Test("Only the guard sets version, attempt and creation time")
    func bookkeepingIsTheGuards() async throws {
        try await withDatabase { database in
            try await database.withOwner { connection in
                let session = try await connection.addSession()
                _ = try await connection.query(
                    """
                    UPDATE app.session_progress SET message = 'x', version = 77, created_at = 'epoch', updated_at = 'epoch'
                    WHERE session_id = \(session)
                    """)
                let row = try await connection.query(
                    """
                    SELECT version, created_at > 'epoch' AS is_created, updated_at >= created_at AS is_updated
                    FROM app.session_progress WHERE session_id = \(session)
                    """)[0]
                #expect(try row.decode("version", as: Int64.self) == 2)
                #expect(try row.decode("is_created", as: Bool.self))
                #expect(try row.decode("is_updated", as: Bool.self))
            }
        }
    }
}
