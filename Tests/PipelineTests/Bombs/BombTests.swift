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
        "A bomb ends with a result or a sentence, and stays in its budget", arguments: Bomb.all,
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
        // The kernel bounds each process. Only one of them reads the file.
        #expect(run.bytes < CageBudget.bundledAddressSpace)
        if let failure = run.failure {
            #expect([.exited, .killed].contains(failure.code), "\(String(reflecting: failure))")
            #expect(failure.publicMessage.hasSuffix("."))
            #expect(!failure.publicMessage.contains("/"))
        }
    }

    private func run(_ subcommand: String, _ path: String) async throws -> Run {
        // The name of this folder is in the environment of every process of the cage, as a part of TMPDIR.
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
        #expect(processes(with: marker).isEmpty)
        return run
    }
}

/// The most memory that the processes with a text in their environment have together, until the task is cancelled.
private func mostBytes(ofProcessesWith marker: String) async -> Int {
    var most = 0
    while !Task.isCancelled {
        most = max(most, residentBytes(of: processes(with: marker)))
        try? await ContinuousClock().sleep(for: .milliseconds(20))
    }
    return most
}

/// The numbers of the processes whose environment has a text.
private func processes(with marker: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.filter { name in
        guard Int(name) != nil, let bytes = FileManager.default.contents(atPath: "/proc/\(name)/environ") else {
            return false
        }
        return bytes.range(of: Data(marker.utf8)) != nil
    }
}

/// The memory of processes in bytes.
private func residentBytes(of processes: [String]) -> Int {
    processes.reduce(0) { sum, name in
        let text = FileManager.default.contents(atPath: "/proc/\(name)/statm").map {
            String(decoding: $0, as: UTF8.self)
        }
        return sum + (text?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4_096
    }
}
