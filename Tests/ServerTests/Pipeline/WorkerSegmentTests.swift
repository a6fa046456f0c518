import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The transcript of a stage that prints its segments as they come.
@Suite(.deadline) struct WorkerSegmentTests {
    @Test("The segments of a running stage are there before its result, and the result replaces them")
    func segments() async throws {
        let script = """
            echo '{"segment": {"start": 0, "end": 0.5, "text": "good"}}'
            echo '{"progress": 30}'
            echo '{"segment": {"start": 0.5, "end": 0.9, "text": "morning", "speaker": "A"}}'
            while [ ! -e "$folder/go" ]; do echo '{"progress": 50}'; sleep 0.1; done
            echo '{"result": \(Script.transcript)}'
            """
        try await withWorkerScene(transcribing: script) { scene, folder in
            let session = try await scene.upload()
            try await eventually("both segments are stored") {
                try await scene.get("/status", session).json()["segments"] as? Int == 2
            }
            let partial = try await scene.get("/transcript", session).json()
            #expect(partial["is_final"] as? Bool == false)
            #expect(partial["text"] as? String == "good morning")
            let speakers = (partial["segments"] as? [[String: Any]])?.map { $0["speaker"] as? String }
            #expect(speakers == [nil, "A"])
            try folder.touch("go")
            let events = try await scene.watchToEnd(session)
            #expect(events.last?.event == "complete")
            #expect(events.last?.data?.contains(#""segments":1,"#) == true)
            let final = try await scene.get("/transcript", session).json()
            #expect(final["is_final"] as? Bool == true)
            #expect((final["segments"] as? [Any])?.count == 1)
        }
    }

    @Test("A stage whose segments no transcript can have still gets its result stored")
    func refused() async throws {
        let script = """
            echo '{"segment": {"start": 0.5, "end": 0.9, "text": "good"}}'
            echo '{"progress": 30}'
            echo '{"segment": {"start": 0.2, "end": 0.4, "text": "morning"}}'
            for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo '{"progress": 50}'; sleep 0.1; done
            echo '{"result": \(Script.transcript)}'
            """
        try await withWorkerScene(transcribing: script) { scene, _ in
            let session = try await scene.upload()
            let events = try await scene.watchToEnd(session)
            #expect(events.last?.event == "complete")
            #expect(try await scene.get("/transcript", session).json()["text"] as? String == "good morning")
            #expect(try await scene.history(of: session).last == "processed 1")
        }
    }
}
