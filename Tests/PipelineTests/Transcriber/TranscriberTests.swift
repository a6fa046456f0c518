import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Pipeline

/// The whole transcriber on real speech: the first sentence of the demo recording, in every format that an upload
/// accepts.
///
/// The tests expect a few words that every model recognises, so that a better model still passes.
@Suite(.serialized, .deadline) struct TranscriberTests {
    private static let demo = MadeRecordings.speech

    private func transcribe(_ file: String) async throws -> Transcript {
        try await Transcriber().transcribe(file: file) { _ in }
    }

    private func failure(_ file: String) async -> TranscriberError? {
        await #expect(throws: TranscriberError.self) { try await transcribe(file) }
    }

    /// `stream.webm` has no duration in its header, as a browser's MediaRecorder writes it.
    @Test(
        "A recording of every accepted format is transcribed",
        arguments: [
            ("a.mp3", ["-c:a", "libmp3lame"]), ("a.wav", ["-ar", "44100", "-ac", "2"]), ("a.m4a", ["-c:a", "aac"]),
            ("a.mp4", ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]), ("a.webm", ["-c:a", "libopus"]),
            ("stream.webm", ["-c:a", "libopus", "-live", "1"]), ("a.ogg", ["-c:a", "libvorbis"]),
            ("a.flac", ["-c:a", "flac"]),
        ])
    func readsEveryFormat(name: String, codec: [String]) async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make(name, ["-t", "7.5", "-i", Self.demo] + codec)
            let duration = try await folder.measure(file).seconds
            #expect(abs(duration - 7.5) < 0.3)
            let transcript = try await transcribe(file)
            #expect(abs(transcript.durationSeconds - 7.5) < 0.3)
            let words = Set(transcript.text.split(separator: " ").map(String.init))
            #expect(words.intersection(["john", "leisure", "consider", "how", "much", "might", "power"]).count >= 4)
        }
    }

    @Test("The progress rises, and the segments have their times")
    func tellsProgressAndTimes() async throws {
        let seen = Mutex<[StageProgress]>([])
        var transcriber = Transcriber()
        transcriber.parallelism = 2
        let transcript = try await transcriber.transcribe(file: Self.demo) { progress in
            seen.withLock { $0.append(progress) }
        }
        let values = seen.withLock { $0.map(\.progress) }
        #expect(values.first == 0)
        #expect(values == values.sorted())
        #expect(Set(values).count >= 5)
        #expect(values.dropLast().allSatisfy { $0 < 100 })
        #expect(values.last == 100)
        #expect(seen.withLock { $0.contains { $0.estimatedTimeRemaining != nil } })

        #expect(transcript.segments.count >= 5)
        #expect(
            transcript.segments.allSatisfy {
                0 <= $0.start && $0.start < $0.end && $0.end <= transcript.durationSeconds
            })
        for (one, two) in zip(transcript.segments, transcript.segments.dropFirst()) { #expect(one.end <= two.start) }
        // The recording has the same sentences twice, half a minute apart.
        let selfish = transcript.segments.filter { $0.text.contains("selfish") }
        #expect(selfish.count == 2)
        #expect(selfish.allSatisfy { (12...17.5).contains($0.start) || (42...49).contains($0.start) })
    }

    @Test("A recording without speech has an error of its own")
    func explainsSilence() async throws {
        try await MadeRecordings.with { folder in
            for source in ["anullsrc=r=16000:cl=mono", "sine=frequency=440", "anoisesrc=amplitude=0.1"] {
                let file = try await folder.make("silence.flac", ["-f", "lavfi", "-i", source, "-t", "4"])
                #expect(await failure(file) == .noSpeech)
            }
        }
    }

    @Test("A file without readable audio is refused, and no other file is read")
    func explainsWhatIsNoAudio() async throws {
        try await MadeRecordings.with { folder in
            let files: [String: Data] = [
                "empty.mp3": Data(), "text.wav": Data("not audio at all\n".utf8),
                // A valid beginning with garbage after it.
                "broken.m4a": Data(
                    [0, 0, 0, 0x20] + Array("ftypM4A ".utf8) + (0..<4_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }),
                "broken.flac": Data(Array("fLaC".utf8) + [UInt8](repeating: 0x55, count: 9_000)),
                // ffmpeg would read another file here without the options of AudioInput.
                "playlist.mp3": Data(
                    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n\(Self.demo)\n#EXT-X-ENDLIST\n".utf8),
                "concat.ogg": Data("ffconcat version 1.0\nfile '\(Self.demo)'\n".utf8),
            ]
            for (name, content) in files {
                let failure = await failure(try folder.write(name, content))
                #expect(failure?.description == "The recording could not be read as audio.", "\(name)")
            }
            let missing = await failure(folder.path("no-such-file.wav"))
            #expect(missing?.description == "The recording could not be read as audio.")
            let picture = try await folder.make(
                "picture.mp4", ["-f", "lavfi", "-i", "testsrc=d=1", "-c:v", "mpeg4"])
            #expect(await failure(picture)?.detail?.contains("no audio") == true)
        }
    }

    @Test("A file may have any name")
    func takesAnyFileName() async throws {
        try await MadeRecordings.with { folder in
            let file = folder.path("-i http: 'é' %d.ogg")
            try FileManager.default.copyItem(atPath: Self.demo, toPath: file)
            #expect(try await folder.measure(file).seconds > 60)
        }
    }

    @Test("A missing program is named with its package")
    func namesWhatToInstall() async {
        func message(_ change: (inout SpeechPrograms) -> Void) async -> String? {
            var transcriber = Transcriber()
            change(&transcriber.programs)
            let changed = transcriber
            return await #expect(throws: TranscriberError.self) {
                try await changed.transcribe(file: Self.demo) { _ in }
            }?.description
        }
        #expect(await message { $0.ffmpeg = "no-ffmpeg" } == "no-ffmpeg is not installed: apt-get install ffmpeg")
        #expect(await message { $0.recogniser = "/no/p" } == "/no/p is not installed: apt-get install pocketsphinx")
        #expect(
            await message { $0.model = "/no" }
                == "The English speech model is not installed: apt-get install pocketsphinx-en-us")
    }

    @Test("A recogniser that dies is an error")
    func explainsARecogniserThatDies() async {
        signal(SIGPIPE, SIG_IGN)
        var transcriber = Transcriber()
        transcriber.programs.recogniser = "false"
        let broken = transcriber
        let error = await #expect(throws: TranscriberError.self) {
            try await broken.transcribe(file: Self.demo) { _ in }
        }
        #expect(error?.description == "The speech recogniser stopped in the middle of the recording.")
    }

    /// The cancellation comes in the middle of the recognition.
    @Test("Cancellation leaves no process and no file")
    func cancellationLeavesNothing() async throws {
        try await MadeRecordings.with { folder in
            let directory = folder.directory
            var transcriber = Transcriber()
            transcriber.temporaryDirectory = directory
            let own = transcriber
            let (advances, advance) = AsyncStream.makeStream(of: Int.self)
            let task = Task {
                try await own.transcribe(file: Self.demo) { advance.yield($0.progress) }
            }
            for await progress in advances where progress > 0 { break }
            let names = try FileManager.default.contentsOfDirectory(atPath: directory)
            #expect(names.count == 1)
            let path = try "\(directory)/\(#require(names.first))"
            #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o700)
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
            #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
            // The arguments of pocketsphinx have the name of the directory.
            let alive = try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { name in
                guard Int(name) != nil else { return false }
                let arguments = FileManager.default.contents(atPath: "/proc/\(name)/cmdline") ?? Data()
                return String(decoding: arguments, as: UTF8.self).contains(path)
            }
            #expect(alive.isEmpty)
        }
    }

    /// A stage's reader must understand the output of the subcommand.
    @Test("The subcommand speaks the protocol of stages")
    func speaksTheProtocolOfStages() async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make("a.ogg", ["-t", "7.5", "-i", Self.demo, "-c", "copy"])
            let lines = Mutex<[String]>([])
            let status = await TranscribeCommand().transcribe(file: file) { line in
                lines.withLock { $0.append(line) }
            } errorOutput: {
                Issue.record("standard error: \($0)")
            }
            #expect(status == 0)
            var output = StageOutput()
            for line in lines.withLock({ $0 }) { output.consume(Array((line + "\n").utf8)[...]) }
            let transcript = try JSONDecoder().decode(
                Transcript.self, from: Data(try #require(output.result).json.utf8))
            #expect(!transcript.segments.isEmpty)
            let segments = try lines.withLock { $0 }.filter { $0.hasPrefix(#"{"segment":"#) }.map {
                try JSONDecoder().decode([String: Transcript.Segment].self, from: Data($0.utf8))["segment"]
            }
            #expect(segments == transcript.segments)

            let errors = Mutex<[String]>([])
            lines.withLock { $0 = [] }
            let failed = await TranscribeCommand().transcribe(file: folder.path("none.ogg")) { line in
                lines.withLock { $0.append(line) }
            } errorOutput: { line in
                errors.withLock { $0.append(line) }
            }
            #expect(failed == 1)
            #expect(errors.withLock { $0.last } == "The recording could not be read as audio.")
            #expect(lines.withLock { $0.last } == #"{"error":"The recording could not be read as audio."}"#)

            var without = TranscribeCommand()
            without.transcriber.programs.recogniser = "/no/such/recogniser"
            let unavailable = await without.transcribe(file: file) { _ in
            } errorOutput: { _ in
            }
            #expect(unavailable == 75)
        }
    }

    /// The server has ended, and the recogniser would run for ever.
    @Test("The transcription stops when its output cannot be written")
    func stopsWhenNobodyReads() async throws {
        struct BrokenPipe: Error {}
        try await MadeRecordings.with { folder in
            let endless = try folder.write("endless", Data("#!/bin/sh\nexec sleep 600\n".utf8))
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: endless)
            var command = TranscribeCommand()
            command.transcriber.programs.recogniser = endless
            let status = await command.transcribe(file: Self.demo) { _ in
                throw BrokenPipe()
            } errorOutput: { _ in
            }
            #expect(status == 1)
        }
    }
}
