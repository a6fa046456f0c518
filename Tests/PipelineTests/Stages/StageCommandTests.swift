import Cage
import Foundation
import Synchronization
import TestSupport
import TestTime
import Testing

@testable import Pipeline

/// Runs small shell scripts as stages, and covers each way in which a command can fail a session.
@Suite(.deadline) struct StageCommandTests {
    private func command(_ script: String) throws -> StageCommand {
        var command = try StageCommand(
            "/bin/sh -c '\(script.replacingOccurrences(of: "'", with: #"'\''"#))' sh",
            setting: "PIPELINE_TEST_COMMAND",
            title: "transcription"
        )
        command.grace = .milliseconds(500)
        return command
    }

    private func failure(of command: StageCommand) async -> StageFailure? {
        await #expect(throws: StageFailure.self) {
            try await command.run(recording: "/nowhere/rec.wav") { _ in }
        }
    }

    @Test("A command gets the path of the recording, and its output is read")
    func passesTheRecordingAndReadsTheAnswer() async throws {
        let seen = Mutex<[StageProgress]>([])
        let result = try await command(
            #"echo "{\"progress\": 50, \"message\": \"half\"}"; echo "{\"result\": {\"path\": \"$1\", \"n\": $#}}""#
        ).run(recording: "/a b/rec.wav") { update in seen.withLock { $0 += [update.progress].compactMap(\.self) } }
        #expect(result.json == #"{"path": "/a b/rec.wav", "n": 1}"#)
        #expect(seen.withLock { $0 } == [StageProgress(progress: 50, message: "half")])
    }

    @Test("Users see the words of the last error, and never standard error, whose end is kept")
    func showsTheLastError() async throws {
        let failure = await failure(
            of: try command(
                #"echo first >&2; echo '{"error":"Not yet."}'; echo '{"error":"No speech was found."}'; printf 'a\rb\033[1m\377' >&2; exit 3"#
            ))
        #expect(failure?.code == .exited)
        #expect(failure?.fault == .recording)
        #expect(failure?.publicMessage == "No speech was found.")
        #expect(failure?.exitStatus == 3)
        #expect(failure?.outputTail == "first\na\nb [1m\u{FFFD}")
        #expect(failure?.detail.contains("exit status 3") == true)
        #expect(failure?.detail.contains("14 bytes of standard error") == true)
        // The detail goes to the log, and the output of a program may have words of the session.
        #expect(failure?.detail.contains("first") == false)
        #expect(failure?.detail.contains("speech") == false)
        let silent = await self.failure(of: try command("echo 'segment: I told my wife about it' >&2; exit 1"))
        #expect(silent?.publicMessage == "The transcription program failed without saying why.")
        #expect(silent?.outputTail == "segment: I told my wife about it\n")
    }

    @Test("Each other way to end has its own code, and says what is at fault")
    func tellsEveryOtherEndApart() async throws {
        let killed = await failure(of: try command("echo last >&2; kill -9 $$"))
        #expect(killed?.code == .killed)
        #expect(killed?.fault == .run)
        #expect(killed?.exitStatus == nil)
        #expect(killed?.outputTail == "last\n")
        let empty = await failure(of: try command("echo Loading"))
        #expect(empty?.code == .noResult)
        #expect(empty?.fault == .recording)
        #expect(empty?.foreignLines.count == 1)
        #expect(await failure(of: try command(#"echo '{"error":"Too quiet."}'"#))?.publicMessage == "Too quiet.")
        #expect(await failure(of: try command("echo \"{\\\"result\\\": 1}\"; exit 1"))?.code == .exited)
        let unavailable = await failure(of: try command(#"echo '{"error":"no key sk-1"}'; exit 75"#))
        #expect(unavailable?.code == .unavailable)
        #expect(unavailable?.fault == .installation)
        #expect(unavailable?.publicMessage == "The transcription program cannot work now.")
    }

    @Test("A result that cannot be used is refused with the member that is missing")
    func namesWhatIsMissing() async throws {
        var command = try command(
            #"echo '{"result":{"text":"my wife","segments":[{"start":0,"end":1,"text":"my"},{"start":1,"text":"wife"}]}}'"#
        )
        command.resultRule = .transcript(recordingSeconds: 2)
        let failure = await failure(of: command)
        #expect(failure?.code == .badOutput)
        #expect(failure?.publicMessage.contains("segments[1].end is missing") == true)
        #expect(failure?.detail.contains("segments[1].end is missing") == true)
        #expect(failure?.detail.contains("wife") == false)
        let nan = await self.failure(of: try self.command(#"echo '{"result":{"text":"","segments":[NaN]}}'"#))
        #expect(nan?.code == .badOutput)
        #expect(
            nan?.detail.contains("NaN or Infinity, which is no JSON (Python: json.dumps(…, allow_nan=False))") == true)
    }

    @Test("A value of the server that a stage gets is kept out of its last words")
    func hidesSecrets() async throws {
        var command = try command(
            #"head -c 9000 /dev/zero | tr '\0' x >&2; echo "bad key $API_KEY" >&2; echo "{\"error\":\"401 for $API_KEY\"}"; exit 1"#
        )
        command.cage.variables.values = ["API_KEY": "sk-canary-123", "LEVEL": "1"]
        let failure = await failure(of: command)
        #expect(failure?.outputTail.hasSuffix("xbad key $API_KEY\n") == true)
        #expect(failure?.outputTail.utf8.count == 8_192)
        #expect(failure?.publicMessage == "401 for $API_KEY")
    }

    @Test("A value of the server that a stage gets is kept out of its messages, its segments and its result")
    func hidesSecretsFromWatchers() async throws {
        var command = try command(
            #"echo "{\"progress\":1,\"message\":\"key $API_KEY\",\"segment\":{\"start\":0,\"end\":1,\"text\":\"$API_KEY\"}}"; echo "{\"result\":\"$API_KEY\"}""#
        )
        command.cage.variables.values = ["API_KEY": "sk-canary-123"]
        let updates = Mutex<[StageUpdate]>([])
        let result = try await command.run(recording: "r") { update in updates.withLock { $0.append(update) } }
        #expect(result.json == #""$API_KEY""#)
        let seen = updates.withLock { $0 }
        #expect(seen.compactMap(\.progress?.message) == ["key $API_KEY"])
        #expect(seen.flatMap(\.segments).map(\.text) == ["$API_KEY"])
    }

    @Test("A secret that the limit cuts in two is hidden whole")
    func hidesASecretAtTheLimit() {
        let secrets = SecretValues(["KEY": "sk-canary-123"])
        for padding in 0..<20 {
            var tail = OutputTail(limit: 16)
            tail.append(Array(("sk-canary-123" + String(repeating: "x", count: padding)).utf8))
            #expect(!tail.text(without: secrets).contains("can"), "\(padding)")
            #expect(tail.text(without: secrets).utf8.count <= 16)
        }
    }

    @Test("A command ends at its timeout")
    func endsTheCommandAtItsTimeout() async throws {
        let clock = ManualClock()
        var command = try command("sleep 600")
        command.timeout = .seconds(3600)
        command.clock = clock
        let slow = command
        async let failure = self.failure(of: slow)
        try await clock.waitForSleepers()
        clock.advance(by: .seconds(3600))
        #expect(await failure?.code == .timedOut)
    }

    @Test("A command that prints nothing for too long ends, and any word on either output keeps it")
    func endsACommandThatStandsStill() async throws {
        let clock = ManualClock()
        let folder = FileManager.default.temporaryDirectory.path + "/\(UUID())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: folder)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var command = try command(
            #"echo '{"progress":1}'; until [ -e \#(folder)/go ]; do sleep 0.02; done; echo word >&2; echo '{"progress":2}'; exec sleep 600"#
        )
        command.timeout = nil
        command.stallTimeout = .seconds(40)
        command.clock = clock
        let (updates, update) = AsyncStream.makeStream(of: Void.self)
        let silent = command
        async let failure: StageFailure? = #expect(throws: StageFailure.self) {
            try await silent.run(recording: "r") { _ in update.yield() }
        }
        var seen = updates.makeAsyncIterator()
        await seen.next()
        // The first quarter sees the first word. Two quiet ones follow, and then another word.
        for _ in 0..<3 {
            try await clock.waitForSleepers()
            clock.advance(by: .seconds(10))
        }
        try await clock.waitForSleepers()
        try Data().write(to: URL(filePath: folder + "/go"))
        await seen.next()
        for _ in 0..<5 {
            try await clock.waitForSleepers()
            clock.advance(by: .seconds(10))
        }
        let stalled = await failure
        #expect(stalled?.code == .stalled)
        #expect(stalled?.fault == .run)
        #expect(stalled?.outputTail == "word\n")
    }

    @Test("Each silence of a command is told once, and so is its next word on either output")
    func tellsSilence() async throws {
        let clock = ManualClock()
        let folder = FileManager.default.temporaryDirectory.path + "/\(UUID())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: folder)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var command = try command(
            #"""
            echo '{"progress":1}'; until [ -e \#(folder)/go ]; do sleep 0.02; done; echo word >&2
            until [ -e \#(folder)/end ]; do sleep 0.02; done; echo '{"result":1}'
            """#)
        command.timeout = nil
        command.silenceNotice = .seconds(40)
        command.clock = clock
        let (updates, update) = AsyncStream.makeStream(of: StageUpdate.self)
        let quiet = command
        async let result = quiet.run(recording: "r") { update.yield($0) }
        var seen = updates.makeAsyncIterator()
        #expect(await seen.next() == StageUpdate(progress: StageProgress(progress: 1)))
        func letQuartersPass(_ count: Int) async throws {
            for _ in 0..<count {
                try await clock.waitForSleepers()
                clock.advance(by: .seconds(10))
            }
        }
        // The first quarter sees the first word. Four quiet ones follow.
        try await letQuartersPass(5)
        #expect(await seen.next() == StageUpdate(silence: .began(.seconds(40))))
        // The same silence goes on.
        try await letQuartersPass(8)
        try Data().write(to: URL(filePath: folder + "/go"))
        #expect(await seen.next() == StageUpdate(silence: .ended))
        // The watch sees the word, and begins anew.
        try await letQuartersPass(5)
        #expect(await seen.next() == StageUpdate(silence: .began(.seconds(40))))
        try Data().write(to: URL(filePath: folder + "/end"))
        #expect(try await result.json == "1")
    }

    @Test(
        "A command gets the transcript in a file and on standard input, and may read it or not",
        arguments: [
            #"cmp "$TB_TRANSCRIPT" - || exit 1; tr -d '\n' < "$TB_TRANSCRIPT" > "$TMPDIR/t"; printf '{"result":%s}' "$(cat "$TMPDIR/t")""#,
            #"exec <&-; printf '{"result":%s}' "$(cat "$TB_TRANSCRIPT")""#,
            #"printf '{"result":%s}' "$(cat "$TB_TRANSCRIPT")""#,
            #"head -c 10 > /dev/null; printf '{"result":%s}' "$(cat "$TB_TRANSCRIPT")""#,
        ])
    func givesTheTranscript(script: String) async throws {
        var command = try command(script)
        // More than the buffer of a pipe.
        let transcript = #"{"text":"\#(String(repeating: "words ", count: 20_000))","segments":[]}"#
        command.transcript = transcript
        #expect(try await command.run(recording: "r") { _ in }.json == transcript)
    }

    @Test("Segments reach the callback, all of them and in their order")
    func handsSegmentsOver() async throws {
        let seen = Mutex<[Double]>([])
        let command = try command(
            #"i=0; while [ $i -lt 500 ]; do echo "{\"segment\": {\"start\": $i, \"end\": $i, \"text\": \"a\"}}"; i=$((i+1)); done; echo '{"result":1}'"#
        )
        _ = try await command.run(recording: "r") { update in
            seen.withLock { $0 += update.segments.map(\.start) }
            await Task.yield()
        }
        #expect(seen.withLock { $0 } == (0..<500).map(Double.init))
    }

    @Test("A callback that stands still costs bounded memory, and gets a beginning without gaps")
    func boundsWaitingSegments() {
        let trace = StageTrace()
        for number in 0..<(StageTrace.segmentLimit + 10) {
            let segment = TranscriptSegment(start: Double(number), end: Double(number), text: "")
            _ = trace.note(output: 1, foreign: ForeignLines(), news: StageUpdate(segments: [segment]))
        }
        #expect(trace.takeNews().segments.map(\.start) == (0..<StageTrace.segmentLimit).map(Double.init))
        let late = StageUpdate(segments: [TranscriptSegment(start: 1e6, end: 1e6, text: "")])
        #expect(!trace.note(output: 1, foreign: ForeignLines(), news: late))
        #expect(trace.takeNews().isEmpty)
    }

    @Test(
        "A program that is missing or cannot run is named",
        arguments: ["no-such-program-here --x", "/no/such/program", "/etc/passwd"])
    func namesTheMissingProgram(line: String) async throws {
        let command = try StageCommand(line, setting: "PIPELINE_NOTES_COMMAND", title: "notes")
        let failure = await failure(of: command)
        #expect(failure?.publicMessage.contains("PIPELINE_NOTES_COMMAND") == true || failure?.code == .notStarted)
        #expect(failure?.detail.contains(command.words.program) == true)
        #expect(failure?.code == .missingProgram || line == "/etc/passwd")
        #expect(failure?.fault == .installation)
    }

    @Test("Another program can replace the program of the setting")
    func standsInForAProgram() async throws {
        var command = try StageCommand("therapybridge -c 'echo \"{\\\"result\\\":7}\"'", setting: "S", title: "t")
        command.programs = ["therapybridge": "/bin/sh"]
        #expect(try await command.run(recording: "r") { _ in }.json == "7")
    }

    @Test("A command gets only the listed variables and its own temporary directory")
    func scrubsTheEnvironment() async throws {
        var command = try command(
            #"printf '{"result": "%s|%s"}' "$(env | cut -d= -f1 | sort | tr '\n' ' ')" "$TMPDIR""#)
        command.environment = ["MODEL": "base"]
        let json = try await command.run(recording: "r") { _ in }.json
        let names = Set(json.dropFirst().split(separator: "|")[0].split(separator: " ").map(String.init))
        #expect(names.subtracting(["PATH", "HOME", "LANG", "TMPDIR", "MODEL", "PWD", "SHLVL", "_", "OLDPWD"]).isEmpty)
        #expect(names.isSuperset(of: ["PATH", "MODEL", "TMPDIR"]))
        let directory = String(json.dropLast().split(separator: "|")[1])
        #expect(directory.contains("therapybridge-stage"))
        #expect(!FileManager.default.fileExists(atPath: directory))
    }

    /// The command is not slowed, and no progress is queued.
    @Test("A slow callback gets the newest progress")
    func keepsOnlyTheNewestForASlowCallback() async throws {
        let seen = Mutex<[Int]>([])
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        let directory = FileManager.default.temporaryDirectory.path + "/\(UUID())"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: directory)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var command = try command(
            #"i=0; while [ $i -le 90 ]; do echo "{\"progress\": $i}"; i=$((i+1)); done; touch \#(directory)/end; echo '{"result":1}'"#
        )
        command.cage.writable = [directory]
        let running = command
        async let result = running.run(recording: "r") { update in
            guard let progress = update.progress else { return }
            let isFirst = seen.withLock {
                $0.append(progress.progress); return $0.count == 1
            }
            if isFirst { for await _ in gate { break } }
        }
        // The command ends while the first call of the callback is still waiting.
        try await eventually("the end of the command") { FileManager.default.fileExists(atPath: directory + "/end") }
        open.yield()
        #expect(try await result.json == "1")
        let values = seen.withLock { $0 }
        #expect(values.last == 90)
        #expect(values.count <= 92)
        #expect(values == values.sorted())
    }

    @Test("An error of the callback ends the command")
    func endsTheCommandWhenTheCallbackThrows() async throws {
        struct LeaseLost: Error {}
        let command = try command(#"echo '{"progress":1}'; sleep 600"#)
        await #expect(throws: LeaseLost.self) { try await command.run(recording: "r") { _ in throw LeaseLost() } }
    }

    @Test("A result of ten megabytes is read, with much standard error beside it")
    func takesTenMegabytes() async throws {
        let command = try command(
            #"printf '{"result":"'; head -c 10485760 /dev/zero | tr '\0' 'x'; printf '"}'; head -c 3000000 /dev/zero | tr '\0' 'e' >&2"#
        )
        let result = try await command.run(recording: "r") { _ in }
        #expect(result.json.utf8.count == 10_485_762)
    }

    /// The scripts have a child that ignores SIGTERM, one in the background, and a leader that ignores SIGTERM.
    @Test(
        "Cancellation ends the whole process tree",
        arguments: [
            #"trap '' TERM; sleep 600 & (trap '' TERM; while :; do sleep 600; done) & echo '{"progress":1}'; while :; do sleep 600; done"#,
            #"(trap '' TERM; while :; do sleep 600; done) & echo '{"progress":1}'; sleep 600"#,
        ])
    func cancellationKillsTheTree(script: String) async throws {
        let marker = "tb-tree-\(UUID().uuidString)"
        var command = try command(script)
        command.environment = ["TB_MARKER": marker]
        let (started, start) = AsyncStream.makeStream(of: Void.self)
        let ready = command
        let task = Task { try await ready.run(recording: "r") { _ in start.yield() } }
        for await _ in started { break }
        #expect(!processes(with: marker).isEmpty)
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        try await expectGone(marker)
    }

    /// The leader ends with status 0 and leaves a child that holds its pipes.
    @Test("A child in the background is ended, and the result counts")
    func leavesNobodyInTheBackground() async throws {
        let marker = "tb-tree-\(UUID().uuidString)"
        var command = try command(#"(trap '' HUP; while :; do sleep 600; done) & echo '{"result":1}'"#)
        command.environment = ["TB_MARKER": marker]
        #expect(try await command.run(recording: "r") { _ in }.json == "1")
        try await expectGone(marker)
    }

    /// The leader closes its outputs long before its end.
    @Test("The exit status of a silent leader counts")
    func waitsForALeaderThatWentQuiet() async throws {
        let failure = await failure(of: try command(#"echo '{"result":1}'; exec >&- 2>&-; sleep 0.3; exit 5"#))
        #expect(failure?.detail.contains("exit status 5") == true)
    }

    @Test("A hundred runs leak neither descriptors nor zombies")
    func leaksNeitherDescriptorsNorZombies() async throws {
        let command = try command(#"echo '{"progress":1}'; echo '{"result":1}'"#)
        _ = try await command.run(recording: "r") { _ in }
        let before = processDescriptors()
        for _ in 0..<50 {
            _ = try await command.run(recording: "r") { _ in }
            _ = await failure(of: try StageCommand("/no/such", setting: "S", title: "t"))
        }
        // Other tests run at the same time and have some. A hundred runs with a leak would have far more. This process also
        // adopts what the killed programs of other tests leave. Only launchers count, which are started as /proc/self/exe.
        let zombies = processes {
            $0.contains("Name:\texe\n") && $0.contains("State:\tZ") && $0.contains("PPid:\t\(getpid())\n")
        }
        #expect(zombies.count < 40)
        #expect(processDescriptors() - before < 40)
    }

    /// The number of pipes and process descriptors of this process.
    private func processDescriptors() -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        return names.count { name in
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)")
            return target?.hasPrefix("pipe:") == true || target?.contains("pidfd") == true
        }
    }

    /// The list names what is passed on, so that a new secret stays out, too.
    @Test("No secret of the server reaches a stage")
    func passesNoSecret() {
        let own = ["PATH": "/bin", "HOME": "/h", "LANG": "C", "TMPDIR": "/t", "DATABASE_URL": "x", "JWT_SECRET": "y"]
        let passed = StageEnvironment.scrubbed(
            adding: ["LANG": "en", "MODEL": "m"], temporaryDirectory: "/own", from: own)
        #expect(passed == ["PATH": "/bin", "HOME": "/h", "LANG": "en", "TMPDIR": "/own", "MODEL": "m"])
    }

    /// Expects that all processes with the marker end.
    ///
    /// SIGKILL was sent before `run` returned, but the kernel may need a moment.
    private func expectGone(_ marker: String) async throws {
        try await eventually("the end of every process with the marker") { processes(with: marker).isEmpty }
    }

    /// The processes with the marker in their environment.
    ///
    /// Processes of other users cannot be read.
    private func processes(with marker: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.filter { name in
            guard Int(name) != nil, let bytes = FileManager.default.contents(atPath: "/proc/\(name)/environ") else {
                return false
            }
            return String(decoding: bytes, as: UTF8.self).contains(marker)
        }
    }

    private func processes(where matches: (String) -> Bool) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.filter { name in
            guard Int(name) != nil, let bytes = FileManager.default.contents(atPath: "/proc/\(name)/status") else {
                return false
            }
            return matches(String(decoding: bytes, as: UTF8.self))
        }
    }
}
