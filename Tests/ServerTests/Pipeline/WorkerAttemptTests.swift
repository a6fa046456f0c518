import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The attempts of a worker: stages that are killed, stall or take too long.
@Suite(.deadline) struct WorkerAttemptTests {
    @Test("A stage that is killed each time fails its session after three attempts, with the reason")
    func killed() async throws {
        try await withWorkerScene(transcribing: "kill -9 $$") { scene, _ in
            let session = try await scene.upload()
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(
                try last.json()["error"] as? String
                    == "Given up after 3 attempts. The transcription program was stopped before it was done.")
            // A takeover, and never by way of failed.
            #expect(
                try await scene.history(of: session).suffix(4) == [
                    "transcribing 1", "transcribing 2", "transcribing 3", "failed 3",
                ])
            let response = try await scene.server.request(.POST, "/api/sessions/\(session)/retry", token: scene.token)
            #expect(response.status == 202)
            #expect(try await scene.watchToEnd(session).last?.event == "error")
            #expect(try await scene.history(of: session).last == "failed 6")
        }
    }

    @Test("A session whose stage is killed once is processed in the next attempt")
    func killedOnce() async throws {
        let script = """
            mkdir "$folder/first" 2>/dev/null && kill -9 $$
            \(Script.transcribes)
            """
        try await withWorkerScene(transcribing: script) { scene, _ in
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            #expect(try await scene.history(of: session).last == "processed 2")
        }
    }

    @Test(
        "A stage that takes too long, or says nothing for too long, is ended, and the next session is worked on",
        arguments: [("PIPELINE_STAGE_TIMEOUT", "too long"), ("PIPELINE_STALL_TIMEOUT", "stopped")])
    func limits(setting: String, words: String) async throws {
        let script = """
            if mkdir "$folder/first" 2>/dev/null; then echo '{"progress": 45}'; exec sleep 100000; fi
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                setting: "1000", "PIPELINE_MAX_ATTEMPTS": "1", "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            // The limit also binds the measurement and the next session. They have time, because the clock stands still.
            let clock = ManualClock()
            try await withServer(environment, runsWorker: true, clock: clock) { server in
                let scene = try await WorkerScene(server)
                let hung = try await scene.upload()
                try await folder.wait(for: "first")
                let next = try await scene.upload()
                try await eventually("the stage is ended") {
                    // The worker looks four times in the limit whether the stage has said anything.
                    clock.advance(by: .seconds(250))
                    return try await scene.get("/status", hung).json()["status"] as? String == "failed"
                }
                let last = try #require(try await scene.watchToEnd(hung).last)
                #expect(last.event == "error")
                #expect((try last.json()["error"] as? String)?.contains(words) == true)
                #expect(try await scene.history(of: hung).last == "failed 1")
                #expect(try await scene.watchToEnd(next).last?.event == "complete")
            }
        }
    }

    @Test("A worker with PIPELINE_CONCURRENCY of two works on two sessions at a time")
    func concurrency() async throws {
        let script = """
            touch "$folder/begun-$TB_SESSION_ID"
            while [ ! -e "$folder/go" ]; do sleep 0.05; done
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_CONCURRENCY": "2", "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            try await withServer(environment, runsWorker: true) { server in
                let scene = try await WorkerScene(server)
                let sessions = try await [scene.upload(), scene.upload(), scene.upload()]
                for session in sessions.prefix(2) { try await folder.wait(for: "begun-\(session)") }
                #expect(try await scene.get("/status", sessions[2]).json()["status"] as? String == "pending")
                try folder.touch("go")
                for session in sessions { #expect(try await scene.watchToEnd(session).last?.event == "complete") }
            }
        }
    }

    @Test("The last words of a stage are kept for administrators, and for nobody else")
    func lastWords() async throws {
        let script = "echo 'loading model' >&2; echo 'segment: I told my wife about it' >&2; exit 3"
        try await withWorkerScene(transcribing: script) { scene, _ in
            let session = try await scene.upload()
            let admin = try await scene.server.token(try await scene.database.addUser(.admin))
            #expect(try await scene.watchToEnd(session).last?.event == "error")
            let failure = try await scene.get("/failure", session, token: admin)
            #expect(failure.status == 200)
            let json = try failure.json()
            #expect(json["attempt"] as? Int == 1)
            #expect(json["stage"] as? String == "transcribe")
            #expect(json["exit_status"] as? Int == 3)
            #expect((json["output_tail"] as? String)?.contains("I told my wife about it") == true)
            #expect(json["at"] is String)
            #expect(try await scene.get("/failure", session).status == 403)
            let other = try await scene.upload()
            #expect(try await scene.watchToEnd(other).last?.event == "error")
            try await scene.database.query("SELECT app.delete_old_stage_failures('0')")
            #expect(try await scene.get("/failure", session, token: admin).status == 404)
        }
    }
}
