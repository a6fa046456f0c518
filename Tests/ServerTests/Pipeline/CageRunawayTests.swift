import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The budgets of a site's own stage, and stages that run away from their worker.
@Suite("Runaway stages of a worker", .deadline) struct CageRunawayTests {
    @Test("A stage has the budgets of the settings, and those that no setting changes", arguments: [0, 1 << 30])
    func budgets(memory: Int) async throws {
        let port = try freePort()
        let script = """
            cat /proc/$$/limits > "$folder/limits"
            cat /proc/$$/oom_score_adj > "$folder/score"
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let environment = [
                "METRICS_PORT": "\(port)", "PIPELINE_STAGE_TIMEOUT": "1000", "PIPELINE_STAGE_MEMORY": "\(memory)",
                "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            try await withServer(environment, runsWorker: true) { server in
                let scene = try await WorkerScene(server)
                #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                let text = try folder.text(of: "limits")
                /// The soft and the hard limit.
                func limits(_ name: String) -> [String] {
                    let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
                    return line?.dropFirst(name.count).split(separator: " ").prefix(2).map(String.init) ?? []
                }
                let (descriptors, core) = (try hostLimit(RLIMIT_NOFILE), try hostLimit(RLIMIT_CORE))
                func twice(_ value: Int) -> [String] { ["\(value)", "\(value)"] }
                let processors = ProcessInfo.processInfo.activeProcessorCount
                #expect(limits("Max cpu time") == twice(1_000 * processors))
                #expect(limits("Max address space") == (memory == 0 ? ["unlimited", "unlimited"] : twice(memory)))
                #expect(limits("Max file size") == twice(16 << 30))
                #expect(limits("Max open files") == twice(min(4_096, descriptors)))
                // The kernel makes no core dump for a limit of 1. No process can raise a limit of 0.
                #expect(limits("Max core file size") == twice(min(1, core)))
                #expect(limits("Max msgqueue size") == twice(0))
                #expect(try folder.text(of: "score") == "1000\n")

                let ready = try await server.at(port: port).request(.GET, "/health/ready").json()
                let details = try #require(ready["details"] as? [[String: any Sendable]])
                let count = try #require(details.first { $0["name"] as? String == "cage: count" })
                // The limit counts the processes of one user namespace.
                if count["ok"] as? Bool == true { #expect(limits("Max processes") == twice(4_096)) }
            }
        }
    }

    /// The hard limit of this process.
    private func hostLimit(_ resource: __rlimit_resource) throws -> Int {
        var limit = rlimit()
        try #require(getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0)
        return Int(clamping: limit.rlim_max)
    }

    @Test(
        "A cancellation ends a stage that ignores signals, and one that forks without end; the next session is processed",
        arguments: [
            #"""
            trap '' TERM HUP INT QUIT
            (setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 600; done' &)
            touch "$folder/begun"
            while :; do sleep 600; done
            """#,
            #"""
            n=0
            while :; do
                setsid sleep 600 &
                n=$((n + 1))
                if [ $n -ge 200 ]; then touch "$folder/begun"; sleep 0.05; fi
            done
            """#,
        ])
    func cancelled(runaway: String) async throws {
        let marker = CageMarker()
        let script = """
            if [ ! -e "$folder/go" ]; then
            \(runaway)
            fi
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            let stage = [
                "PIPELINE_STAGE_WRITES": folder.path,
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
            ]
            try await withDatabase { database in
                let settings = TestServer.settings(over: database, uploads: URL(filePath: folder.uploads))
                    .merging(stage) { $1 }.merging(marker.settings) { $1 }
                try await withServer(over: database, settings) { server in
                    try await withRunningProgram("work", environment: settings) { _ in
                        let scene = try await WorkerScene(server)
                        let session = try await scene.upload()
                        try await folder.wait(for: "begun")
                        #expect(!marker.stages.isEmpty)
                        let path = "/api/sessions/\(session)/cancel"
                        #expect(try await server.request(.POST, path, token: scene.token).status == 202)
                        try await eventually("the end of the stage") { marker.stages.isEmpty }
                        try folder.touch("go")
                        #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                    }
                }
            }
        }
    }

    /// A gigabyte in all: a line without an end, one that begins like a result, and standard error.
    @Test("A stage that prints a gigabyte costs its worker little memory, and its session is processed")
    func printsMuch() async throws {
        let script = """
            head -c 400000000 /dev/zero | tr '\\0' 'x'
            head -c 400000000 /dev/zero >&2
            printf '\\n{"result": "'
            head -c 200000000 /dev/zero | tr '\\0' 'x'
            printf '"}\\n'
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let settings = TestServer.settings(over: database, uploads: URL(filePath: folder.uploads)).merging([
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script)
                ]) { $1 }
                try await withServer(over: database, settings) { server in
                    let scene = try await WorkerScene(server)
                    try await CageHostWorker.with(lacking: [], settings) { worker in
                        #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                        // The line with the longest result, twice while it grows, and the program itself.
                        let bytes = try #require(worker.mostBytes)
                        #expect(bytes < 350_000_000)
                    }
                }
            }
        }
    }
}
