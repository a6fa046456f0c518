import Domain
import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// Everything that a recording has is heard: all tracks, all channels, from its beginning to its end.
@Suite(.deadline) struct WholeRecordingTests {
    /// Makes a file with a tone, which is on some channels or tracks.
    private static func tone(_ seconds: Int, _ more: String = "") -> [String] {
        ["-f", "lavfi", "-i", "aevalsrc=0.4*sin(2*PI*440*t):d=\(seconds):s=16000" + (more.isEmpty ? "" : ",\(more)")]
    }

    private static let speech = ["-t", "6", "-i", MadeRecordings.speech]

    private static let silence = ["-f", "lavfi", "-t", "2", "-i", "anullsrc=r=16000:cl=mono"]

    // MARK: - Channels

    @Test(
        "A voice on one channel of any layout is heard, the LFE included",
        arguments: [
            ("5.1", 0), ("5.1", 2), ("5.1", 3), ("5.1", 5), ("7.1", 3), ("quad", 3), ("stereo", 1), ("octagonal", 7),
        ])
    func oneChannel(layout: String, number: Int) async throws {
        try await MadeRecordings.with { folder in
            for name in ["a.wav", "a.flac"] {
                let file = try await folder.make(name, Self.tone(2, "pan=\(layout)|c\(number)=c0"))
                let audio = try await folder.decode(file)
                #expect(abs(audio.seconds - 2) < 0.01)
                #expect(audio.level(in: 0.5...1.5) > 0.2)
            }
        }
    }

    @Test("Channels without a layout are mixed", arguments: [10, 33, 64])
    func noLayout(count: Int) async throws {
        try await MadeRecordings.with { folder in
            let samples = (0..<(8_000 * count)).map { UInt8($0 % count == count - 1 ? $0 / count % 18 * 14 : 128) }
            let file = try folder.write("a.wav", Self.wave(channels: count, rate: 8_000, Data(samples)))
            let audio = try await folder.decode(file)
            #expect(abs(audio.seconds - 1) < 0.01)
            #expect(audio.level(in: 0.2...0.8) > 0.1)
        }
    }

