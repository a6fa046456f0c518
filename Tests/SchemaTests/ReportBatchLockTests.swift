import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import Testing

/// Batches that run at the same time as other batches and other writers of progress.
@Suite struct ReportBatchLockTests {
    @Test(
        "Concurrent batches, single reports and claims of the same sessions never deadlock, and lose no report")
    func noDeadlock() async throws {
        try await withDatabase { database in
            try await database.letBatchesWait()
            let reporter = try await database.addReporter()
            let sessions = try await database.withConnection { connection in
                var sessions: [SessionID] = []
                for _ in 0..<12 { sessions.append(try await connection.addSession(in: .transcribing)) }
                // Sessions for the workers to claim.
                for _ in 0..<4 { _ = try await connection.addSession(recording: "\(UUID())") }
                return sessions
            }
            let versions = try await withThrowingTaskGroup(of: [(SessionID, Int)].self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        try await database.withConnection(as: "therapybridge_server") { connection in
                            var versions: [(SessionID, Int)] = []
                            for turn in 0..<15 {
                                // Each writer has its own order, and each session comes twice.
                                let order = sessions.indices.map {
                                    sessions[(writer.isMultiple(of: 2) ? $0 : sessions.count - 1 - $0 + writer) % 12]
                                }
                                let reports = (order + order.reversed()).enumerated().map {
                                    ($1, Report("transcribing", 30, message: "\(writer), \(turn), \($0)"))
                                }
                                let answers = try await connection.reportBatch(
                                    reports.map { ($0, $1) }, by: [reporter], waits: true)
                                for (report, answer) in zip(reports, answers) {
                                    if case .version(let version) = answer { versions.append((report.0, version)) }
                                }
                            }
                            return versions
                        }
                    }
                }
                group.addTask {
                    try await database.withConnection(as: "therapybridge_pipeline") { connection in
                        var versions: [(SessionID, Int)] = []
                        for turn in 0..<100 {
                            let session = sessions[turn % 12]
                            let report = Report("transcribing", 30, message: "single \(turn)")
                            versions.append((session, try await connection.report(report, session)))
                            _ = try await connection.query("SELECT FROM app.claim_session('w', interval '1 s')")
                        }
                        return versions
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(versions.count == 8 * 15 * 24 + 100)
            for session in sessions {
                let own = versions.filter { $0.0 == session }.map(\.1).sorted()
                #expect(own == Array(3..<3 + own.count), "the versions have no gap")
            }
        }
    }

    @Test("Concurrent deletions make batches refuse the reports of the deleted sessions, and no others")
    func deletions() async throws {
        try await withDatabase { database in
            try await database.letBatchesWait()
            let reporter = try await database.addReporter()
            let sessions = try await database.withConnection { connection in
                var sessions: [SessionID] = []
                for _ in 0..<20 { sessions.append(try await connection.addSession(in: .transcribing)) }
                return sessions
            }
            let doomed = Set(sessions.prefix(10))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<3 {
                    group.addTask {
                        try await database.withConnection(as: "therapybridge_server") { connection async throws in
                            var gone: Set<SessionID> = []
                            for turn in 0... {
                                let order = writer == 0 ? sessions : sessions.reversed()
                                let answers = try await connection.reportBatch(
                                    order.map { ($0, Report("transcribing", 30, message: "\(writer), \(turn)")) },
                                    by: [reporter])
                                for (session, answer) in zip(order, answers) where answer.code != nil {
                                    #expect(answer.code == "P0002")
                                    gone.insert(session)
                                }
                                #expect(gone.isSubset(of: doomed))
                                if gone == doomed { break }
                            }
                        }
                    }
                }
                group.addTask {
                    for session in doomed {
                        try await database.query(
                            "DELETE FROM app.therapy_sessions WHERE id = \(session)")
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    /// The race between a deletion and a batch: the batch has read the session and waits for it.
    @Test("A batch that waits for a deletion refuses the deleted session and writes the others")
    func deletionCommits() async throws {
        try await withDatabase { database in
            try await database.letBatchesWait()
            let reporter = try await database.addReporter()
            try await database.withConnection { connection async throws in
                let (doomed, other) = (try await connection.addSession(), try await connection.addSession())
                try await connection.executeScript("BEGIN")
                _ = try await connection.query("DELETE FROM app.therapy_sessions WHERE id = \(doomed)")
                async let answers = database.withConnection(as: "therapybridge_server") {
                    try await $0.reportBatch(
                        [(doomed, Report("transcribing", 1)), (other, Report("transcribing", 2))], by: [reporter])
                }
                try await database.untilSomeoneWaitsForALock()
                try await connection.executeScript("COMMIT")
                #expect(try await answers == [.refusal("P0002", "unknown_session"), .version(2)])
            }
        }
    }

    @Test("A locked session fails a batch that waits, and only its own report in one that does not wait")
    func heldSession() async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            try await database.withConnection { connection async throws in
                let (held, free) = (try await connection.addSession(), try await connection.addSession())
                try await connection.executeScript("BEGIN")
                try await connection.report(Report("transcribing", 1), held)
                let reports: [(SessionID?, Report)] = [
                    (held, Report("transcribing", 2)), (free, Report("transcribing", 2)),
                    (held, Report("done", 2)), (.random(), Report("transcribing", 2)),
                ]
                try await database.withConnection(as: "therapybridge_server") { server async throws in
                    let error = await #expect(throws: PostgresError.self) {
                        try await server.reportBatch(reports, by: [reporter])
                    }
                    #expect(error?.sqlState == .lockNotAvailable)
                    let answers = try await server.reportBatch(reports, by: [reporter], waits: false)
                    #expect(answers.map(\.code) == ["55P03", nil, "22023", "P0002"])
                }
                try await connection.executeScript("COMMIT")
            }
        }
    }
}
