import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

@testable import Pipeline

/// The bundled programs on a machine with 64 processors, which a library makes them see.
///
/// A program that starts a thread for each processor would need more memory and time than its budget.
@Suite("The bundled programs on 64 processors", .deadline) struct CageProcessorTests {
    private static let processors = 64
    private static let timeout = Duration.seconds(600)

    /// The command of a stage, with the processors of a large machine.
    private func command(_ line: String, in folder: String) throws -> StageCommand {
        var command = try StageCommand(line, setting: "TEST", title: "transcription")
        command.programs = ["therapybridge": builtProgram]
        command.workDirectory = folder
        command.timeout = Self.timeout
        command.cage.cage.launcher = [builtProgram]
        command.cage.processors = Self.processors
        return command
    }

    @Test("The processor time of a stage is its time limit on all processors")
    func processorTime() throws {
        let stages: [(String, Int?)] = [
            ("therapybridge transcribe", 1 << 30), ("therapybridge measure", 1 << 30), ("own", nil),
        ]
        for (line, space) in stages {
            var command = try command(line, in: "/work")
            #expect(enclosed(command).budget.processorTime == .seconds(38_400), "\(line)")
            #expect(enclosed(command).budget.addressSpace == space, "\(line)")
            command.cage.processors = 1
            #expect(enclosed(command).budget.processorTime == Self.timeout, "\(line)")
            command.timeout = nil
            #expect(enclosed(command).budget.processorTime == nil, "\(line)")
        }
        #expect(StageCage().processors == ProcessInfo.processInfo.activeProcessorCount)
    }

    @Test("PIPELINE_STAGE_MEMORY limits a site's own stage, and never the bundled programs")
    func addressSpace() throws {
        for memory in [1 << 20, 1 << 40] {
            var own = try command("own", in: "/work")
            own.cage.memory = memory
            #expect(enclosed(own).budget.addressSpace == memory)
            #expect(enclosed(own).environment["MALLOC_ARENA_MAX"] == nil)
            var bundled = try command("therapybridge transcribe", in: "/work")
            bundled.cage.memory = memory
            #expect(enclosed(bundled).budget.addressSpace == CageBudget.bundledAddressSpace)
            #expect(enclosed(bundled).environment["MALLOC_ARENA_MAX"] == "2")
        }
    }

    private func enclosed(_ command: StageCommand) -> CagedCommand {
        command.cage.enclose(command, recording: "/work/recording", directory: "/work/own")
    }

    @Test("At most four recognisers run", arguments: [(1, 1), (2, 1), (3, 2), (5, 4), (64, 4)])
    func recognisers(processors: Int, count: Int) {
        #expect(Transcriber.parallelism(on: processors) == count)
    }

    /// The programs are real ones.
    ///
    /// A script in the place of each notes how it was started.
    @Test("Each program has one thread, its demuxer and its budget, and a transcription of two tracks succeeds")
    func staysInItsBudget() async throws {
        try await NotedPrograms.with { folder in
            let recording = try await folder.makeRecording()
            let output = try await folder.run(command("therapybridge transcribe", in: folder.work), on: recording)
            #expect(output.contains(#""result":"#), "\(output)")
            let notes = try folder.notes()
            // The tracks and their starts; the length, and one decoder for each track.
            #expect(notes.filter { $0.program == "ffprobe" }.count == 3)
            #expect(notes.filter { $0.program == "ffmpeg" }.count == 3)
            #expect(notes.filter { $0.program == "pocketsphinx_batch" }.count >= 1)
            for note in notes {
                note.expectBudget(processorSeconds: 38_400)
                if note.program != "pocketsphinx_batch" { note.expectDemuxer("matroska") }
            }
        }
    }

    @Test("A measurement stays in its budget")
    func measures() async throws {
        try await NotedPrograms.with { folder in
            let recording = try await folder.makeRecording()
            let output = try await folder.run(command("therapybridge measure", in: folder.work), on: recording)
            #expect(output.contains(#""duration_seconds":"#), "\(output)")
            let notes = try folder.notes()
            // The announced length, the length by the packets, and the end of each of the two tracks.
            #expect(notes.map(\.program).sorted() == ["ffmpeg", "ffmpeg", "ffmpeg", "ffprobe"])
            for note in notes {
                note.expectBudget(processorSeconds: 38_400)
                note.expectDemuxer("matroska")
            }
        }
    }
}

/// A folder with a recording, and scripts that note how they were started before they become the real programs.
private struct NotedPrograms: Sendable {
    /// The folder of the stages' own directories.
    let work: String
    /// The folder of the recording, which a cage shows as a whole.
    private let provided: String
    /// The folder of the notes.
    private let noted: String
    private let recordings: MadeRecordings

