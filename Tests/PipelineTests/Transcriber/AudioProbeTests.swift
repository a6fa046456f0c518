import Foundation
import Pipeline
import TestSupport
import TestTime
import Testing

/// The environment of the probe's programs, and programs that misbehave.
@Suite("A probe of a recording", .deadline) struct AudioProbeTests {
    private static let answer = #"{"streams": [{}], "format": {"duration": "42.5"}}"#

    /// Runs the probe with a script as its ffprobe.
    private func probe(_ script: String, clock: any Clock<Duration> = ContinuousClock()) async throws -> Double {
        let directory = FileManager.default.temporaryDirectory.appending(path: "tb-probe-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: directory) }
        let program = directory.appending(path: "ffprobe").path(percentEncoded: false)
        try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(filePath: program))
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: program)
        var programs = SpeechPrograms()
        programs.ffprobe = program
        return try await AudioProbe(programs: programs, clock: clock).duration(of: "/nothing.wav")
    }

    private func isUnreadable(_ body: @Sendable () async throws -> Double) async -> Bool {
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
        #expect(await isUnreadable { try await missing.duration(of: "/nothing.wav") })
    }
}
