import Foundation
import LocalPostgres
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// The programs of stages, before a session needs them.
@Suite(.deadline) struct StageProgramTests {
    @Test("A missing program is told at the start and in the details of readiness, which follow when it comes")
    func tellsAboutMissingPrograms() async throws {
        let port = try freePort()
        let log = LogMemory()
        try await ScriptFolder.with { folder in
            let program = "\(folder.path)/later.sh"
            let environment = [
                "METRICS_PORT": "\(port)", "PIPELINE_TRANSCRIBE_COMMAND": "'\(program)' --fast",
                "PIPELINE_NOTES_COMMAND": try folder.command("notes.sh", "echo '{\"result\": {}}'"),
            ]
            try await withServer(environment, runsWorker: true, log: log) { server in
                let warnings = log.warnings.filter { $0.contains("the program of a stage cannot be started") }
                #expect(warnings.count == 1)
                #expect(warnings.first?.hasPrefix("error ") == true)
                #expect(warnings.first?.contains("PIPELINE_TRANSCRIBE_COMMAND") == true)
                #expect(warnings.first?.contains("later.sh\" is not there") == true)

                let metrics = server.at(port: port)
                try await eventually("the metrics are served") {
                    (try? await metrics.request(.GET, "/metrics").status) == 200
                }
                func programs() async throws -> [String: Bool] {
                    let ready = try await metrics.request(.GET, "/health/ready")
                    #expect(ready.status == 200)
                    let details = try #require(try ready.json()["details"] as? [[String: any Sendable]])
                    return Dictionary(
                        details.compactMap { detail in
                            guard let name = detail["name"] as? String, name.hasPrefix("program: ") else { return nil }
                            return (name, detail["ok"] as? Bool ?? false)
                        }, uniquingKeysWith: { $1 })
                }
                let notes = "program: PIPELINE_NOTES_COMMAND"
                let transcribe = "program: PIPELINE_TRANSCRIBE_COMMAND"
                #expect(try await programs() == [transcribe: false, notes: true])
                // A volume was mounted.
                try Data("#!/bin/sh\n".utf8).write(to: URL(filePath: program))
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program)
                #expect(try await programs() == [transcribe: true, notes: true])
            }
        }
    }
}
