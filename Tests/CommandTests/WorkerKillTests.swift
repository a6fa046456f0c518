import Foundation
import TestSupport
import Testing

/// The small form of `make test-workers`: `Tests/Workers/run` with its own PostgreSQL, server and encrypted recordings.
@Suite(.deadline) struct WorkerKillTests {
    @Test(
        "Sessions are processed once, and no stage and no plain recording is left, however often their worker gets SIGKILL"
    )
    func kills() async throws {
        let script = packageRoot.appending(path: "Tests/Workers/run").path(percentEncoded: false)
        let run = try await runProgram(
            "/usr/bin/python3", [script, builtProgram, "kills", "--kills", "5", "--sessions", "4"],
            environment: ["TEST_SLOWNESS": ProcessInfo.processInfo.environment["TEST_SLOWNESS"] ?? "1"])
        #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        #expect(run.lines.last == "every session was processed once", "\(run.output)")
    }
}
