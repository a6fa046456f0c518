import ArgumentParser
import FoundationEssentials
import Pipeline
import SystemPackage

struct Transcribe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Transcribe a recording with the bundled transcriber, as a stage of the pipeline.",
        discussion: "Prints progress as JSON lines, the transcript last. Needs ffmpeg and pocketsphinx.")

    @Argument(help: "The recording.", completion: .file())
    var file: String

    func run() async throws {
        let status = await TranscribeCommand(environment: ProcessInfo.processInfo.environment).run(
            file: file, output: StageOutputs.write, errorOutput: StageOutputs.writeError)
        if status != 0 { throw ExitCode(status) }
    }
}

struct Measure: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure a recording, as the worker does before its transcription.",
        discussion: "Prints the length that the recording has, and the one that it announces. Needs ffmpeg.",
        shouldDisplay: false)

    @Argument(help: "The recording.", completion: .file())
    var file: String

    func run() async throws {
        let status = await MeasureCommand().run(
            file: file, output: StageOutputs.write, errorOutput: StageOutputs.writeError)
        if status != 0 { throw ExitCode(status) }
    }
}

/// The outputs of a stage, line by line.
private enum StageOutputs {
    static func write(_ line: String) throws {
        try FileDescriptor.standardOutput.writeAll((line + "\n").utf8)
    }

    static func writeError(_ line: String) {
        _ = try? FileDescriptor.standardError.writeAll((line + "\n").utf8)
    }
}
