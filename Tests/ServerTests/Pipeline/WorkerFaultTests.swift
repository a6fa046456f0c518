import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// Faults of the installation: the queue waits, and no session fails for them.
@Suite(.deadline) struct WorkerFaultTests {
    @Test("A stage that exits with 75 keeps its sessions waiting, and the worker says that it pauses")
    func temporaryFailure() async throws {
        let port = try freePort()
        let log = LogMemory()
        let script = """
            [ -e "$folder/go" ] || { touch "$folder/tried"; exit 75; }
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                "METRICS_PORT": "\(port)", "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            try await withServer(environment, runsWorker: true, log: log) { server in
                let metrics = server.at(port: port)
                let scenes = try await [WorkerScene(server), WorkerScene(server)]
                var sessions: [(WorkerScene, SessionID)] = []
                for scene in scenes { sessions.append((scene, try await scene.upload())) }
                try await folder.wait(for: "tried")
                try await eventually("the worker pauses") { log.text.contains("worker pauses") }
                // Both stages have failed, and one of them again and again.
                try await eventually("a session came back") {
                    try Scrape(try await metrics.request(.GET, "/metrics").text)
                        .value("therapybridge_pipeline_faults_total", ["kind": "stage"]).map { $0 >= 3 } == true
                }
                let records = try await server.database.query(
                    "SELECT count(*) > count(DISTINCT session_id) AS repeats FROM app.stage_failures WHERE stage <> 'measure'"
                )
                #expect(try records[0].decode("repeats", as: Bool.self) == false)
                let ready = try await metrics.request(.GET, "/health/ready")
                #expect(ready.status == 200)
                let details = try #require(try ready.json()["details"] as? [[String: any Sendable]])
                let worker = try #require(details.first { $0["name"] as? String == "worker" })
                #expect(worker["ok"] as? Bool == false)
                let scrape = try Scrape(try await metrics.request(.GET, "/metrics").text)
                #expect(scrape.value("therapybridge_pipeline_paused") == 1)
                #expect((scrape.value("therapybridge_pipeline_faults_total", ["kind": "stage"]) ?? 0) >= 1)

                try folder.touch("go")
                for (scene, session) in sessions {
                    #expect(try await scene.watchToEnd(session).last?.event == "complete")
                    // The next claim is a takeover, and no attempt was used up on the way.
                    let history = try await scene.history(of: session)
                    #expect(!history.contains { $0.hasPrefix("failed") }, "\(history)")
                }
                try await eventually("the worker tells that it works again") {
                    try Scrape(try await metrics.request(.GET, "/metrics").text)
                        .value("therapybridge_pipeline_paused") == 0
                }
            }
        }
    }

    @Test("A session whose stage always exits with 75 does not hold up the other sessions of its patient")
    func oneFaultySession() async throws {
        let script = """
            if mkdir "$folder/first" 2>/dev/null; then echo "$TB_SESSION_ID" > "$folder/faulty"; fi
            [ "$TB_SESSION_ID" = "$(cat "$folder/faulty")" ] && exit 75
            \(Script.transcribes)
            """
        try await withWorkerScene(transcribing: script) { scene, folder in
            let faulty = try await scene.upload()
            try await folder.wait(for: "first")
            for _ in 0..<2 {
                let other = try await scene.upload()
                #expect(try await scene.watchToEnd(other).last?.event == "complete")
                #expect(try await scene.history(of: other).last == "processed 1")
            }
            // The session waits, and has used no attempt.
            let row = try await scene.database.query(
                """
                SELECT p.status, l.attempts_used FROM app.session_progress p
                JOIN app.session_leases l ON l.session_id = p.session_id WHERE p.session_id = \(faulty)
                """)[0]
            #expect(try row.decode("status", as: String.self) == "transcribing")
            #expect(try row.decode("attempts_used", as: Int32.self) == 0)
        }
    }

    @Test("A program that is missing for a while fails no session")
    func missingProgram() async throws {
        try await ScriptFolder.with { folder in
            let program = "\(folder.path)/later.sh"
            let environment = ["PIPELINE_TRANSCRIBE_COMMAND": "'\(program)'"]
            let log = LogMemory()
            try await withServer(environment, runsWorker: true, log: log) { server in
                let scene = try await WorkerScene(server)
                let session = try await scene.upload()
                try await eventually("the worker pauses") { log.text.contains("worker pauses") }
                let state = try await scene.get("/status", session).json()
                #expect(["preprocessing", "transcribing"].contains(state["status"] as? String))
                try Data("#!/bin/sh\n\(Script.transcribes)\n".utf8).write(to: URL(filePath: program))
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
                #expect(try await scene.watchToEnd(session).last?.event == "complete")
            }
        }
    }

    /// Three sessions whose recordings have been moved out of the server's folder.
    private struct MovedRecordings: Sendable {
        let database: TestDatabase
        let environment: [String: String]
        /// The server's folder.
        let uploads: String
        /// The folder where the recordings are.
        let away: String
        let patient: UserID
        let sessions: [SessionID]

        /// Runs a worker, and expects that it processes all sessions once `bringBack` has brought the recordings back.
        func expectProcessed(_ bringBack: @escaping @Sendable (LogMemory) async throws -> Void) async throws {
            let log = LogMemory()
            try await withServer(over: database, environment, runsWorker: true, log: log) { server in
                try await bringBack(log)
                let token = try await server.token(patient)
                for session in sessions {
                    #expect(try await server.watchToEnd(session, token: token).last?.event == "complete")
                    #expect(try await !database.history(of: session).contains { $0.hasPrefix("failed") })
                }
            }
        }
    }

    private func withMovedRecordings(_ body: (MovedRecordings) async throws -> Void) async throws {
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.transcribes),
                "UPLOAD_DIR": folder.uploads,
            ]
            try await withDatabase { database in
                let away = folder.uploads + ".away"
                let (patient, sessions) = try await withServer(over: database, environment) { server in
                    let scene = try await WorkerScene(server)
                    var sessions: [SessionID] = []
                    for _ in 0..<3 { sessions.append(try await scene.upload()) }
                    return (scene.patient, sessions)
                }
                try FileManager.default.moveItem(atPath: folder.uploads, toPath: away)
                try await body(
                    MovedRecordings(
                        database: database, environment: environment, uploads: folder.uploads, away: away,
                        patient: patient, sessions: sessions))
            }
        }
    }

    @Test("A folder of recordings that is away or empty for a while fails no session", arguments: [true, false])
    func recordingsAway(leavesEmptyFolder: Bool) async throws {
        try await withMovedRecordings { moved in
            try await moved.expectProcessed { log in
                // The server makes a folder that is missing at its start, as in a mount point.
                if !leavesEmptyFolder { try FileManager.default.removeItem(atPath: moved.uploads) }
                try await eventually("the worker pauses") { log.text.contains("worker pauses") }
                if leavesEmptyFolder { try FileManager.default.removeItem(atPath: moved.uploads) }
                try FileManager.default.moveItem(atPath: moved.away, toPath: moved.uploads)
            }
        }
    }

    @Test("A folder that has lost its file system fails no session, although an upload has gone into it since")
    func uploadsSince() async throws {
        try await withMovedRecordings { moved in
            try await withServer(over: moved.database, moved.environment) { _ = try await WorkerScene($0).upload() }
            try await moved.expectProcessed { log in
                try await eventually("the worker pauses") { log.text.contains("2 of 3 other recordings are missing") }
                for name in try FileManager.default.contentsOfDirectory(atPath: moved.away) {
                    try FileManager.default.moveItem(
                        atPath: "\(moved.away)/\(name)", toPath: "\(moved.uploads)/\(name)")
                }
            }
        }
    }

    @Test("A recording whose file alone is missing fails its session")
    func oneFileMissing() async throws {
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.transcribes),
                "UPLOAD_DIR": folder.uploads,
            ]
            try await withDatabase { database in
                let (patient, first, second) = try await withServer(over: database, environment) { server in
                    let scene = try await WorkerScene(server)
                    return (scene.patient, try await scene.upload(), try await scene.upload())
                }
                let key = try await database.query(
                    "SELECT recording FROM app.therapy_sessions WHERE id = \(first)")[0]
                    .decode("recording", as: String.self)
                try FileManager.default.removeItem(atPath: "\(folder.uploads)/\(key)")
                try await withServer(over: database, environment, runsWorker: true) { server in
                    let token = try await server.token(patient)
                    let last = try #require(try await server.watchToEnd(first, token: token).last)
                    #expect(try last.json()["error"] as? String == "The recording is missing on the server.")
                    #expect(try await server.watchToEnd(second, token: token).last?.event == "complete")
                }
            }
        }
    }

    @Test("A stage that fails for five patients in a row lets the worker take one session a minute")
    func brokenStage() async throws {
        let log = LogMemory()
        try await ScriptFolder.with { folder in
            let environment = ["PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", "exit 1")]
            // The clock stands still, so that the minute does not end: only notifications let the worker look.
            try await withServer(environment, runsWorker: true, clock: ManualClock(), log: log) { server in
                for _ in 0..<5 {
                    let scene = try await WorkerScene(server)
                    #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "error")
                }
                try await eventually("the worker slows down") {
                    log.text.contains("worker takes one session a minute")
                }
                let scene = try await WorkerScene(server)
                func looks() -> Int { log.text.ranges(of: "worker waits before its next claim").count }
                // The worker has just failed a session: for the next minute it takes no other. The first look may have
                // begun before the first upload.
                var sessions: [SessionID] = []
                for _ in 0..<2 {
                    let before = looks()
                    sessions.append(try await scene.upload())
                    try await eventually("the worker looks at the queue") { looks() > before }
                }
                for session in sessions {
                    #expect(try await scene.get("/status", session).json()["status"] as? String == "pending")
                }
            }
        }
    }

    @Test("A patient that cannot be read costs the session neither its lease nor its attempt")
    func unknownPatient() async throws {
        try await withWorkerScene(transcribing: Script.transcribes) { scene, _ in
            try await scene.database.withConnection {
                try await $0.executeScript(
                    """
                    CREATE OR REPLACE FUNCTION app.claimed_patient(session_id uuid) RETURNS uuid LANGUAGE plpgsql AS $$
                    BEGIN RAISE EXCEPTION 'away'; END $$
                    """)
            }
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            #expect(try await scene.history(of: session).last == "processed 1")
        }
    }

    @Test("A result that is too large for the database fails its session with a clear sentence, and the worker goes on")
    func tooLarge() async throws {
        try await withWorkerScene(transcribing: Script.waits) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await scene.database.withConnection { connection in
                try await connection.executeScript(ProgramLimit.largeTranscript)
            }
            try folder.touch("go")
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(try last.json()["error"] as? String == "The result is too large to be stored.")
            try await scene.database.withConnection {
                try await $0.executeScript("DROP TRIGGER refuse ON app.transcripts")
            }
            #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
        }
    }
}
