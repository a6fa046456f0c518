import Foundation
import Subprocess
import TestSupport
import Testing

@testable import Pipeline

/// The recipes of `deploy/stages`, each against a stand-in that speaks as the real program or service does.
@Suite(.deadline) struct StageRecipeTests {
    private static let key = "sk-test-123456"

    private func transcript(_ result: StageResult) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(result.json.utf8)) as? [String: Any])
    }

    private func texts(_ updates: [StageUpdate]) -> [String] { updates.flatMap(\.segments).map(\.text) }

    private func failure(
        of recipe: String, in folder: RecipeFolder, _ variables: [String: String], recording: String = "recording.ogg",
        transcript: String? = nil
    ) async -> StageFailure? {
        await #expect(throws: StageFailure.self) {
            try await folder.run(recipe, variables, recording: recording, transcript: transcript)
        }
    }

    // MARK: - whisper.cpp

    private func whisper(_ folder: RecipeFolder, _ end: String = "") -> [String: String] {
        [
            "WHISPER_CLI": "\(folder.path)/whisper-cli", "WHISPER_MODEL": "\(folder.path)/whisper-cli",
            "WHISPER_STANDIN": end,
        ]
    }

    @Test("whisper-cpp.sh shows progress and segments as they come, and gives the transcript of whisper-cli's JSON")
    func whisperCPP() async throws {
        try await RecipeFolder.with { folder in
            for language in [nil, "de-AT", "xx", "sr-Latn-RS", "x-sign"] {
                let (result, updates) = try await folder.run("whisper-cpp.sh", whisper(folder), language: language)
                let words = [
                    "And so my fellow \"Americans\", ask not", #"what your country \ can do for you, Müller."#,
                ]
                #expect(texts(updates) == words)
                #expect(updates.compactMap(\.progress).last?.progress == 100)
                let transcript = try self.transcript(result)
                #expect(transcript["text"] as? String == words.joined(separator: " "))
                let segments = try #require(transcript["segments"] as? [[String: Any]])
                #expect(segments.map { $0["text"] as? String } == words)
                #expect(segments.map { $0["start"] as? Double } == [0, 8.08])
                // The end that Whisper gives lies past the recording, and is cut.
                #expect(segments.map { $0["end"] as? Double } == [8.08, 60])
                #expect(result.foreignLines.count == 0)
            }
            // whisper-cli gets the first subtag.
            _ = try await folder.run("whisper-cpp.sh", whisper(folder, "german"), language: "de-AT")
            #expect(await failure(of: "whisper-cpp.sh", in: folder, whisper(folder, "german")) != nil)
        }
    }

    @Test("whisper-cpp.sh tells faults of the installation, of the recording and of the run apart")
    func whisperCPPFailures() async throws {
        try await RecipeFolder.with { folder in
            let broken = await failure(of: "whisper-cpp.sh", in: folder, whisper(folder, "broken"))
            #expect(broken?.code == .unavailable)
            #expect(broken?.outputTail.contains("failed to initialize whisper context") == true)
            let missing = whisper(folder).merging(["WHISPER_CLI": "no-such-whisper"]) { $1 }
            #expect(await failure(of: "whisper-cpp.sh", in: folder, missing)?.code == .unavailable)
            let without = whisper(folder).merging(["WHISPER_MODEL": "/no/such/model"]) { $1 }
            #expect(await failure(of: "whisper-cpp.sh", in: folder, without)?.code == .unavailable)
            #expect(await failure(of: "whisper-cpp.sh", in: folder, whisper(folder, "memory"))?.code == .killed)
            for (end, recording, words) in [
                ("failure", "recording.ogg", "The recording could not be transcribed."),
                ("silence", "recording.ogg", "No speech was found in the recording."),
                ("", "broken.ogg", "The recording could not be read as audio."),
            ] {
                let refused = await failure(
                    of: "whisper-cpp.sh", in: folder, whisper(folder, end), recording: recording)
                #expect(refused?.code == .exited)
                #expect(refused?.publicMessage == words)
            }
        }
    }

    /// The variables with a stand-in for ffmpeg that ends in this way.
    private func ffmpeg(_ folder: RecipeFolder, _ end: String) -> [String: String] {
        ["PATH": "\(folder.path):/usr/local/bin:/usr/bin:/bin", "FFMPEG_STANDIN": end]
    }

    @Test(
        "A recipe whose ffmpeg is killed or has no room does not blame the recording",
        arguments: ["whisper-cpp.sh", "openai_transcribe.py"])
    func ffmpegFailures(recipe: String) async throws {
        try await RecipeFolder.with { folder in
            for (end, code) in [("killed", StageFailure.Code.killed), ("full", .unavailable), ("broken", .exited)] {
                let variables = whisper(folder).merging(ffmpeg(folder, end)) { $1 }
                #expect(await failure(of: recipe, in: folder, variables)?.code == code, "\(end)")
            }
        }
    }

    // MARK: - faster-whisper

    @Test("faster_whisper_stage.py shows progress and segments as they come, and gives the transcript")
    func fasterWhisper() async throws {
        try await RecipeFolder.with { folder in
            for language in [nil, "de-AT", "xx", "sr-Latn-RS", "x-sign"] {
                let (result, updates) = try await folder.run("faster_whisper_stage.py", language: language)
                let words = ["And so my fellow \"Americans\", ask not", "what your country can do, Müller."]
                #expect(texts(updates) == words)
                #expect(updates.compactMap(\.progress).last?.progress == 99)
                let transcript = try self.transcript(result)
                #expect(transcript["text"] as? String == words.joined(separator: " "))
                #expect(transcript["duration_seconds"] as? Double == 11)
                #expect(transcript["language"] as? String == (language == "de-AT" ? "de" : "en"))
                let segments = try #require(transcript["segments"] as? [[String: Any]])
                #expect(segments.map { $0["end"] as? Double } == [8.08, 11])
                // What the package prints about its download is passed over.
                #expect(result.foreignLines.count == 2)
            }
        }
    }

    @Test("faster_whisper_stage.py tells faults of the installation and of the recording apart")
    func fasterWhisperFailures() async throws {
        try await RecipeFolder.with { folder in
            let broken = await failure(of: "faster_whisper_stage.py", in: folder, ["WHISPER_STANDIN": "broken"])
            #expect(broken?.code == .unavailable)
            #expect(broken?.outputTail.contains("Unable to open file 'model.bin'") == true)
            let silent = await failure(of: "faster_whisper_stage.py", in: folder, ["WHISPER_STANDIN": "silence"])
            #expect(silent?.publicMessage == "No speech was found in the recording.")
            for moment in ["first", "later"] {
                for (end, code) in [
                    ("cublas", StageFailure.Code.unavailable), ("cuda", .unavailable), ("memory", .unavailable),
                    ("other", .exited),
                ] {
                    let failed = await failure(
                        of: "faster_whisper_stage.py", in: folder, ["WHISPER_STANDIN": "\(moment) \(end)"])
                    #expect(failed?.code == code, "\(moment) \(end)")
                }
            }
            let unreadable = await failure(of: "faster_whisper_stage.py", in: folder, [:], recording: "broken.ogg")
            #expect(unreadable?.code == .exited)
            #expect(unreadable?.publicMessage == "The recording could not be read as audio.")
            try FileManager.default.removeItem(atPath: "\(folder.path)/faster_whisper")
            #expect(await failure(of: "faster_whisper_stage.py", in: folder, [:])?.code == .unavailable)
        }
    }

    // MARK: - OpenAI-compatible services

    private func service(_ url: String, _ model: String, key: String = key) -> [String: String] {
        ["OPENAI_BASE_URL": url, "OPENAI_API_KEY": key, "TRANSCRIPTION_MODEL": model, "NOTES_MODEL": model]
    }

    @Test("openai_transcribe.py sends the recording in pieces, and joins their transcripts")
    func openAITranscription() async throws {
        try await RecipeFolder.with { folder in
            try await folder.withService { url, requests in
                var variables = service(url, "whisper-1")
                variables["PIECE_SECONDS"] = "20"
                let (result, updates) = try await folder.run("openai_transcribe.py", variables, language: "de-AT")
                let pieces = requests().count
                #expect(pieces > 1)
                #expect(requests().allSatisfy { $0.contains(#""language": "de""#) })
                let words = Array(repeating: ["Good morning,", "Müller."], count: pieces).flatMap(\.self)
                #expect(texts(updates) == words)
                let transcript = try self.transcript(result)
                #expect(transcript["text"] as? String == words.joined(separator: " "))
                let segments = try #require(transcript["segments"] as? [[String: Any]])
                #expect(segments.prefix(3).map { $0["start"] as? Double } == [0, 1.25, 20])
                #expect(result.foreignLines.count == 0)
                // Busy at first; without times; with a language that the service does not know.
                for (model, language) in [("busy", nil), ("timeless", nil), ("whisper-1", "xx")] {
                    let (result, _) = try await folder.run(
                        "openai_transcribe.py", service(url, model), language: language)
                    #expect((try self.transcript(result)["text"] as? String)?.hasPrefix("Good morning") == true)
                }
                // Languages without a code of two letters are for the service to find out.
                for language in [nil, "haw-US", "und", "x-sign"] {
                    let before = requests().count
                    _ = try await folder.run("openai_transcribe.py", service(url, "whisper-1"), language: language)
                    let sent = requests().dropFirst(before)
                    #expect(sent.count == 1)
                    #expect(sent.allSatisfy { !$0.contains("language") })
                }
            }
        }
    }

    @Test("openai_transcribe.py tells faults of the service and of the recording apart")
    func openAITranscriptionFailures() async throws {
        try await RecipeFolder.with { folder in
            try await folder.withService { url, _ in
                let recipe = "openai_transcribe.py"
                let wrongKey = await failure(of: recipe, in: folder, service(url, "whisper-1", key: "sk-wrong-7890"))
                #expect(wrongKey?.code == .unavailable)
                #expect(wrongKey?.outputTail.contains("401") == true)
                #expect(wrongKey?.outputTail.contains("sk-wrong-7890") == false)
                #expect(await failure(of: recipe, in: folder, service(url + "/none", "m"))?.code == .unavailable)
                for (model, recording, words) in [
                    ("refusing", "recording.ogg", "The transcription service refused the recording."),
                    ("silent", "recording.ogg", "No speech was found in the recording."),
                    ("whisper-1", "broken.ogg", "The recording could not be read as audio."),
                ] {
                    let refused = await failure(of: recipe, in: folder, service(url, model), recording: recording)
                    #expect(refused?.code == .exited)
                    #expect(refused?.publicMessage == words)
                }
            }
        }
    }

    private static let session =
        #"{"text":"hello there","segments":[{"start":0,"end":1,"text":"hello","speaker":"A"},{"start":65,"end":66,"text":"there"}]}"#

    @Test("openai_notes.py sends the words with their times, and gives the object of the answer")
    func openAINotes() async throws {
        try await RecipeFolder.with { folder in
            try await folder.withService { url, requests in
                for model in ["gpt-4o-mini", "busy", "fenced", "reasoning"] {
                    let (result, _) = try await folder.run(
                        "openai_notes.py", service(url, model), transcript: Self.session)
                    #expect(try transcript(result)["summary"] as? String == "A greeting.")
                }
                #expect(requests().first?.contains(#"[00:00] A: hello\n[01:05] there"#) == true)
            }
        }
    }

    @Test("openai_notes.py tells faults of the service and of the session apart")
    func openAINotesFailures() async throws {
        try await RecipeFolder.with { folder in
            try await folder.withService { url, _ in
                let recipe = "openai_notes.py"
                let wrongKey = await failure(
                    of: recipe, in: folder, service(url, "m", key: "sk-wrong-7890"), transcript: Self.session)
                #expect(wrongKey?.code == .unavailable)
                for (model, words) in [
                    ("short", "The session is too long for the notes service."),
                    ("talkative", "The notes service gave an answer that could not be understood."),
                ] {
                    let refused = await failure(of: recipe, in: folder, service(url, model), transcript: Self.session)
                    #expect(refused?.publicMessage == words)
                }
                let empty = await failure(
                    of: recipe, in: folder, service(url, "m"), transcript: #"{"text":"","segments":[]}"#)
                #expect(empty?.publicMessage == "The transcript has no words.")
            }
        }
    }

    @Test(
        "The command with which a recipe is tried by hand works as it is written",
        arguments: ["whisper-cpp.sh", "faster_whisper_stage.py", "openai_transcribe.py", "openai_notes.py"])
    func tryByHand(recipe: String) async throws {
        try await RecipeFolder.with { folder in
            try await folder.withService { url, _ in
                let text = try String(contentsOfFile: "\(folder.path)/\(recipe)", encoding: .utf8)
                var command = String(try #require(text.firstMatch(of: /Try it by hand: ((?:.*\|\n)?.*)/)).1)
                for (written, here) in [
                    ("/opt/stages/venv/bin/python", "python3"), ("/opt/stages/models", folder.path),
                    ("/opt/stages/", "\(folder.path)/"), ("/opt/whisper.cpp/build/bin/", "\(folder.path)/"),
                    ("recording.mp3", "\(folder.path)/recording.ogg"), ("http://127.0.0.1:11434/v1", url),
                    ("OPENAI_API_KEY=…", "OPENAI_API_KEY=\(Self.key)"),
                ] { command = command.replacing(written, with: here) }
                // The model of the steps, and the service in place of the public one.
                let variables = programEnvironment([
                    "TMPDIR": folder.path, "WHISPER_MODEL": "\(folder.path)/whisper-cli", "OPENAI_BASE_URL": url,
                    "OPENAI_API_KEY": Self.key,
                ])
                let run = try await Subprocess.run(
                    .name("sh"), arguments: ["-c", command], environment: .custom(variables), input: .none,
                    output: .string(limit: 100_000), error: .string(limit: 100_000))
                #expect(run.terminationStatus == .exited(0), "\(run.standardError)")
                #expect(run.standardOutput.contains(#"{"result": "#))
            }
        }
    }

    @Test("A recipe without a folder for its audio says so, and does not blame the recording")
    func withoutTemporaryFolder() async throws {
        try await RecipeFolder.with { folder in
            let variables = whisper(folder).merging(["TMPDIR": "\(folder.path)/none"]) { $1 }
            let failure = await failure(of: "whisper-cpp.sh", in: folder, variables)
            #expect(failure?.code == .unavailable)
            #expect(failure?.outputTail.contains("TMPDIR") == true)
        }
    }

    @Test("Each recipe says how to set it up, and is executable")
    func saysHowToSetUp() throws {
        let folder = packageRoot.appending(path: "deploy/stages")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false))
        #expect(names.count == 4)
        let page = try String(contentsOf: packageRoot.appending(path: "docs/pipeline.md"), encoding: .utf8)
        for name in names {
            let path = folder.appending(path: name).path(percentEncoded: false)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(text.hasPrefix("#!/"), "\(name)")
            #expect(text.prefix(500).contains("five minutes"), "\(name)")
            #expect(FileManager.default.isExecutableFile(atPath: path), "\(name)")
            #expect(page.contains("deploy/stages/\(name)"), "\(name)")
        }
    }
}
