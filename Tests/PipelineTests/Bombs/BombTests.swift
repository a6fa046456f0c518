import Cage
import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// Files that were made to cost memory or hours: each is measured and transcribed in the cage of the bundled programs.
@Suite("Files made to cost memory or time", .serialized) struct BombTests {
    /// How a command ended, and the most memory that its processes had together.
    private struct Run {
        var failure: StageFailure?
        var bytes: Int
    }

    @Test(
        "A bomb ends with a result or a sentence, and stays in its budget", arguments: Bomb.all + Bomb.seeded,
        ["measure", "transcribe"])
    func endsInItsBudget(bomb: Bomb, subcommand: String) async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-bomb-\(UUID().uuidString)")
        let path = file.path(percentEncoded: false)
        try bomb.make().write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        // A stage of root runs as another user.
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        let run = try await run(subcommand, path)
        if Bomb.isLong {
            print("\(bomb.name)\t\(subcommand)\t\(run.bytes >> 20) MiB\t\(run.failure?.publicMessage ?? "a result")")
        }
        // The kernel bounds each process. One of them reads the file, or several that share the budget.
        #expect(run.bytes < CageBudget.bundledAddressSpace)
        if let failure = run.failure {
            #expect([.exited, .killed].contains(failure.code), "\(String(reflecting: failure))")
            #expect(failure.publicMessage.hasSuffix("."))
            #expect(!failure.publicMessage.contains("/"))
        }
    }

    private func run(_ subcommand: String, _ path: String) async throws -> Run {
        let marker = "tb-bombs-\(UUID().uuidString)"
        let folder = FileManager.default.temporaryDirectory.appending(path: marker).path(percentEncoded: false)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var command = try StageCommand("therapybridge \(subcommand)", setting: "TEST", title: "transcription")
        command.programs = ["therapybridge": builtProgram]
        command.cage.cage.launcher = [builtProgram]
        command.environment = ["TB_MAX_DURATION_SECONDS": "14400"]
        command.workDirectory = folder
        let started = command
        let run = try await within("the end of a bomb", limit: TestDeadline.test * (Bomb.isLong ? 10 : 1)) {
            // Not structured: it ends when the command has ended.
            let sampling = Task { await mostBytes(ofProcessesWith: marker) }
            defer { sampling.cancel() }
            let failure: StageFailure?
            do {
                _ = try await started.run(recording: path) { _ in }
                failure = nil
            } catch let error as StageFailure {
                failure = error
            }
            sampling.cancel()
            return Run(failure: failure, bytes: await sampling.value)
        }
        #expect(ProcessMemory.processes(withEnvironment: marker).isEmpty)
        return run
    }
}

/// The most memory that the processes with a text in their environment have together, until the task is cancelled.
private func mostBytes(ofProcessesWith marker: String) async -> Int {
    var most = 0
    while !Task.isCancelled {
        most = max(most, ProcessMemory.bytes(of: ProcessMemory.processes(withEnvironment: marker)))
        try? await ContinuousClock().sleep(for: .milliseconds(20))
    }
    return most
}