    @Test("A recording whose sides cancel out is heard", arguments: ["a.flac", "a.wav", "a.ogg", "a.mp3"])
    func oppositeSides(name: String) async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make(name, Self.tone(2, "pan=stereo|c0=c0|c1=-1*c0"))
            #expect(try await folder.decode(file).level(in: 0.5...1.5) > 0.2)
        }
    }

    // MARK: - Tracks

    @Test("All tracks are heard, each at its time", arguments: ["a.m4a", "a.mka", "a.mov", "a.webm"])
    func tracks(name: String) async throws {
        try await MadeRecordings.with { folder in
            let early = try await folder.make("early.wav", Self.tone(1))
            let late = try await folder.make("late.wav", Self.tone(1))
            let codec = name == "a.webm" ? "libopus" : "aac"
            let file = try await folder.make(
                name,
                ["-i", early, "-itsoffset", "2.5", "-i", late] + Self.silence
                    + ["-map", "0:a", "-map", "1:a", "-map", "2:a", "-c:a", codec])
            let audio = try await folder.decode(file)
            #expect(abs(audio.seconds - 3.5) < 0.15)
            #expect(audio.level(in: 0.2...0.8) > 0.2)
            #expect(audio.level(in: 1.4...2.2) < 0.01)
            #expect(audio.level(in: 2.8...3.3) > 0.2)
            let announced = try #require(audio.announced)
            #expect(abs(announced - 3.5) < 0.2)
        }
    }

    @Test("A track that ends before its own header says is noticed, though the longest one is whole")
    func cutTrack() async throws {
        try await MadeRecordings.with { folder in
            let long = try await folder.make("long.wav", Self.tone(3))
            let short = try await folder.make("short.wav", Self.tone(1))
            let file = try await folder.make(
                "a.mka", ["-i", long, "-i", short, "-map", "0:a", "-map", "1:a", "-c:a", "flac"])
            let whole = try await folder.measure(file)
            #expect(!whole.hasCutTrack)
            // The header of the second track announces 2.5 s more than the track has.
            var content = try Data(contentsOf: URL(filePath: file))
            let tag = try #require(content.range(of: Data("00:00:01.000".utf8)))
            content.replaceSubrange(tag, with: Data("00:00:03.500".utf8))
            let cut = try await folder.measure(try folder.write("cut.mka", content))
            #expect(cut.hasCutTrack)
            #expect(abs(cut.seconds - 3) < 0.1)
        }
    }

    @Test("A film, a cover and subtitles do not matter")
    func otherStreams() async throws {
        try await MadeRecordings.with { folder in
            let film = try await folder.make(
                "a.mp4",
                ["-f", "lavfi", "-i", "testsrc=d=5:s=64x64"] + Self.tone(2) + ["-c:v", "mpeg4", "-c:a", "aac"])
            let filmed = try await folder.decode(film)
            #expect(abs(filmed.seconds - 2) < 0.1)
            #expect(abs((filmed.announced ?? 0) - 2) < 0.1)
            let cover = try await folder.make(
                "a.mp3",
                Self.tone(2) + ["-f", "lavfi", "-i", "testsrc=d=0.04:s=64x64", "-map", "0:a", "-map", "1:v"])
            #expect(abs(try await folder.decode(cover).seconds - 2) < 0.1)
        }
    }

    // MARK: - Length

    @Test("A chain of Ogg streams is heard to its end", arguments: ["libvorbis", "libopus", "flac", "libspeex"])
    func chain(codec: String) async throws {
        try await MadeRecordings.with { folder in
            var whole = Data()
            for (number, seconds) in [1, 2, 1].enumerated() {
                let link = try await folder.make(
                    "\(number).ogg", Self.tone(seconds) + ["-c:a", codec, "-serial_offset", "\(number * 7)"])
                whole += try Data(contentsOf: URL(filePath: link))
            }
            let file = try folder.write("chain.ogg", whole)
            let audio = try await folder.decode(file)
            #expect(abs(audio.seconds - 4) < 0.15)
            #expect(audio.level(in: 3.2...3.8) > 0.2)
            #expect(abs(try await folder.measure(file).seconds - 4) < 0.3)
            #expect(abs((audio.announced ?? 0) - 4) < 0.15)
        }
    }

    @Test("A chain whose codec changes is decoded as far as it goes, and announces all its links")
    func changingChain() async throws {
        try await MadeRecordings.with { folder in
            var whole = Data()
            for (codec, seconds) in [("libvorbis", 1), ("libopus", 2), ("libvorbis", 1)] {
                let link = try await folder.make("\(codec).ogg", Self.tone(seconds) + ["-c:a", codec])
                whole += try Data(contentsOf: URL(filePath: link))
            }
            let audio = try await folder.decode(try folder.write("chain.ogg", whole))
            #expect(abs((audio.announced ?? 0) - 4) < 0.15)
            #expect(audio.seconds >= 0.9)
            #expect(
                RecordingLength(decoded: audio.seconds, announced: audio.announced).isComplete == (audio.seconds > 3.4))
            let single = try await folder.make("single.ogg", Self.tone(2) + ["-c:a", "libopus"])
            #expect(abs((try await folder.decode(single).announced ?? 0) - 2) < 0.15)
        }
    }

    @Test("An MP3 of variable bit rate without a header announces nothing, and has its own length")
    func variableBitRate() async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make(
                "a.mp3", Self.speech + ["-c:a", "libmp3lame", "-q:a", "9", "-write_xing", "0", "-id3v2_version", "0"])
            let measured = try await folder.measure(file)
            #expect(measured.announcedSeconds == nil)
            #expect(abs(measured.seconds - 6) < 0.2)
            #expect(abs(try await folder.decode(file).seconds - 6) < 0.2)
        }
    }

    @Test(
        "A recording that was cut is decoded as far as it goes, and announces its whole length",
        arguments: [
            ("a.m4a", ["-c:a", "aac", "-movflags", "+faststart"]), ("a.flac", []), ("a.wav", []), ("a.aiff", []),
            ("a.caf", ["-c:a", "pcm_s16be"]), ("a.mp3", []), ("a.mka", ["-c:a", "flac"]),
            ("rf64.wav", ["-rf64", "always"]),
        ])
    func cut(name: String, codec: [String]) async throws {
        try await MadeRecordings.with { folder in
            let whole = try await folder.make(name, Self.speech + ["-ar", "16000"] + codec)
            let complete = try await folder.measure(whole)
            #expect(abs(complete.seconds - 6) < 0.2)
            #expect(abs((complete.announcedSeconds ?? 0) - 6) < 0.2)
            let file = try folder.cut(whole, to: 0.5)
            let measured = try await folder.measure(file)
            #expect(abs((measured.announcedSeconds ?? 0) - 6) < 0.2)
            let audio = try await folder.decode(file)
            #expect((1.5...4.5).contains(audio.seconds))
            #expect(abs(audio.seconds - measured.seconds) < 0.5)
        }
    }

    @Test(
        "A recording without a length is heard to its end",
        arguments: [
            ("a.wav", ["-f", "wav"]), ("a.webm", ["-c:a", "libopus", "-live", "1"]), ("a.aac", ["-c:a", "aac"]),
            ("a.mp4", ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov+default_base_moof"]),
        ])
    func streamed(name: String, codec: [String]) async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make(name, Self.speech + codec)
            if name == "a.wav" {
                // What a program that writes to a pipe leaves in the header.
                var bytes = try Data(contentsOf: URL(filePath: file))
                let data = try #require(bytes.firstRange(of: Data("data".utf8)))
                for index in 4..<8 { bytes[index] = 0xFF }
                for index in data.upperBound..<(data.upperBound + 4) { bytes[index] = 0xFF }
                try bytes.write(to: URL(filePath: file))
            }
            #expect(abs(try await folder.decode(file).seconds - 6) < 0.2)
            #expect(abs(try await folder.measure(file).seconds - 6) < 0.2)
        }
    }

    @Test("A WAV whose header is older than its end is heard to its end")
    func oldHeader() async throws {
        try await MadeRecordings.with { folder in
            let samples = Data((0..<16_000).map { UInt8($0 % 18 * 14) })
            var content = Self.wave(channels: 1, rate: 8_000, samples)
            content.replaceSubrange(40..<44, with: Data([0x00, 0x10, 0, 0]))
            let file = try folder.write("a.wav", content)
            let audio = try await folder.decode(file)
            #expect(abs(audio.seconds - 2) < 0.01)
            #expect(audio.announced == nil)
        }
    }

    // MARK: - Limits

    @Test("A recording that is longer than allowed is refused as soon as that is known")
    func tooLong() async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make("a.flac", Self.tone(4))
            await #expect(throws: TranscriberError.tooLong(seconds: 3)) { try await folder.decode(file, longest: 3) }
            #expect(abs(try await folder.decode(file, longest: 4).seconds - 4) < 0.01)
            var transcriber = Transcriber()
            transcriber.longest = 3
            let short = transcriber
            await #expect(throws: TranscriberError.tooLong(seconds: 3)) {
                try await short.transcribe(file: file) { _ in }
            }
            // The length that was measured is an estimate: the decoder decides.
            transcriber.measured = 1
            let deceived = transcriber
            await #expect(throws: TranscriberError.tooLong(seconds: 3)) {
                try await deceived.transcribe(file: file) { _ in }
            }
        }
    }

    @Test("A codec that no accepted format needs is not decoded")
    func codec() async throws {
        try await MadeRecordings.with { folder in
            let file = try await folder.make("a.mka", Self.tone(1, "pan=stereo|c0=c0|c1=c0") + ["-c:a", "dca"])
            await #expect(throws: TranscriberError.unknownCodec("dts")) { try await folder.decode(file) }
            // The list of decoders refuses it too, if the headers should lie.
            try await PrivateDirectory.with(purpose: "dts", in: folder.directory) { directory in
                let input = try AudioInput(file: file, linkedIn: directory)
                do {
                    _ = try await AudioDecoder(programs: SpeechPrograms(), longest: 60)
                        .decode(input, tracks: [AudioTrack(ordinal: 0)]) { _ in }
                    Issue.record("DTS was decoded")
                } catch TranscriberError.unreadable(let detail) {
                    #expect(detail.contains("whitelist"))
                }
            }
        }
    }

    @Test("A sample rate of 20 Hz is refused before it becomes hours", arguments: ["a.wav", "a.flac"])
    func sampleRate(name: String) async throws {
        try await MadeRecordings.with { folder in
            let file: String
            if name == "a.wav" {
                file = try folder.write(name, Self.wave(channels: 1, rate: 20, Data(count: 1_200)))
            } else {
                file = try await folder.make(name, ["-f", "lavfi", "-i", "sine=d=1:r=20", "-ar", "20"])
            }
            await #expect(throws: TranscriberError.badSampleRate(20)) { try await folder.decode(file) }
        }
    }

    @Test("A file of too many streams is refused")
    func streams() async throws {
        try await MadeRecordings.with { folder in
            func maps(_ count: Int) -> [String] { (0..<count).flatMap { _ in ["-map", "0:a"] } }
            let tracks = try await folder.make("a.m4a", Self.tone(1) + maps(17) + ["-c:a", "aac"])
            await #expect(throws: TranscriberError.tooManyTracks(17)) { try await folder.decode(tracks) }
            let streams = try await folder.make("b.m4a", Self.tone(1) + maps(70) + ["-c:a", "aac"])
            do {
                _ = try await folder.decode(streams)
                Issue.record("70 streams were read")
            } catch TranscriberError.unreadable(let detail) {
                #expect(detail.contains("max_streams"))
            }
        }
    }

    /// Each of the decoders would need as much memory as one program of a cage may have.
    @Test("Tracks whose headers need too much memory together are refused")
    func memoryOfTracks() async throws {
        let bomb = try #require(Bomb.all.first { $0.name.contains("16 decoders") })
        try await MadeRecordings.with { folder in
            let file = try folder.write("a.m4a", bomb.make())
            await #expect(throws: TranscriberError.tracksTooLarge(16)) { try await folder.decode(file) }
        }
    }

    /// ffmpeg goes on without the index of a track for which it has no memory, and its status is 0.
    @Test(
        "Tracks of which one has no memory for its index are refused, and not heard without it",
        arguments: [(packets: 400_000, hasEditList: true), (packets: 700_000, hasEditList: false)])
    func memoryOfOneTrack(packets: Int, hasEditList: Bool) async throws {
        try await MadeRecordings.with { folder in
            // AMR has a frame of one byte, which says that there is no sound.
            let long = try folder.write("long.amr", Data("#!AMR\n".utf8) + Data(repeating: 0x7C, count: packets))
            let file = try await folder.make(
                "a.mov",
                Self.tone(1) + ["-f", "amrnb", "-i", long] + (0..<15).flatMap { _ in ["-map", "0:a"] }
                    + ["-map", "1:a", "-c:a", "aac", "-c:a:15", "copy", "-use_editlist", hasEditList ? "1" : "0"])
            await #expect(throws: TranscriberError.tracksTooLarge(16)) { try await folder.decode(file) }
            // A site's own stage gets the length.
            #expect(try await folder.measure(file).seconds > 7_000)
        }
    }

    /// A WAV file with 8 bits a sample.
    private static func wave(channels: Int, rate: Int, _ samples: Data) -> Data {
        func little(_ value: Int, _ count: Int) -> Data {
            Data((0..<count).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) })
        }
        let parts = [
            Data("RIFF".utf8), little(36 + samples.count, 4), Data("WAVEfmt ".utf8), little(16, 4), little(1, 2),
            little(channels, 2), little(rate, 4), little(rate * channels, 4), little(channels, 2), little(8, 2),
            Data("data".utf8), little(samples.count, 4), samples,
        ]
        return parts.reduce(Data(), +)
    }

    // MARK: - Words

    private static let words: Set<String> = ["john", "leisure", "consider", "how", "much", "might", "power"]

    /// The tests of channels and tracks have tones, which no recogniser understands.
    @Test("Words on the LFE, of the second track and between opposite sides are in the transcript")
    func words() async throws {
        try await MadeRecordings.with { folder in
            let speech = ["-t", "7.5", "-i", MadeRecordings.speech]
            let files = [
                try await folder.make("lfe.wav", speech + ["-af", "pan=5.1|c3=c0"]),
                try await folder.make("opposite.flac", speech + ["-af", "pan=stereo|c0=c0|c1=-1*c0"]),
                try await folder.make(
                    "tracks.m4a", Self.silence + speech + ["-map", "0:a", "-map", "1:a", "-c:a", "aac"]),
            ]
            for file in files {
                let transcript = try await Transcriber().transcribe(file: file) { _ in }
                let heard = Set(transcript.text.split(separator: " ").map(String.init))
                #expect(heard.intersection(Self.words).count >= 4, "\(file): \(transcript.text)")
            }
        }
    }
}
