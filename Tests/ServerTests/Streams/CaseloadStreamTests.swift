import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "The stream of all sessions".
@Suite(.deadline) struct CaseloadStreamTests {
    /// The next poll comes after the end of every test.
    private static let notifyAlone = ["SSE_UPDATE_INTERVAL": "3600"]

    private func withScene(
        _ environment: [String: String] = notifyAlone, _ body: @escaping @Sendable (CaseloadScene) async throws -> Void
    ) async throws {
        try await withServer(environment) { try await body(CaseloadScene($0)) }
    }

    /// With NOTIFY alone, or without it.
    private func withScene(
        _ source: HintSource, _ body: @escaping @Sendable (CaseloadScene) async throws -> Void
    ) async throws {
        try await withScene(source.settings(interval: 3600), body)
    }

    private func sessions(_ events: [StreamedEvent]) -> Set<String> {
        Set(events.compactMap { try? $0.json()["session_id"] as? String })
    }

    @Test("The stream of all sessions begins with unfinished and failed sessions, and then sends ready")
    func beginning() async throws {
        try await withScene { scene in
            let pending = try await scene.database.addSession(of: scene.patients[0])
            let failed = try await scene.database.addSession(of: scene.patients[1])
            try await scene.database.report(failed, .failed, 0, error: "No sound")
            let done = try await scene.database.addSession(of: scene.patients[0])
            try await scene.finish(done)
            _ = try await scene.database.addSession(of: scene.stranger)
            try await scene.follow { events, _ in
                #expect(events.map(\.event) == ["progress", "error", "ready"])
                #expect(sessions(events) == [pending.description, failed.description])
                #expect(events.last?.data == "{}")
                let id = try #require(events.last?.id)
                #expect(id.wholeMatch(of: /[A-Za-z0-9._~-]{1,128}/) != nil)
            }
        }
    }

    @Test("The stream of all sessions goes on when a session is processed")
    func goesOn() async throws {
        try await withScene { scene in
            let first = try await scene.database.addSession(of: scene.patients[0])
            let second = try await scene.database.addSession(of: scene.patients[1])
            try await scene.follow { _, reader in
                var seen: [String] = []
                try await scene.finish(first)
                while seen.last != "processed" {
                    let event = try #require(try await reader.nextEvent())
                    #expect(sessions([event]) == [first.description])
                    #expect(event.event == (event.status == "processed" ? "complete" : "progress"))
                    seen.append(event.status ?? "")
                }
                #expect(seen == ["transcribing", "transcribed", "processed"])
                try await scene.database.report(second, .transcribing, 20)
                #expect(sessions([try await reader.next("progress")]) == [second.description])
            }
        }
    }

    /// The hint comes after the feed has read the end of the session.
    ///
    /// One stream in some hundred met this order by chance.
    @Test("A hint about a processed session does not add the session again")
    func hintAfterEnd() async throws {
        try await withScene { scene in
            let done = try await scene.database.addSession(of: scene.patients[0])
            let other = try await scene.database.addSession(of: scene.patients[1])
            try await scene.follow { _, reader in
                try await scene.finish(done)
                while try await reader.next()?.status != "processed" {}
                try await scene.database.query("SELECT pg_notify('tb_session_v1', '\(unescaped: "\(done) 99")')")
                try await scene.database.report(other, .transcribing, 20)
                #expect(sessions([try await reader.next("progress")]) == [other.description])
            }
        }
    }

    @Test(
        "The stream of all sessions shows added, retried and deleted sessions of the caller's patients",
        arguments: HintSource.allCases)
    func comingAndGoing(source: HintSource) async throws {
        try await withScene(source) { scene in
            try await scene.follow { _, reader in
                _ = try await scene.database.addSession(of: scene.stranger)
                let session = try await scene.database.addSession(of: scene.patients[0])
                #expect(sessions([try await reader.next("session_added")]) == [session.description])
                try await scene.database.report(session, .failed, 0, error: "No sound")
                #expect(try await reader.next("error").status == "failed")
                try await scene.database.retry(session)
                #expect(try await reader.next("session_added").status == "pending")
                try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(session.rawValue)")
                let removed = try await reader.next("session_removed")
                #expect(removed.data == "{\"session_id\":\"\(session)\"}")
            }
        }
    }

