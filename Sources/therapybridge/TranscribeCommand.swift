import ArgumentParser
import Foundation
import Pipeline

struct Transcribe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Transcribe a recording with the bundled transcriber, as a stage of the pipeline.",
        discussion: "Prints progress as JSON lines, the transcript last. Needs ffmpeg and pocketsphinx.")

    @Argument(help: "The recording.", completion: .file())
    var file: String

    func run() async throws {
        let status = await TranscribeCommand().run(
            file: file,
            output: { try FileHandle.standardOutput.write(contentsOf: Data(($0 + "\n").utf8)) },
            errorOutput: { try? FileHandle.standardError.write(contentsOf: Data(($0 + "\n").utf8)) })
        if status != 0 { throw ExitCode(status) }
    }
}
