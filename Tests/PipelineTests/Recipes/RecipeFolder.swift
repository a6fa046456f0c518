import Cage
import Foundation
import Subprocess
import Synchronization
import SystemPackage
import TestSupport

@testable import Pipeline

/// A folder of one test with the recipes of `deploy/stages`, and with stand-ins for the programs that they need.
///
/// The Unix user of stages reaches it, wherever the package lies.
struct RecipeFolder: Sendable {
    let path: String

    static func with<Result: Sendable>(_ body: (RecipeFolder) async throws -> Result) async throws -> Result {
        let manager = FileManager.default
        let path = manager.temporaryDirectory.path + "/tb-recipes-\(UUID())"
        try manager.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer { try? manager.removeItem(atPath: path) }
        for folder in ["deploy/stages", "Tests/Stages"] {
            let source = packageRoot.appending(path: folder)
            for name in try manager.contentsOfDirectory(atPath: source.path(percentEncoded: false)) {
                try manager.copyItem(
                    atPath: source.appending(path: name).path(percentEncoded: false), toPath: "\(path)/\(name)")
            }
        }
        try manager.copyItem(
            atPath: packageRoot.appending(path: "Sources/App/Demo/demo-recording.ogg").path(percentEncoded: false),
            toPath: "\(path)/recording.ogg")
        try Data("no audio".utf8).write(to: URL(filePath: path + "/broken.ogg"))
        for name in try [""] + manager.subpathsOfDirectory(atPath: path) {
            try manager.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(path)/\(name)")
        }
        return try await body(RecipeFolder(path: path))
    }

    /// Runs a recipe as a worker does, with the variables that `PIPELINE_STAGE_ENV` names.
    func run(
        _ recipe: String, _ variables: [String: String] = [:], language: String? = nil,
        recording: String = "recording.ogg", transcript: String? = nil
    ) async throws -> (result: StageResult, updates: [StageUpdate]) {
        var command = try StageCommand("\(path)/\(recipe)", setting: "PIPELINE_TEST_COMMAND", title: "transcription")
        command.cage.variables.values = variables
        command.environment["TB_LANGUAGE"] = language
        command.resultRule = transcript == nil ? .transcript(recordingSeconds: 60) : .object
        command.transcript = transcript
        let updates = Mutex<[StageUpdate]>([])
        let result = try await command.run(recording: "\(path)/\(recording)") { update in
            updates.withLock { $0.append(update) }
        }
        return (result, updates.withLock { $0 })
    }

    /// Lends a stand-in for an OpenAI-compatible service: its URL, and a function that returns the requests so far.
    func withService<Result: Sendable>(
        _ body: @escaping @Sendable (String, @escaping @Sendable () -> [String]) async throws -> Result
    ) async throws -> Result {
        let log = "\(path)/service.log"
        let file = try FileDescriptor.open(
            FilePath(log), .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        // The service writes its port first, and then a line for each request.
        @Sendable func lines() -> [String] {
            let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
        return try await Subprocess.run(
            .name("env"), arguments: ["python3", "\(path)/openai_server.py"],
            environment: .custom(programEnvironment([:])), input: .none,
            output: .fileDescriptor(file, closeAfterSpawningProcess: true), error: .discarded
        ) { execution in
            defer { try? execution.send(signal: .kill) }
            try await eventually("the port of the service") { !lines().isEmpty }
            return try await body("http://127.0.0.1:\(lines()[0])/v1") { Array(lines().dropFirst()) }
        }.closureResult
    }
}