    @Test(
        "The stream of all sessions shows a processed session that is processed again as added",
        arguments: HintSource.allCases)
    func processedAgain(source: HintSource) async throws {
        try await withScene(source) { scene in
            let session = try await scene.database.addSession(of: scene.patients[0])
            try await scene.database.query(
                "UPDATE app.therapy_sessions SET recording = 'key' WHERE id = \(session.rawValue)")
            try await scene.follow { _, reader in
                for _ in 0..<2 {
                    try await scene.finish(session)
                    while try await reader.next()?.status != "processed" {}
                    try await scene.database.query("SELECT app.retry_session(\(session.rawValue), true)")
                    let added = try await reader.next("session_added")
                    #expect(sessions([added]) == [session.description])
                    #expect(added.status == "pending")
                }
            }
        }
    }

    @Test(
        "The stream of all sessions follows the assignments and shows no session of a former patient",
        arguments: HintSource.allCases)
    func assignments(source: HintSource) async throws {
        try await withScene(source) { scene in
            let kept = try await scene.database.addSession(of: scene.patients[0])
            let taken = try await scene.database.addSession(of: scene.patients[1])
            let done = try await scene.database.addSession(of: scene.patients[1])
            try await scene.finish(done)
            try await scene.follow { _, reader in
                try await scene.database.endAssignment(of: scene.therapist, to: scene.patients[1])
                let removed = [try await reader.next("session_removed"), try await reader.next("session_removed")]
                #expect(sessions(removed) == [taken.description, done.description])
                try await scene.database.report(taken, .transcribing, 20)
                try await scene.database.report(kept, .transcribing, 20)
                #expect(sessions([try await reader.next("progress")]) == [kept.description])

                try await scene.database.query("UPDATE app.therapist_patients SET is_active = true")
                let added = [try await reader.next("session_added"), try await reader.next("session_added")]
                #expect(sessions(added) == [taken.description, done.description])
                try await scene.database.report(taken, .transcribing, 30)
                #expect(try await reader.next("progress").progress == 30)
            }
        }
    }

    /// A correction of the session's patient.
    ///
    /// Users who see only the former patient lose the session.
    @Test(
        "A session that moves to another patient is removed from the stream of all sessions",
        arguments: HintSource.allCases)
    func moved(source: HintSource) async throws {
        try await withScene(source) { scene in
            let session = try await scene.database.addSession(of: scene.patients[0])
            let kept = try await scene.database.addSession(of: scene.patients[1])
            try await scene.follow { _, reader in
                try await scene.database.query(
                    """
                    UPDATE app.therapy_sessions SET patient_id = \(scene.stranger.rawValue)
                    WHERE id = \(session.rawValue)
                    """)
                let removed = try await reader.next("session_removed")
                #expect(removed.data == "{\"session_id\":\"\(session)\"}")
                try await scene.database.report(session, .transcribing, 20)
                // The rights change again, and the server reads the caseload again.
                try await scene.database.endAssignment(of: scene.therapist, to: scene.patients[0])
                try await scene.database.report(kept, .transcribing, 20)
                let next = try await reader.next("progress")
                #expect(try next.json()["session_id"] as? String == kept.description)
            }
        }
    }

    @Test("A sign-out ends the stream of all sessions with one revoked event", arguments: HintSource.allCases)
    func signedOut(source: HintSource) async throws {
        try await withScene(source) { scene in
            try await scene.follow { _, reader in
                let response = try await scene.server.request(.POST, "/api/auth/logout", token: scene.token)
                #expect(response.status == 204)
                let events = try await reader.rest()
                #expect(events.map(\.event) == ["revoked"])
                #expect(events.first?.data == "{}")
            }
        }
    }