    static func with<Result: Sendable>(_ body: (NotedPrograms) async throws -> Result) async throws -> Result {
        try await MadeRecordings.with { recordings in
            let root = recordings.directory
            let folder = NotedPrograms(
                work: "\(root)/work", provided: "\(root)/work/given", noted: "\(root)/noted", recordings: recordings)
            for path in [folder.work, folder.provided, folder.noted] {
                try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            }
            // A stage of root runs as another user.
            for (path, mode) in [(root, 0o755), (folder.work, 0o755), (folder.provided, 0o755), (folder.noted, 0o777)] {
                try #require(chmod(path, mode_t(mode)) == 0)
            }
            let library = URL(filePath: builtProgram).deletingLastPathComponent().appending(
                path: "libManyProcessors.so")
            try FileManager.default.copyItem(
                atPath: library.path(percentEncoded: false), toPath: "\(folder.provided)/processors.so")
            // ffmpeg and ffprobe have an option for the number of processors. The library is not handed on to them.
            for (name, option) in [("ffmpeg", "-cpucount 64"), ("ffprobe", "-cpucount 64"), ("pocketsphinx_batch", "")]
            {
                let program = Cage.path(of: name, in: ProcessInfo.processInfo.environment["PATH"])
                let script = """
                    #!/bin/sh
                    {
                        prlimit --noheadings --raw --output RESOURCE,HARD | sed 's/^/limit /'
                        env | sed 's/^/variable /'
                        printf 'argument %s\\n' "$@"
                    } > '\(folder.noted)/\(name)'.$$
                    exec '\(program)' \(option) "$@"
                    """
                let path = "\(folder.provided)/\(name)"
                try Data(script.utf8).write(to: URL(filePath: path))
                try #require(chmod(path, 0o755) == 0)
            }
            return try await body(folder)
        }
    }

    /// Makes a recording with two tracks of speech, whose name has an extension.
    func makeRecording() async throws -> String {
        let tracks = ["-t", "8", "-map", "0:a", "-map", "0:a", "-c:a", "flac"]
        let path = try await recordings.make("work/given/session.mkv", ["-i", MadeRecordings.speech] + tracks)
        try #require(chmod(path, 0o644) == 0)
        return path
    }

    /// Runs a stage in its cage, and returns its output.
    func run(_ command: StageCommand, on recording: String) async throws -> String {
        try await PrivateDirectory.with(purpose: "stage", in: work, owner: command.cage.account) { directory in
            var caged = command.cage.enclose(command, recording: recording, directory: directory)
            caged.view.writable.append(noted)
            caged.environment["PATH"] = "\(provided):/usr/local/bin:/usr/bin:/bin"
            caged.environment["LD_PRELOAD"] = "\(provided)/processors.so"
            // Without this, the test would test nothing.
            var count = caged
            count.program = "/usr/bin/nproc"
            count.arguments = []
            #expect(try await output(of: count, in: command.cage.cage) == "64\n")
            return try await output(of: caged, in: command.cage.cage)
        }
    }

    private func output(of command: CagedCommand, in cage: Cage) async throws -> String {
        let launch = try cage.launch(command)
        let outcome = try await Subprocess.run(
            launch.configuration, input: launch.input, output: .string(limit: 1 << 20), error: .string(limit: 1 << 16)
        ) { _ in launch.start() }
        #expect(launch.report().failure == nil)
        #expect(outcome.terminationStatus == .exited(0), "\(outcome.standardError)")
        return outcome.standardOutput
    }

    /// What the scripts have noted.
    func notes() throws -> [Note] {
        try FileManager.default.contentsOfDirectory(atPath: noted).map { name in
            Note(
                program: String(name.prefix { $0 != "." }),
                text: try String(contentsOfFile: "\(noted)/\(name)", encoding: .utf8))
        }
    }
}

/// How a program was started.
private struct Note {
    let program: String
    private let text: String
    private let arguments: [String]

    init(program: String, text: String) {
        self.program = program
        self.text = text
        arguments = text.split(separator: "\n").filter { $0.hasPrefix("argument ") }.map { String($0.dropFirst(9)) }
    }

    /// The value of an option, or nil if the option occurs never or after the input.
    private func value(of option: String) -> String? {
        let input = arguments.firstIndex(of: "-i") ?? arguments.endIndex
        return arguments[..<input].firstIndex(of: option).map { arguments[$0 + 1] }
    }

    private func has(_ line: String) -> Bool { text.split(separator: "\n").contains(Substring(line)) }

    func expectBudget(processorSeconds: Int) {
        for limit in [
            "CPU \(processorSeconds)", "AS \(1 << 30)", "FSIZE \(256 << 20)", "NOFILE 256", "STACK \(1 << 20)",
            "MSGQUEUE 0",
        ] {
            #expect(has("limit \(limit)"), "\(program): \(text)")
        }
        #expect(has("limit CORE 1") || has("limit CORE 0"), "\(program): \(text)")
        #expect(has("variable MALLOC_ARENA_MAX=2"), "\(program): \(text)")
        #expect(!text.contains("variable LD_PRELOAD"), "\(program)")
    }

    func expectDemuxer(_ demuxer: String) {
        #expect(value(of: "-threads") == "1", "\(arguments)")
        if program == "ffmpeg" { #expect(value(of: "-filter_threads") == "1", "\(arguments)") }
        #expect(value(of: "-f") == demuxer, "\(arguments)")
        #expect(value(of: "-format_whitelist") == demuxer, "\(arguments)")
        #expect(value(of: "-protocol_whitelist") == "file,pipe", "\(arguments)")
        #expect(value(of: "-probesize") == "\(AudioLimits.probeBytes)", "\(arguments)")
        #expect(value(of: "-max_streams") == "\(AudioLimits.streams)", "\(arguments)")
        // The input is a link. Its name has no extension: the client chose the one of the recording.
        let inputs = arguments.filter { $0.hasPrefix("file:") }
        #expect(inputs.count == 1, "\(arguments)")
        #expect(inputs.first?.hasSuffix("/recording") == true, "\(arguments)")
        #expect(!arguments.contains { $0.contains("session") || $0.contains(".mkv") }, "\(arguments)")
    }
}
