import Cage
import Foundation
import TestSupport
import Testing

@testable import Pipeline

/// The bundled programs on hosts where a cage has no `/proc` of its own.
@Suite("Measuring without a /proc of the cage", .deadline) struct MeasureCageTests {
    /// Containers allow no namespaces; some allow namespaces and no mounts.
    private static let hosts: [Set<CageMechanism>] = [
        [.account, .landlock, .seccomp],
        [.account, .landlock, .seccomp, .userNamespace, .processNamespace, .networkNamespace],
        [.account, .seccomp, .userNamespace, .processNamespace, .networkNamespace, .mountNamespace],
    ]

    /// libdispatch looks at its threads when work waits.
    ///
    /// On one processor it nearly always does.
    @Test("A measurement does not die of libdispatch's look at its threads", arguments: hosts)
    func survives(used: Set<CageMechanism>) async throws {
        try await MadeRecordings.with { folder in
            let path = try await folder.make(
                "tone.flac", ["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "flac"])
            // A stage of root runs as another user.
            try #require(chmod(path, 0o644) == 0)
            try #require(chmod(folder.directory, 0o755) == 0)
            var command = try StageCommand("therapybridge measure", setting: "TEST", title: "measurement")
            command.programs = ["therapybridge": builtProgram]
            command.workDirectory = folder.directory
            command.cage.cage.used = used
            command.cage.cage.launcher = ["/usr/bin/taskset", "--cpu-list", try firstProcessor(), builtProgram]
            for _ in 0..<8 {
                let result = try await command.run(recording: path) { _ in }
                #expect(result.json.contains(#""duration_seconds":"#), "\(result.json)")
            }
        }
    }

    /// The number of a processor that this process may use.
    private func firstProcessor() throws -> String {
        let status = String(
            decoding: try #require(FileManager.default.contents(atPath: "/proc/self/status")), as: UTF8.self)
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") })
        let list = line.split(whereSeparator: \.isWhitespace)[1]
        return String(list.prefix { $0.isNumber })
    }
}
