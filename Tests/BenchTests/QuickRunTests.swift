import Foundation
import TestSupport
import Testing

/// Short runs of the scenarios, on few streams.
@Suite(.deadline) struct QuickRunTests {
    @Test(
        "A quick run of a scenario measures every row",
        arguments: [
            ("fan-out", 3), ("rights-churn", 8), ("openings", 3), ("sign-ins", 2), ("many-servers", 4),
        ])
    func scenario(name: String, rows: Int) async throws {
        let program = buildFolder.appending(path: "bench")
        let run = try await runProgram(
            program.path(percentEncoded: false),
            ["--quick", "--streams", "100", "--scenario", name, "--python-environment", "/nonexistent"])
        #expect(run.status == 0, "\(run.errorOutput)")
        let found = run.lines.filter { $0.hasPrefix("| `\(name)` |") }
        #expect(found.count == rows, "\(run.output)")
        #expect(!found.contains { $0.contains("failed:") }, "\(run.output)")
    }
}
