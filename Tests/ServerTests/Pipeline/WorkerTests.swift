import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The worker: from an uploaded recording to its transcript and notes, or to an error that a therapist understands.
@Suite(.deadline) struct WorkerTests {
    private static let bundled = ["PIPELINE_TRANSCRIBE_COMMAND": "'\(builtProgram)' transcribe"]

    @Test("Speech becomes a transcript with times, with live progress")
    func realSpeech() async throws {
        try await withServer(Self.bundled, runsWorker: true) { server in
            let scene = try await WorkerScene(server)
            let session = try await scene.upload(try Recording.demo, name: "session.ogg")
            let events = try await scene.watchToEnd(session)
            #expect(
                try await scene.history(of: session) == [
                    "pending 1", "uploading 1", "pending 1", "preprocessing 1", "transcribing 1", "transcribed 1",
                    "processed 1",
                ])
            #expect(events.last?.event == "complete")
            #expect(events.last?.progress == 100)
            // The stream shows percentages between the transitions.
            #expect(events.contains { $0.status == "transcribing" && (21...59).contains($0.progress ?? 0) })

            let transcript = try await scene.get("/transcript", session).json()
            let text = try #require(transcript["text"] as? String)
            #expect(text.split(separator: " ").count > 3)
            let segments = try #require(transcript["segments"] as? [[String: any Sendable]])
            #expect(!segments.isEmpty)
            for segment in segments {
                let (start, end) = (segment["start"] as? Double ?? -1, segment["end"] as? Double ?? -1)
                #expect(start >= 0)
                #expect(end > start)
            }
            let duration = try await scene.get("", session).json()["duration_seconds"] as? Double
            #expect((duration ?? 0) > 1)
            #expect(try await scene.get("/notes", session).status == 404)
        }
    }

    @Test(
        "A recording without speech or with corrupt data fails with an error that a therapist understands",
        arguments: [(Recording.silence, "speech"), (Recording.corrupt, "read")])
    func badRecording(recording: Data, word: String) async throws {
        try await withServer(Self.bundled, runsWorker: true) { server in
            let scene = try await WorkerScene(server)
            let last = try #require(try await scene.watchToEnd(try await scene.upload(recording)).last)
            #expect(last.event == "error")
            let error = try #require(try last.json()["error"] as? String)
            #expect(error.contains(word))
            expectForTherapists(error)
        }
    }

    /// Checks that the error holds no path, no output of a program and no stack trace.
    private func expectForTherapists(_ error: String) {
        #expect(error.count > 10)
        #expect(error.count < 200)
        #expect(!error.contains("/"))
        #expect(!error.contains("\\"))
        #expect(!error.contains("0x"))
        #expect(error.hasSuffix("."))
    }

    @Test(
        "A stage that fails makes the session fail with its reason",
        arguments: [
            ("echo '{\"error\": \"The microphone was off.\"}'; echo later >&2; exit 3", "The microphone was off."),
            ("printf '%s' '{\"error\": \"No newline at the end.\"}'; exit 1", "No newline at the end."),
            (
                "echo 'segment: I told my wife about it' >&2; exit 1",
                "The transcription program failed without saying why."
            ),
            ("exit 1", "The transcription program failed without saying why."),
            ("true", "The transcription program ended without a result."),
            ("echo hello", "The transcription program ended without a result."),
            (
                "echo '{\"result\": {\"text\": \"\", \"segments\": [{\"start\": NaN}]}}'",
                "The transcription program gave an answer that could not be understood: line 1 is NaN or Infinity, which is no "
                    + "JSON (Python: json.dumps(…, allow_nan=False))."
            ),
            (
                "echo '{\"result\": 7}'; echo '{\"result\": 7}'",
                "The transcription program gave an answer that could not be understood: the result is no object."
            ),
            (
                "echo '{\"result\": {\"text\": 7}}'",
                "The transcription program gave an answer that could not be understood: text is no string."
            ),
            (
                "echo '{\"result\": {\"text\": \"\", \"segments\": [{\"start\": 1, \"text\": \"a\"}]}}'",
                "The transcription program gave an answer that could not be understood: segments[0].end is missing."
            ),
        ])
    func failingStage(script: String, error: String) async throws {
        try await withWorkerScene(transcribing: script) { scene, _ in
            let session = try await scene.upload()
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(last.event == "error")
            #expect(try last.json()["error"] as? String == error)
            #expect(try await scene.get("/transcript", session).status == 404)
            #expect(try await scene.history(of: session).last == "failed 1")
        }
    }

    @Test("A missing recording makes the session fail")
    func missingRecording() async throws {
        try await withWorkerScene(transcribing: Script.waits) { scene, folder in
            // The worker is busy with another session while the test removes this recording.
            let busy = try await scene.upload()
            try await folder.wait(for: "begun")
            let kept = Set(
                try FileManager.default.contentsOfDirectory(atPath: scene.server.uploads.path(percentEncoded: false)))
            let session = try await scene.upload()
            let all = try FileManager.default.contentsOfDirectory(
                atPath: scene.server.uploads.path(percentEncoded: false))
            for file in all where !kept.contains(file) {
                try FileManager.default.removeItem(at: scene.server.uploads.appending(path: file))
            }
            try folder.touch("go")
            #expect(try await scene.watchToEnd(busy).last?.event == "complete")
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(try last.json()["error"] as? String == "The recording is missing on the server.")
        }
    }

    @Test("The progress of a stage is scaled to its share of the session, and its messages are shown")
    func shares() async throws {
        let slowly = """
            for n in 0 25 50 75; do
                echo "{\\"progress\\": $n, \\"message\\": \\"at $n\\"}"
                while [ ! -e "$folder/seen-$n" ]; do sleep 0.02; done
            done
            echo '{"result": \(Script.transcript)}'
            """
        try await withWorkerScene(transcribing: slowly) { scene, folder in
            let session = try await scene.upload()
            var seen: [String: Int] = [:]
            try await scene.server.withStream("/api/sessions/\(session)/status/stream", token: scene.token) { reader in
                while let event = try await reader.nextEvent() {
                    guard let message = try event.json()["message"] as? String, message.hasPrefix("at ") else {
                        continue
                    }
                    seen[message] = event.progress
                    try folder.touch("seen-\(message.dropFirst(3))")
                }
            }
            #expect(seen == ["at 0": 20, "at 25": 30, "at 50": 40, "at 75": 50])
        }
    }

    @Test("The notes stage runs if it is configured, and only the therapist may read the notes")
    func notes() async throws {
        let notes = #"""
            cat > "$folder/input"
            cp "$TB_TRANSCRIPT" "$folder/transcript"
            echo "$TB_STAGE" > "$folder/stage"
            echo '{"progress": 50}'; echo "{\"result\": {\"summary\": \"$(head -c 4 "$1")\"}}"
            """#
        try await withWorkerScene(transcribing: Script.transcribes, notes: notes) { scene, folder in
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            // The stage had the transcript in a file and on standard input.
            #expect(try folder.text(of: "stage") == "notes\n")
            for name in ["input", "transcript"] {
                let transcript = try JSONSerialization.jsonObject(with: Data(folder.text(of: name).utf8))
                #expect((transcript as? [String: Any])?["text"] as? String == "good morning")
            }
            #expect(
                try await scene.history(of: session).suffix(4) == [
                    "transcribing 1", "transcribed 1", "extracting_notes 1", "processed 1",
                ])
            #expect(try await scene.get("/notes", session).json()["summary"] as? String == "RIFF")
            let patient = try await scene.server.token(scene.patient)
            #expect(try await scene.get("/notes", session, token: patient).status == 403)
            #expect(
                try await scene.get("/transcript", session, token: patient).json()["text"] as? String == "good morning")
        }
    }

    @Test("A failed notes stage makes the session fail and keeps the transcript")
    func failingNotes() async throws {
        try await withWorkerScene(
            transcribing: Script.transcribes, notes: #"echo '{"error": "No notes today."}'; exit 1"#
        ) {
            scene, _ in
            let session = try await scene.upload()
            let last = try #require(try await scene.watchToEnd(session).last)
            #expect(try last.json()["error"] as? String == "No notes today.")
            #expect(try await scene.get("/transcript", session).status == 200)
            #expect(try await scene.get("/notes", session).status == 404)
        }
    }

    @Test("A retry runs the whole pipeline again as the next attempt")
    func retry() async throws {
        let script = """
            [ -e "$folder/go" ] || exit 1
            echo '{"result": \(Script.transcript)}'
            """
        try await withWorkerScene(transcribing: script) { scene, folder in
            let session = try await scene.upload()
            #expect(try await scene.watchToEnd(session).last?.event == "error")
            try folder.touch("go")
            let response = try await scene.server.request(.POST, "/api/sessions/\(session)/retry", token: scene.token)
            #expect(response.status == 202)
            #expect(try response.json()["attempt"] as? Int == 2)
            #expect(try response.json()["progress"] as? Int == 20)
            let events = try await scene.watchToEnd(session)
            #expect(events.last?.event == "complete")
            // The stream replays the earlier failure as progress.
            #expect(events.first { $0.status == "failed" }?.event == "progress")
            #expect(try await scene.history(of: session).last == "processed 2")
            let again = try await scene.server.request(.POST, "/api/sessions/\(session)/retry", token: scene.token)
            #expect(again.status == 409)
        }
    }

    @Test("A stage may print anything beside its own lines, and the session is processed")
    func foreignLines() async throws {
        let script = #"""
            echo 'Detected language: English'
            printf '\357\273\277{"progress": 50, "message": "a\\u0000b"}\n'
            printf '\r 50%%|#####     | 1/2\r100%%|##########| 2/2\n'
            echo '{"progress": NaN}'
            echo '{"result": \#(Script.transcript)}'
            echo '{"progress": 100}'
            echo '[00:00.000 --> 00:02.000] I told my wife about it'
            """#
        try await withWorkerScene(transcribing: script) { scene, _ in
            let session = try await scene.upload()
            let events = try await scene.watchToEnd(session)
            #expect(events.last?.event == "complete")
            #expect(try await scene.get("/transcript", session).json()["text"] as? String == "good morning")
            let metrics = try await scene.metrics()
            #expect(metrics.value("therapybridge_pipeline_foreign_lines_total", ["stage": "transcription"]) == 5)
        }
    }

    @Test("A stage's environment holds none of the server's secrets")
    func environment() async throws {
        let script = """
            env > "$folder/environment"
            echo '{"result": \(Script.transcript)}'
            """
        try await withWorkerScene(transcribing: script) { scene, folder in
            #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
            let environment = try folder.text(of: "environment")
            #expect(environment.contains("PATH="))
            #expect(!environment.contains("TB_LANGUAGE"), "the session has no language")
            for variable in ["TB_ATTEMPT=1", "TB_STAGE=transcribe", "TB_DURATION_SECONDS=1.0"] {
                #expect(environment.contains("\n\(variable)\n") || environment.hasPrefix("\(variable)\n"))
            }
            #expect(environment.contains("TB_SESSION_ID="))
            #expect(!environment.contains("JWT_SECRET"))
            #expect(!environment.contains("DATABASE_URL"))
        }
    }

    @Test("Both stages get the language of the session, and a run that begins after a change gets the new one")
    func language() async throws {
        let note = """
            printf '%s %s %s\\n' "$TB_ATTEMPT" "$TB_STAGE" "${TB_LANGUAGE-unset}" >> "$folder/languages"
            """
        try await withWorkerScene(
            transcribing: "\(note)\n\(Script.transcribes)", notes: "\(note)\necho '{\"result\": {}}'"
        ) { scene, folder in
            let session = try await scene.upload(language: "de-at")
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            for language in ["\"fr\"", "null"] {
                let path = "/api/sessions/\(session)"
                let changed = try await scene.server.request(
                    .PATCH, path, token: scene.token, headers: ["Content-Type": "application/json"],
                    body: Data("{\"language\": \(language)}".utf8))
                #expect(changed.status == 200)
                let again = try await scene.server.post("\(path)/retry", #"{"again": true}"#, token: scene.token)
                #expect(again.status == 202)
                #expect(try await scene.watchToEnd(session).last?.event == "complete")
            }
            #expect(
                try folder.text(of: "languages").split(separator: "\n") == [
                    "1 transcribe de-AT", "1 notes de-AT", "2 transcribe fr", "2 notes fr", "3 transcribe unset",
                    "3 notes unset",
                ])
        }
    }

    @Test("A recording that was cut is processed, and its session, its stream and its transcript say so")
    func cutRecordingIsReported() async throws {
        let notice = "The recording is incomplete: the file announces 0:06, but only 0:03 could be read."
        for isMeasured in [true, false] {
            // The stage of a site need not know how long the recording is.
            let length = isMeasured ? "" : #", \"duration_seconds\": 2.9, \"announced_seconds\": 6"#
            let script = #"echo "{\"result\": {\"text\": \"good morning\", \"segments\": []\#(length)}}""#
            try await withWorkerScene(transcribing: script) { scene, _ in
                let session = try await scene.upload(Recording.wav(samples: 48_000, announced: 96_000))
                let events = try await scene.watchToEnd(session)
                #expect(events.last?.event == "complete")
                for event in events where ["transcribed", "processed"].contains(event.status) {
                    #expect(try event.json()["message"] as? String == notice)
                }
                let stored = try await scene.get("", session).json()
                let seconds = isMeasured ? 3.0 : 2.9
                #expect(stored["duration_seconds"] as? Double == seconds)
                #expect((stored["progress"] as? [String: Any])?["message"] as? String == notice)
                let transcript = try await scene.get("/transcript", session).json()
                #expect(transcript["is_complete"] as? Bool == false)
                #expect(transcript["duration_seconds"] as? Double == seconds)
                #expect(transcript["announced_seconds"] as? Double == 6)
            }
        }
    }

    @Test("The stage gets the length of the recording, and a recording that is too long fails before the stage")
    func length() async throws {
        let script = """
            echo "$TB_DURATION_SECONDS $TB_MAX_DURATION_SECONDS" >> "$folder/length"
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
                "PIPELINE_MAX_DURATION": "2",
            ]
            try await withServer(environment, runsWorker: true) { server in
                let scene = try await WorkerScene(server)
                #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                let long = try await scene.upload(Recording.wav(samples: 48_000))
                let last = try #require(try await scene.watchToEnd(long).last)
                #expect(
                    try last.json()["error"] as? String
                        == "The recording is longer than 0:02. Divide it, and upload the parts.")
                #expect(try folder.text(of: "length") == "1.0 2.0\n")
            }
        }
    }
}
