import Domain
import Foundation
import Glibc
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Claims, leases and takeovers of sessions, and the interruption of a worker.
@Suite(.deadline) struct WorkerLeaseTests {
    @Test("A worker that receives SIGTERM releases its session, and the next claim is a takeover")
    func stopped() async throws {
        try await withInterruptedWorker { worker, database in
            let lease = try await database.query("SELECT leased_until FROM app.session_leases")[0]
                .decode(0, as: Timestamp.self)
            try worker.terminate()
            // Only a release shortens a lease.
            try await eventually("the lease is shortened") {
                try await !database.query("SELECT FROM app.session_leases WHERE leased_until < \(lease)").isEmpty
            }
        }
    }

    @Test("After a worker is killed and its lease has run out, another worker takes the session over")
    func killed() async throws {
        try await withInterruptedWorker { worker, database in
            try worker.kill()
            #expect(try await database.query("SELECT * FROM app.claim_session('x', '1 minute')").isEmpty)
            try await database.query(
                "UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 second'")
        }
    }

    /// Lends a worker in a process of its own in the middle of a stage, and interrupts it.
    ///
    /// A second worker must then finish the session.
    private func withInterruptedWorker(
        _ interrupt: @escaping @Sendable (RunningProgram, TestDatabase) async throws -> Void
    ) async throws {
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let uploads = URL(filePath: folder.uploads)
                let environment = [
                    "PIPELINE_STAGE_WRITES": folder.path,
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.waits),
                    "UPLOAD_DIR": uploads.path(percentEncoded: false),
                ]
                let settings = TestServer.settings(over: database, uploads: uploads).merging(environment) { $1 }
                let (patient, session) = try await withRunningProgram("work", environment: settings) { worker in
                    try await withServer(over: database, environment) { server in
                        let scene = try await WorkerScene(server)
                        let session = try await scene.upload()
                        try await folder.wait(for: "begun")
                        try await interrupt(worker, database)
                        return (scene.patient, session)
                    }
                }
                try folder.touch("go")
                try await expectTakenOver(patient, session, database, environment)
            }
        }
    }

    /// Starts a second worker and checks that it finishes the session.
    private func expectTakenOver(
        _ patient: UserID, _ session: SessionID, _ database: TestDatabase, _ environment: [String: String]
    ) async throws {
        try await withServer(over: database, environment, runsWorker: true) { server in
            let events = try await server.watchToEnd(session, token: server.token(patient))
            #expect(events.last?.event == "complete")
            #expect(try events.last?.json()["attempt"] as? Int == 2)
            // The takeover keeps the status, starts the stage again, and counts as a transition.
            let takeover = try #require(try events.first { try $0.json()["attempt"] as? Int == 2 })
            #expect(takeover.status == "transcribing")
            #expect(takeover.progress == 20)
        }
        #expect(
            try await database.history(of: session) == [
                "pending 1", "uploading 1", "pending 1", "preprocessing 1", "transcribing 1", "transcribing 2",
                "transcribed 2", "processed 2",
            ])
    }

    @Test("A worker whose session was taken over leaves it alone and claims the next one")
    func replaced() async throws {
        try await withWorkerScene(transcribing: Script.runsOnAtFirst()) { scene, folder in
            let taken = try await scene.upload()
            try await folder.wait(for: "begun")
            // The lease runs out before the worker extends it, and another worker claims the session.
            // Both happen in one transaction: a report of the worker in between would extend the lease.
            let attempt = try await scene.database.withConnection { connection in
                try await connection.withTransaction { connection in
                    _ = try await connection.query(
                        "UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 second'")
                    return try await connection.query("SELECT attempt FROM app.claim_session('another', '1 hour')")
                        .first?
                        .decode("attempt", as: Int32.self)
                }
            }
            #expect(attempt == 2)
            let next = try await scene.upload()
            #expect(try await scene.watchToEnd(next).last?.event == "complete")
            // The former worker's reports are stale.
            let state = try await scene.get("/status", taken).json()
            #expect(state["status"] as? String == "transcribing")
            #expect(state["attempt"] as? Int == 2)
            #expect(state["progress"] as? Int == 20)
            #expect(try await scene.metrics().value("therapybridge_pipeline_leases_lost_total") == 1)
        }
    }

    @Test("A worker whose lease ran out goes on if no other worker has claimed the session")
    func ranOut() async throws {
        try await withWorkerScene(transcribing: Script.waits) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await scene.database.query(
                "UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 second'")
            try folder.touch("go")
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            #expect(try await scene.history(of: session).last == "processed 1")
            #expect(try await scene.get("/transcript", session).json()["text"] as? String == "good morning")
        }
    }

    @Test("Deleting a session ends its stage, and the worker claims the next session")
    func deleted() async throws {
        try await withWorkerScene(transcribing: Script.runsOnAtFirst()) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            #expect(!folder.processes.isEmpty)
            let response = try await scene.server.request(.DELETE, "/api/sessions/\(session)", token: scene.token)
            #expect(response.status == 204)
            try await eventually("the stage is gone") { folder.processes.isEmpty }
            #expect(try await scene.get("/status", session).status == 404)
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: scene.server.uploads.path(percentEncoded: false))
                    .isEmpty)
            #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
        }
    }

    @Test("A failure that is reported by hand ends the work on the session")
    func failedByHand() async throws {
        try await withWorkerScene(transcribing: Script.runsOnAtFirst()) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            // An operator needs no lease.
            try await scene.database.query(
                "SELECT app.report_progress(\(session.rawValue), 'failed', 0, NULL, 'Wrong patient.')")
            #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(try last.json()["error"] as? String == "Wrong patient.")
        }
    }

    /// A second run of the same recording would fail the session.
    @Test("Two workers share the queue and never work on the same session")
    func twoWorkers() async throws {
        let script = """
            mkdir "$folder/$TB_SESSION_ID" || { echo 'Twice!' >&2; exit 1; }
            echo '{"result": \(Script.transcript)}'
            """
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let environment = [
                    "PIPELINE_STAGE_WRITES": folder.path,
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
                    "UPLOAD_DIR": folder.uploads,
                ]
                try await withServer(over: database, environment, runsWorker: true) { server in
                    try await withServer(over: database, environment, runsWorker: true) { _ in
                        let scene = try await WorkerScene(server)
                        try await withThrowingTaskGroup(of: SessionID.self) { uploads in
                            for _ in 0..<16 { uploads.addTask { try await scene.upload() } }
                            for try await session in uploads {
                                #expect(try await scene.watchToEnd(session).last?.event == "complete")
                                #expect(try await scene.history(of: session).last == "processed 1")
                            }
                        }
                    }
                }
            }
        }
    }

    @Test("A crash of PostgreSQL in the middle of a stage loses no result")
    func crash() async throws {
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.waits),
            ]
            try await withOwnCluster { database in
                try await withServer(over: database, environment, runsWorker: true) { server in
                    let scene = try await WorkerScene(server)
                    let session = try await scene.upload()
                    try await folder.wait(for: "begun")
                    // The stage ends while the database is down. The worker keeps the result until the database is
                    // back.
                    try await database.cluster.stop(mode: .immediate)
                    try folder.touch("go")
                    try await database.cluster.start()
                    #expect(try await scene.watchToEnd(session).last?.event == "complete")
                    #expect(try await scene.history(of: session).last == "processed 1")
                    #expect(try await scene.get("/transcript", session).json()["text"] as? String == "good morning")
                    // The worker still claims the next session.
                    #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                }
            }
        }
    }
}
