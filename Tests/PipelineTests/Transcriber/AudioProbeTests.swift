import Domain
import Foundation
import TestSupport
import TestTime
import Testing

@testable import Pipeline

/// The environment of the probe's programs, and programs that misbehave.
@Suite("A probe of a recording", .deadline) struct AudioProbeTests {
    private static let answer =
        #"{"streams": [{"codec_type": "audio", "codec_name": "mp3"}], "format": {"duration": "42.5"}}"#

    /// Reads the outline of a recording with a script as ffprobe, and returns the announced length.
    private func probe(_ script: String, clock: any Clock<Duration> = ContinuousClock()) async throws -> Double? {
        try await withProgram(script) { program in
            var programs = SpeechPrograms()
            programs.ffprobe = program
            return try await AudioProbe(programs: programs, clock: clock).outline(of: Self.input).announced
        }
    }

    /// Measures the packets of a recording with a script as ffmpeg.
    private func length(_ script: String) async throws -> Double {
        try await withProgram(script) { program in
            var programs = SpeechPrograms()
            programs.ffmpeg = program
            return try await AudioProbe(programs: programs).length(of: Self.input)
        }
    }

    private static let input = AudioInput(path: "/nothing", format: .mp3)

    private func withProgram<Result: Sendable>(
        _ script: String, _ body: (String) async throws -> Result
    ) async throws -> Result {
        try await MadeRecordings.with { folder in
            let program = try folder.write("program", Data("#!/bin/sh\n\(script)\n".utf8))
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: program)
            return try await body(program)
        }
    }

    private func isUnreadable(_ body: @Sendable () async throws -> Double?) async -> Bool {
        do {
            _ = try await body()
            return false
        } catch TranscriberError.unreadable {
            return true
        } catch {
            Issue.record("\(error)")
            return false
        }
    }

    @Test("The programs of the probe get none of the server's variables")
    func environment() async throws {
        #expect(setenv("TB_PROBE_SECRET", "secret", 1) == 0)
        defer { unsetenv("TB_PROBE_SECRET") }
        let duration = try await probe(
            #"[ -z "$TB_PROBE_SECRET" ] && [ -n "$PATH" ] && echo '\#(Self.answer)' || exit 1"#)
        #expect(duration == 42.5)
    }

    @Test("A program that does not end is ended at the timeout")
    func timeout() async throws {
        let clock = ManualClock()
        async let isEnded = isUnreadable { try await probe("exec sleep 100000", clock: clock) }
        try await clock.waitForSleepers()
        clock.advance(by: .seconds(120))
        #expect(await isEnded)
    }

    @Test("A missing program, a failure and unreadable output make a recording unreadable")
    func misbehaviour() async {
        #expect(await isUnreadable { try await probe("yes x | head -c 1000000") })
        #expect(await isUnreadable { try await probe("exit 3") })
        #expect(await isUnreadable { try await probe("echo '{}'") })
        var programs = SpeechPrograms()
        programs.ffprobe = "/no/ffprobe"
        let missing = AudioProbe(programs: programs)
        #expect(await isUnreadable { try await missing.outline(of: Self.input).announced })
        #expect(await isUnreadable { try await length("exit 3") })
        #expect(await isUnreadable { try await length("yes x | head -c 2000000") })
    }

    @Test("The length by packets is the last one that ffmpeg reports, whatever its status")
    func lengthByPackets() async throws {
        #expect(try await length("echo out_time_us=1000000; echo out_time_us=2500000; exit 1") == 2.5)
        #expect(try await length("echo out_time_us=-6500") == 0)
    }

    @Test("The programs get the demuxer, and only the protocols, demuxers, codecs and streams that a recording needs")
    func arguments() async throws {
        let arguments = try await withProgram(#"printf '%s\n' "$@" > "$0.arguments"; echo out_time_us=0"#) { program in
            var programs = SpeechPrograms()
            programs.ffmpeg = program
            _ = try await AudioProbe(programs: programs).length(of: AudioInput(path: "/a b", format: .threeGPP))
            return try String(contentsOfFile: program + ".arguments", encoding: .utf8)
                .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        }
        let input = try #require(arguments.firstIndex(of: "-i"))
        #expect(arguments[input + 1] == "file:/a b")
        func value(_ option: String) -> String? {
            arguments[..<input].firstIndex(of: option).map { arguments[$0 + 1] }
        }
        #expect(value("-protocol_whitelist") == "file,pipe")
        #expect(value("-f") == "mov")
        #expect(value("-format_whitelist") == "mov")
        #expect(value("-threads") == "1")
        #expect(value("-max_streams") == "64")
        let decoders = try #require(value("-codec_whitelist")).split(separator: ",")
        #expect(decoders.contains("aac"))
        #expect(!decoders.contains { ["dca", "h264", "ac3", "png"].contains($0) })
    }
}
