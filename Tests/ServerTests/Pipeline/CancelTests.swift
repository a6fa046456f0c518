import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// Cancellations, and how they, deletions and lost leases end a stage.
@Suite(.deadline) struct CancelTests {
    /// Says nothing: only a hint, or the regular look, ends the work on its session.
    private static let silent = """
        touch "$folder/begun"
        while [ ! -e "$folder/go" ]; do sleep 0.05; done
        echo '{"result": \(Script.transcript)}'
        """

    @Test("A cancelled session is failed with its reason, its stage ends, and a retry processes it")
    func cancel() async throws {
        try await withWorkerScene(transcribing: Self.silent) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            let response = try await scene.server.request(.POST, "/api/sessions/\(session)/cancel", token: scene.token)
            #expect(response.status == 202)
            #expect(try response.json()["status"] as? String == "failed")
            #expect(try response.json()["error"] as? String == "Cancelled")
            try await eventually("the stage is gone") { folder.processes.isEmpty }
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(last.event == "error")
            #expect(try last.json()["error"] as? String == "Cancelled")
            let again = try await scene.server.request(.POST, "/api/sessions/\(session)/cancel", token: scene.token)
            #expect(again.status == 409)

            try folder.touch("go")
            let retry = try await scene.server.request(.POST, "/api/sessions/\(session)/retry", token: scene.token)
            #expect(retry.status == 202)
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            let late = try await scene.server.request(.POST, "/api/sessions/\(session)/cancel", token: scene.token)
            #expect(late.status == 409)
        }
    }

    @Test("A deletion ends a stage that says nothing")
    func delete() async throws {
        try await withWorkerScene(transcribing: Self.silent) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            #expect(!folder.processes.isEmpty)
            #expect(
                try await scene.server.request(.DELETE, "/api/sessions/\(session)", token: scene.token).status == 204)
            try await eventually("the stage is gone") { folder.processes.isEmpty }
        }
    }

    /// A request that takes a session from its worker.
    enum Taking: CaseIterable {
        case cancel, delete

        func send(_ session: SessionID, _ scene: WorkerScene) async throws {
            let path = "/api/sessions/\(session)"
            switch self {
            case .cancel:
                #expect(try await scene.server.request(.POST, path + "/cancel", token: scene.token).status == 202)
            case .delete:
                #expect(try await scene.server.request(.DELETE, path, token: scene.token).status == 204)
            }
        }
    }

    @Test("Without LISTEN, a worker finds a session, and finds that it has lost it", arguments: Taking.allCases)
    func polled(taking: Taking) async throws {
        let settings = HintSource.poll.settings(interval: 2)
        try await withWorkerScene(transcribing: Self.silent, settings) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await taking.send(session, scene)
            try await eventually("the stage is gone") { folder.processes.isEmpty }
        }
    }

    /// The clock of the worker stands still, so that it looks at its lease at no other time.
    @Test("The notification of a cancellation or a deletion is enough to end a stage", arguments: Taking.allCases)
    func notified(taking: Taking) async throws {
        try await withWorkerScene(transcribing: Self.silent, clock: ManualClock()) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await taking.send(session, scene)
            try await eventually("the stage is gone") { folder.processes.isEmpty }
            // No other worker has the session.
            try await eventually("the end is counted") {
                try await scene.metrics().value("therapybridge_pipeline_sessions_total", ["outcome": "left"]) == 1
            }
            #expect(try await scene.metrics().value("therapybridge_pipeline_leases_lost_total") == 0)
        }
    }

    @Test("If the notification is lost, the next look of the worker ends the stage", arguments: Taking.allCases)
    func unnotified(taking: Taking) async throws {
        let clock = ManualClock()
        try await withWorkerScene(transcribing: Self.silent, clock: clock) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await scene.database.withConnection {
                try await $0.executeScript(
                    """
                    DROP TRIGGER announce_progress ON app.session_progress;
                    DROP TRIGGER announce_deletion ON app.therapy_sessions;
                    """)
            }
            try await taking.send(session, scene)
            #expect(!folder.processes.isEmpty)
            try await eventually("the stage is gone") {
                // Small steps: the limit of the stage's time is far away.
                clock.advance(by: .milliseconds(100))
                return folder.processes.isEmpty
            }
        }
    }

    @Test("A stage whose session another worker has ends without a notification")
    func lost() async throws {
        try await withWorkerScene(transcribing: Self.silent) { scene, folder in
            _ = try await scene.upload()
            try await folder.wait(for: "begun")
            // Nothing announces this change.
            try await scene.database.query("UPDATE app.session_leases SET lease_hash = sha256('another')")
            try await eventually("the stage is gone") { folder.processes.isEmpty }
        }
    }

    @Test("A cancelled upload does not become a recording")
    func upload() async throws {
        try await withServer { server in
            let scene = try await WorkerScene(server)
            let session = SessionID.random()
            try await scene.database.query(
                """
                INSERT INTO app.therapy_sessions (id, patient_id, uploaded_by, upload_id, upload_key)
                VALUES (\(session.rawValue), \(scene.patient.rawValue), \(scene.therapist.rawValue),
                        '00000000-0000-4000-8000-00000000000a', 'key-of-an-upload')
                """)
            try await scene.database.query("SELECT app.report_progress(\(session.rawValue), 'uploading', 7)")
            let response = try await scene.server.request(.POST, "/api/sessions/\(session)/cancel", token: scene.token)
            #expect(response.status == 202)
            let taken = try await scene.database.query(
                """
                SELECT app.report_upload(\(session.rawValue), '00000000-0000-4000-8000-00000000000a', 'uploading', 9,
                                         NULL, NULL) IS NULL
                """)[0].decode(0, as: Bool.self)
            #expect(taken)
            #expect(try await scene.history(of: session).last == "failed 1")
        }
    }

    @Test("With again, a processed session is processed once more, and its watchers see that")
    func again() async throws {
        try await withWorkerScene(transcribing: Script.transcribes) { scene, _ in
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            let path = "/api/sessions/\(session)/retry"
            let headers = ["Content-Type": "application/json"]
            #expect(try await scene.server.request(.POST, path, token: scene.token).status == 409)
            #expect(
                try await scene.server.request(
                    .POST, path, token: scene.token, headers: headers, body: Data(#"{"again": false}"#.utf8)
                ).status == 409)
            #expect(
                try await scene.server.request(
                    .POST, path, token: scene.token, headers: headers, body: Data(#"{"agian": true}"#.utf8)
                ).status == 422)
            let response = try await scene.server.request(
                .POST, path, token: scene.token, headers: headers, body: Data(#"{"again": true}"#.utf8))
            #expect(response.status == 202)
            #expect(try response.json()["status"] as? String == "pending")
            #expect(try response.json()["attempt"] as? Int == 2)
            // The earlier end is replayed as progress.
            let events = try await scene.watchToEnd(session)
            #expect(events.first { $0.status == "processed" }?.event == "progress")
            #expect(events.last?.event == "complete")
            #expect(try await scene.history(of: session).last == "processed 2")
        }
    }
}
