import Domain
import Foundation
import SystemPackage
import Testing

@testable import Pipeline

/// What the headers of a recording say: its tracks, the announced length, and what exceeds a limit.
@Suite struct RecordingOutlineTests {
    private func outline(
        _ streams: String, duration: String? = nil, header: RecordingHeader = RecordingHeader()
    ) throws -> RecordingOutline {
        let format = duration.map { #""duration": "\#($0)""# } ?? ""
        return try RecordingOutline(answer: #"{"streams": [\#(streams)], "format": {\#(format)}}"#, header: header)
    }

    private func audio(_ more: String = "", codec: String = "aac") -> String {
        #"{"codec_type": "audio", "codec_name": "\#(codec)"\#(more.isEmpty ? "" : ", " + more)}"#
    }

    private let film = #"{"codec_type": "video", "codec_name": "h264", "duration": "9.5"}"#
    private let cover = #"{"codec_type": "video", "codec_name": "png", "disposition": {"attached_pic": 1}}"#

    @Test("The announced length is the end of the longest track, from the beginning of the first")
    func announced() throws {
        #expect(try outline(audio(#""duration": "3.5""#), duration: "9").announced == 3.5)
        let late = audio(#""start_time": "2.0", "duration": "3.0""#)
        #expect(try outline("\(audio(#""duration": "3.5""#)),\(late)").announced == 5)
        #expect(try outline(late).announced == 3)
        let tag = #""tags": {"DURATION": "01:00:03.008000000"}"#
        #expect(try outline("\(film),\(audio(tag))", duration: "9999").announced == 3_603.008)
    }

    @Test("The length of a file counts only if the file has no film")
    func lengthOfTheFile() throws {
        #expect(try outline(audio(), duration: "9").announced == 9)
        #expect(try outline("\(cover),\(audio())", duration: "9").announced == 9)
        #expect(try outline("\(film),\(audio())", duration: "9").announced == nil)
        for text in ["N/A", "nan", "inf", "-3", "0", "1e10"] {
            #expect(try outline(audio(), duration: text).announced == nil)
        }
    }

    @Test("The header of the file wins over ffprobe, and a wrong one announces nothing")
    func header() throws {
        var header = RecordingHeader()
        header.announced = 7
        #expect(try outline(audio(#""duration": "3.5""#), header: header).announced == 7)
        header.announced = 1e12
        #expect(try outline(audio(), header: header).announced == nil)
        header.isLengthWrong = true
        #expect(try outline(audio(#""duration": "3.5""#), header: header).announced == nil)
    }

    @Test("All tracks that can be decoded are mixed, and others only if there is no such track")
    func tracks() throws {
        let mixed = try outline("\(film),\(audio(codec: "apac")),\(audio()),\(audio(codec: "flac"))")
        #expect(mixed.tracks.map(\.ordinal) == [1, 2])
        #expect(throws: TranscriberError.unknownCodec("dts")) { try outline(audio(codec: "dts")) }
        #expect(throws: TranscriberError.unreadable(detail: "ffprobe found no audio")) { try outline(film) }
    }

    @Test("What exceeds a limit has a sentence of its own")
    func limits() throws {
        let many = Array(repeating: audio(), count: 17).joined(separator: ",")
        #expect(throws: TranscriberError.tooManyTracks(17)) { try outline(many) }
        #expect(throws: TranscriberError.tooManyChannels(65)) { try outline(audio(#""channels": 65"#)) }
        for rate in [1, 3_999, 768_001] {
            #expect(throws: TranscriberError.badSampleRate(rate)) { try outline(audio(#""sample_rate": "\#(rate)""#)) }
        }
        var header = RecordingHeader()
        header.sampleRate = 20
        #expect(throws: TranscriberError.badSampleRate(20)) {
            try outline(audio(#""sample_rate": "0""#, codec: "flac"), header: header)
        }
        #expect(try outline(audio(#""sample_rate": "4000", "channels": 64"#)).tracks.count == 1)
        for error: TranscriberError in [
            .unknownCodec("dts"), .tooManyTracks(17), .tooManyChannels(65), .badSampleRate(20),
            .tooLong(seconds: 14_400),
        ] {
            #expect(error.description.hasSuffix("."))
            #expect(error.detail == nil)
        }
    }

    // MARK: - The file's own header

    private func header(_ content: Data, _ format: AudioFormat) async throws -> RecordingHeader {
        try await MadeRecordings.with { folder in
            let file = try FileDescriptor.open(FilePath(try folder.write("file", content)), .readOnly)
            defer { try? file.close() }
            return try RecordingHeader(of: file, format: format)
        }
    }

    private func little(_ value: Int, _ count: Int) -> Data {
        Data((0..<count).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) })
    }

    private func big(_ value: Int, _ count: Int) -> Data { Data(little(value, count).reversed()) }

    private func joined(_ parts: [Data]) -> Data { parts.reduce(Data(), +) }

    private func chunk(_ name: String, _ size: Data, _ content: Data = Data()) -> Data {
        joined([Data(name.utf8), size, content])
    }

    /// A WAV file of 8,000 samples a second, 16 bits, mono.
    private func wave(
        size: Int, samples: Int, riff: String = "RIFF", before: Data = Data(), after: Data = Data(), tag: Int = 1
    ) -> Data {
        // The field for the bytes of a second is wrong, as many programs write it.
        let format = joined([
            little(tag, 2), little(1, 2), little(8_000, 4), little(1, 4), little(2, 2), little(16, 2),
        ])
        return joined([
            chunk(riff, little(0, 4), Data("WAVE".utf8)), before, chunk("fmt ", little(16, 4), format),
            chunk("LIST", little(3, 4), Data(count: 4)), chunk("data", little(size, 4), Data(count: samples)), after,
        ])
    }

    @Test("A WAV that was cut announces its whole length")
    func wave() async throws {
        #expect(try await header(wave(size: 16_000, samples: 16_000), .wav).announced == 1)
        #expect(try await header(wave(size: 160_000, samples: 16_000), .wav).announced == 10)
        let tail = chunk("LIST", little(4, 4), Data(count: 4))
        let tagged = try await header(wave(size: 16_000, samples: 16_000, after: tail), .wav)
        #expect(tagged.announced == 1)
        #expect(!tagged.isLengthWrong)
    }

    @Test("A streamed WAV announces nothing", arguments: [0, 0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000])
    func streamedWave(size: Int) async throws {
        let header = try await header(wave(size: size, samples: 16_000), .wav)
        #expect(header.announced == nil)
        #expect(!header.isLengthWrong)
    }

    @Test("A WAV whose samples go on behind the announced length is read to its end")
    func growingWave() async throws {
        let header = try await header(wave(size: 1_000, samples: 16_000), .wav)
        #expect(header.isLengthWrong)
        #expect(header.announced == nil)
        #expect(AudioInput(path: "a", format: .wav, header: header).options.suffix(2) == ["-ignore_length", "1"])
    }

    /// ffmpeg writes a wrong number of bytes a second for some of these codecs.
    @Test("A WAV with a compressing codec announces its number of samples, if it has one")
    func compressedWave() async throws {
        let fact = chunk("fact", little(4, 4), little(24_000, 4))
        #expect(try await header(wave(size: 5_000, samples: 5_000, before: fact, tag: 2), .wav).announced == 3)
        #expect(try await header(wave(size: 5_000, samples: 5_000, tag: 2), .wav).announced == nil)
        #expect(try await header(wave(size: 16_000, samples: 16_000, before: fact), .wav).announced == 1)
    }

    @Test("RF64 has its length in another chunk")
    func longWave() async throws {
        let sizes = chunk("ds64", little(28, 4), joined([little(0, 8), little(32_000, 8), Data(count: 12)]))
        let content = wave(size: 0xFFFF_FFFF, samples: 16_000, riff: "RF64", before: sizes)
        #expect(try await header(content, .wav).announced == 2)
        let endless = chunk("ds64", little(28, 4), joined([little(0, 8), little(-1, 8), Data(count: 12)]))
        let broken = wave(size: 0xFFFF_FFFF, samples: 16_000, riff: "RF64", before: endless)
        #expect(try await header(broken, .wav).announced == nil)
    }

    @Test("A CAF announces its length, unless its samples go to the end of the file")
    func coreAudio() async throws {
        func caf(size: Int) -> Data {
            let description = joined([
                big(Int(Double(8_000).bitPattern), 8), Data("lpcm".utf8), big(0, 4), big(2, 4), big(1, 4), big(1, 4),
                big(16, 4),
            ])
            return joined([
                Data("caff".utf8), big(1, 2), big(0, 2), chunk("desc", big(32, 8), description),
                chunk("data", big(size, 8), Data(count: 1_000)),
            ])
        }
        #expect(try await header(caf(size: 16_004), .caf).announced == 1)
        for size in [-1, 0, .min, 4] { #expect(try await header(caf(size: size), .caf).announced == nil) }
    }

    @Test("FLAC has its sample rate in its first block, also behind an ID3 tag")
    func flac() async throws {
        let stream = joined([Data("fLaC".utf8), Data(count: 14), big(20 << 4, 3), Data(count: 10)])
        #expect(try await header(stream, .flac).sampleRate == 20)
        let tag = joined([Data("ID3".utf8), Data([4, 0, 0, 0, 0, 1, 2]), Data(count: 130)])
        #expect(try await header(tag + stream, .flac).sampleRate == 20)
    }

    /// The sizes in a header are a stranger's.
    @Test("Headers of random bytes are read without an error")
    func hostile() async throws {
        var generator = SystemRandomNumberGenerator()
        let page = joined([Data("OggS".utf8), Data([0, 2]), Data(count: 20), Data([1, 30]), Data("OpusHead".utf8)])
        for format: AudioFormat in [.wav, .caf, .flac, .ogg] {
            for start in [
                wave(size: 9, samples: 0), joined([Data("caff".utf8), Data(count: 4), Data("data".utf8)]), page, Data(),
            ] {
                for _ in 0..<20 {
                    let noise = Data((0..<64).map { _ in UInt8.random(in: 0...255, using: &generator) })
                    _ = try await header(start.prefix(.random(in: 0...60)) + noise, format)
                }
            }
        }
    }
}