    @Test(
        "The stream of all sessions resumes with every transition since, even of a late commit",
        arguments: HintSource.allCases)
    func resumption(source: HintSource) async throws {
        try await withScene(source) { scene in
            let first = try await scene.database.addSession(of: scene.patients[0])
            let late = try await scene.database.addSession(of: scene.patients[1])
            try await scene.database.withConnection { connection in
                // This transaction takes its number now and commits after others.
                try await connection.executeScript(
                    "BEGIN; SELECT app.report_progress('\(late)', 'transcribing', 20)")
                let id = try await scene.follow { _, reader in
                    try await scene.database.report(first, .transcribing, 20)
                    return try await reader.next("progress").id
                }
                try await connection.executeScript("COMMIT")
                try await scene.finish(first)
                let made = try await scene.database.addSession(of: scene.patients[0])
                let failed = try await scene.database.addSession(of: scene.patients[0])
                try await scene.database.report(failed, .failed, 0)
                try await scene.database.retry(failed)
                try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(made.rawValue)")

                try await scene.follow(lastEventID: id) { events, reader in
                    func said(of session: SessionID) -> [String] {
                        events.filter { sessions([$0]) == [session.description] }
                            .map { "\($0.event ?? "") \($0.status ?? "")" }
                    }
                    #expect(said(of: first) == ["progress transcribed", "complete processed"])
                    #expect(said(of: late) == ["progress transcribing"])
                    #expect(said(of: made) == ["session_removed "])
                    #expect(said(of: failed) == ["session_added pending", "progress failed", "progress pending"])
                    try await scene.database.report(late, .transcribed, 60)
                    #expect(try await reader.next("progress").status == "transcribed")
                }
            }
        }
    }

    @Test(
        "The stream of all sessions starts from the beginning after an unknown id",
        arguments: ["7", "a.b", "3.2", "99999999999.99999999999", "5.9.9", "0.0", "1.1.1.1.1", "-3.5", "%00"])
    func garbage(id: String) async throws {
        try await withScene { scene in
            let session = try await scene.database.addSession(of: scene.patients[0])
            try await scene.follow(lastEventID: id) { events, _ in
                #expect(events.map(\.event) == ["progress", "ready"])
                #expect(sessions(events) == [session.description])
            }
        }
    }

    @Test("The poll finds changes without a notification")
    func poll() async throws {
        try await withScene(["SSE_UPDATE_INTERVAL": "0.2"]) { scene in
            let session = try await scene.database.addSession(of: scene.patients[0])
            try await scene.database.query("ALTER TABLE app.session_progress DISABLE TRIGGER announce_progress")
            try await scene.database.query("ALTER TABLE app.session_progress DISABLE TRIGGER announce_first")
            try await scene.database.query("ALTER TABLE app.therapy_sessions DISABLE TRIGGER announce_deletion")
            try await scene.follow { _, reader in
                try await scene.database.report(session, .transcribing, 20)
                #expect(try await reader.next("progress").status == "transcribing")
                let version = try await scene.database.report(session, .transcribing, 30)
                #expect(try await reader.next("progress").version == Int(version))
                let other = try await scene.database.addSession(of: scene.patients[1])
                #expect(sessions([try await reader.next("session_added")]) == [other.description])
                try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(other.rawValue)")
                #expect(sessions([try await reader.next("session_removed")]) == [other.description])
            }
        }
    }

    @Test("An administrator follows every session, a patient the own sessions, and a pipeline none")
    func roles() async throws {
        try await withScene { scene in
            let first = try await scene.database.addSession(of: scene.patients[0])
            let second = try await scene.database.addSession(of: scene.stranger)
            let admin = try await scene.server.token(try await scene.database.addUser(.admin))
            let patient = try await scene.server.token(scene.stranger)
            let pipeline = try await scene.server.token(try await scene.database.addUser(.pipeline))
            try await scene.follow(as: admin) { events, reader in
                #expect(sessions(events) == [first.description, second.description])
                try await scene.database.report(second, .transcribing, 20)
                #expect(sessions([try await reader.next("progress")]) == [second.description])
            }
            try await scene.follow(as: patient) { events, _ in #expect(sessions(events) == [second.description]) }
            try await scene.follow(as: pipeline) { events, _ in #expect(events.count == 1) }
            #expect(try await scene.server.request(.GET, Clinic.streamOfAll, token: nil).status == 401)
        }
    }

    @Test("The stream of all sessions ends cleanly when the server stops")
    func shutdown() async throws {
        let (streams, opened) = AsyncStream.makeStream(of: Void.self)
        try await withDatabase { database in
            let reading = try await withServer(over: database, Self.notifyAlone) { server in
                let scene = try await CaseloadScene(server)
                let task = Task {
                    try await scene.follow { _, reader in
                        opened.yield()
                        return try await reader.rest()
                    }
                }
                _ = await streams.first { _ in true }
                return task
            }
            let rest = try await reading.value
            #expect(rest.map(\.event) == [nil])
            #expect((500...5000).contains(try #require(rest.first?.retry)))
        }
    }
}
