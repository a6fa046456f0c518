import Domain
import Foundation
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The estimates that watchers see of sessions that wait and of sessions in work, and what they read of a silent stage.
@Suite(.deadline) struct WorkerEstimateTests {
    /// Transcribes at once, but waits for the file `go` once there is a file `slow`.
    private static func script(beginning line: String) -> String {
        """
        if [ -e "$folder/slow" ]; then
            echo '\(line)'
            touch "$folder/begun"
            while [ ! -e "$folder/go" ]; do sleep 0.05; done
        fi
        \(Script.transcribes)
        """
    }

    @Test("After three sessions, the next ones have an estimate, in the queue and at each stage, until they end")
    func learns() async throws {
        try await withWorkerScene(transcribing: Self.script(beginning: #"{"progress": 10}"#)) { scene, folder in
            for _ in 0..<3 {
                let session = try await scene.upload()
                let events = try await scene.watchToEnd(session)
                #expect(try events.allSatisfy { try $0.estimate == nil })
            }
            #expect(try await scene.learn() >= 9)
            try folder.touch("slow")
            let (worked, waiting) = (try await scene.upload(), try await scene.upload())
            try await folder.wait(for: "begun")
            #expect(try await scene.estimate(of: waiting) != nil)
            try await eventually("the stage has reported") { try await scene.progress(of: worked) == 24 }
            #expect(try await scene.estimate(of: worked) != nil)
            try folder.touch("go")
            #expect(try await scene.watchToEnd(worked).last?.estimate == nil)
            #expect(try await scene.estimate(of: worked) == nil)
        }
    }

    @Test("An estimate that a site's own stage tells is shown as it is")
    func told() async throws {
        let line = #"{"progress": 10, "message": "Told", "estimated_time_remaining": 4321}"#
        try await withWorkerScene(transcribing: Self.script(beginning: line)) { scene, folder in
            for _ in 0..<3 { _ = try await scene.watchToEnd(try await scene.upload()) }
            #expect(try await scene.learn() >= 9)
            try folder.touch("slow")
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await eventually("the stage has reported") { try await scene.progress(of: session) == 24 }
            #expect(try await scene.estimate(of: session) == 4321)
            try folder.touch("go")
            _ = try await scene.watchToEnd(session)
        }
    }

    @Test("A server renews the estimate of a session that waits, whoever works, and its watchers see it")
    func renews() async throws {
        try await withServer { server in
            let scene = try await WorkerScene(server)
            let session = try await scene.upload()
            try await server.withStream("/api/sessions/\(session)/status/stream", token: scene.token) { reader in
                #expect(try await reader.nextEvent()?.estimate == nil)
                try await server.database.query(
                    """
                    INSERT INTO app.stage_samples (stage, media_type, audio_seconds, work_seconds, at)
                    SELECT 'transcribing', 'audio/wav', 60, 600, clock_timestamp() FROM generate_series(1, 3)
                    """)
                try await server.database.query("SELECT app.learn_work_rates()")
                try await server.database.query("UPDATE app.estimate_state SET refreshed_at = '-infinity'")
                let event = try #require(try await reader.nextEvent())
                #expect(try event.estimate == 600)
                #expect(try event.json()["status"] as? String == "pending")
            }
        }
    }

    @Test("The watchers of a silent stage read so, and read its own words again when it speaks")
    func silence() async throws {
        let clock = ManualClock()
        let script = """
            echo '{"progress": 50, "message": "Half", "estimated_time_remaining": 9}'
            while [ ! -e "$folder/word" ]; do sleep 0.05; done
            echo busy >&2
            while [ ! -e "$folder/go" ]; do sleep 0.05; done
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_STAGE_WRITES": folder.path, "PIPELINE_STALL_TIMEOUT": "0",
                "PIPELINE_STAGE_TIMEOUT": "10000000",
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            try await withServer(environment, runsWorker: true, clock: clock) { server in
                let scene = try await WorkerScene(server)
                let session = try await scene.upload()
                try await eventually("the stage speaks") { try await scene.message(of: session) == "Half" }
                try await eventually("its silence is told") {
                    clock.advance(by: .seconds(113))
                    return try await scene.message(of: session)?.contains("has said nothing for") == true
                }
                #expect(try await scene.estimate(of: session) == nil)
                #expect(try await scene.progress(of: session) == 40)
                try folder.touch("word")
                try await eventually("its words are back") { try await scene.message(of: session) == "Half" }
                try folder.touch("go")
                #expect(try await scene.watchToEnd(session).last?.event == "complete")
                // Neither is a transition.
                #expect(
                    try await scene.history(of: session).suffix(3) == [
                        "transcribing 1", "transcribed 1", "processed 1",
                    ])
            }
        }
    }
}

extension StreamedEvent {
    /// The estimate of a progress object.
    fileprivate var estimate: Int? { get throws { try json()["estimated_time_remaining"] as? Int } }
}

extension WorkerScene {
    /// Lets the database learn from the sessions that were processed.
    ///
    /// - Returns: The number of samples.
    fileprivate func learn() async throws -> Int {
        try await database.query("UPDATE app.estimate_state SET refreshed_at = '-infinity'")
        try await database.query("SELECT app.refresh_estimates()")
        return Int(
            try await database.query("SELECT count(*) FROM app.stage_samples")[0].decode(0, as: Int64.self))
    }

    private func state(of session: SessionID) async throws -> [String: any Sendable] {
        try await get("/status", session).json()
    }

    fileprivate func estimate(of session: SessionID) async throws -> Int? {
        try await state(of: session)["estimated_time_remaining"] as? Int
    }

    fileprivate func progress(of session: SessionID) async throws -> Int? {
        try await state(of: session)["progress"] as? Int
    }

    fileprivate func message(of session: SessionID) async throws -> String? {
        try await state(of: session)["message"] as? String
    }
}
