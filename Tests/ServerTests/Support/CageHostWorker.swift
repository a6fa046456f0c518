import Foundation
import TestSupport

/// A `work` process on a host that seems to lack parts of the kernel.
struct CageHostWorker: Sendable {
    /// The process.
    let program: RunningProgram
    private let folder: URL

    /// Lends a worker that runs, and ends it.
    ///
    /// - Parameters:
    ///   - lacks: What `without-layers` takes away: `landlock`, `namespaces`.
    ///   - settings: The settings of the worker.
    ///   - body: The test.
    /// - Returns: What the body returns.
    /// - Throws: ``CanaryFound`` when the log contains a canary; what the body throws.
    static func with<Result: Sendable>(
        lacking lacks: [String], _ settings: [String: String],
        _ body: @escaping @Sendable (CageHostWorker) async throws -> Result
    ) async throws -> Result {
        try await withTemporaryFolder("worker") { folder in
            let path = folder.path(percentEncoded: false)
            let tools = URL(filePath: builtProgram).deletingLastPathComponent()
            let words =
                [tools.appending(path: "without-layers").path(percentEncoded: false)] + lacks
                + ["--", builtProgram, "work"]
            let line = words.map { "'\($0)'" }.joined(separator: " ")
            // The shell becomes the worker, and keeps its number.
            let script = "echo $$ > '\(path)/number'; exec \(line) 2> '\(path)/log'"
            let environment = settings.merging(["LOG_FORMAT": "json"]) { $1 }
            let result = try await withRunningProgram("-c", script, path: "/bin/sh", environment: environment) {
                try await body(CageHostWorker(program: $0, folder: folder))
            }
            let log = try String(contentsOf: folder.appending(path: "log"), encoding: .utf8)
            try CanaryWatch.shared.inspect(log, in: "the log of a worker")
            return result
        }
    }

    /// The whole lines of the log so far: their members as text.
    var log: [[String: String]] {
        get throws {
            let text = try String(contentsOf: folder.appending(path: "log"), encoding: .utf8)
            return text.split(separator: "\n").compactMap { line in
                try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
            }
        }
    }

    /// The most memory that the process has had, in bytes, or nil if it has ended.
    var mostBytes: Int? {
        guard let number = try? String(contentsOf: folder.appending(path: "number"), encoding: .utf8),
            let status = FileManager.default.contents(
                atPath: "/proc/\(number.trimmingCharacters(in: .whitespacesAndNewlines))/status")
        else { return nil }
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
    }
}
