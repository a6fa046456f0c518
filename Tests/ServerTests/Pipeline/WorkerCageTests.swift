import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The cage of a worker's stages: what a site's own stage can do, what it gets by settings, and what is reported.
@Suite("The cage of a worker", .deadline) struct WorkerCageTests {
    @Test("A stage has no way to other recordings, the work folder, secrets or the worker's environment")
    func keepsApart() async throws {
        let script = """
            {
                cat /proc/$PPID/environ /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -a 'JWT_SECRET\\|DATABASE_URL'
                ls "$(dirname "$1")/.." "$UPLOADS" "$WORK" "$(dirname "$TMPDIR")" 2>/dev/null | grep -v "$(basename "$TMPDIR")"
                cat "$KEY" "$UPLOADS"/* 2>/dev/null
                kill -9 $PPID
            } > "$folder/found" 2>/dev/null
            basename "$(dirname "$1")" > "$folder/own"
            \(Script.transcribes)
            """
        try await KeyFolder.with { keys in
            try await ScriptFolder.with { folder in
                let environment = [
                    "UPLOAD_DIR": folder.uploads, "UPLOAD_KEY_FILE": try keys.key("key"),
                    "PIPELINE_WORK_DIR": try keys.folder("work"), "PIPELINE_STAGE_WRITES": folder.path,
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command(
                        "transcribe.sh",
                        "UPLOADS='\(folder.uploads)' WORK='\(keys.url.path(percentEncoded: false))/work'\n"
                            + "KEY='\(keys.url.path(percentEncoded: false))/key'\n" + script),
                ]
                try await withServer(environment, runsWorker: true) { server in
                    let scene = try await WorkerScene(server)
                    for _ in 0..<2 {
                        let events = try await scene.watchToEnd(try await scene.upload())
                        #expect(events.last?.event == "complete", "\(String(describing: events.last?.data))")
                        let own = try folder.text(of: "own").trimmingCharacters(in: .whitespacesAndNewlines)
                        let found = try folder.text(of: "found").split(separator: "\n").filter { line in
                            // Its own recording, and the folder that was made for it.
                            line != "recording" && !line.hasSuffix(":") && line != own
                        }
                        #expect(found.isEmpty, "\(found)")
                    }
                }
            }
        }
    }

    @Test("A stage gets the variables, the network and the folders that the settings name, and no others")
    func opensBySettings() async throws {
        let script = """
            env | cut -d= -f1 | sort | tr '\\n' ' ' > "$folder/names"
            echo "$HF_HOME" > "$folder/value"
            bash -c 'exec 3<>/dev/tcp/127.0.0.1/'$PORT 2>/dev/null && echo reached > "$folder/network"
            ulimit -Hv > "$folder/memory"
            \(Script.transcribes)
            """
        let (socket, port) = try listenOnLoopback()
        defer { close(socket) }
        for isOpen in [true, false] {
            try await ScriptFolder.with { folder in
                let environment = [
                    "PIPELINE_STAGE_WRITES": folder.path, "HF_HOME": "/models", "HF_TOKEN": "a token",
                    "PIPELINE_STAGE_ENV": "HF_HOME, NOT_SET", "PIPELINE_STAGE_NETWORK": isOpen ? "on" : "off",
                    "PIPELINE_STAGE_MEMORY": isOpen ? "0" : "1073741824",
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", "PORT=\(port)\n" + script),
                ]
                try await withServer(environment, runsWorker: true) { server in
                    let scene = try await WorkerScene(server)
                    #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                    let names = Set(try folder.text(of: "names").split(separator: " ").map(String.init))
                    #expect(names.contains("HF_HOME"))
                    #expect(
                        names.isDisjoint(with: ["HF_TOKEN", "NOT_SET", "JWT_SECRET", "DATABASE_URL", "UPLOAD_DIR"]))
                    #expect(try folder.text(of: "value") == "/models\n")
                    #expect(folder.exists("network") == isOpen)
                    #expect(try folder.text(of: "memory") == (isOpen ? "unlimited\n" : "1048576\n"))
                }
            }
        }
    }

    @Test("METRICS_PORT tells which layers of the cage are active, and readiness does not depend on them")
    func isReported() async throws {
        let port = try freePort()
        try await ScriptFolder.with { folder in
            let environment = [
                "METRICS_PORT": "\(port)",
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.transcribes),
            ]
            try await withServer(environment, runsWorker: true) { server in
                let metrics = server.at(port: port)
                try await eventually("the metrics are served") {
                    (try? await metrics.request(.GET, "/metrics").status) == 200
                }
                let ready = try await metrics.request(.GET, "/health/ready")
                #expect(ready.status == 200)
                let body = try ready.json()
                #expect(body["status"] as? String == "healthy")
                let details = try #require(body["details"] as? [[String: any Sendable]])
                let layers = details.filter { ($0["name"] as? String)?.hasPrefix("cage: ") == true }
                let names = layers.compactMap { $0["name"] as? String }
                #expect(
                    names == ["files", "processes", "network", "calls", "count", "account"].map { "cage: \($0)" })
                let scrape = try Scrape(try await metrics.request(.GET, "/metrics").text)
                for detail in layers {
                    let name = try #require(detail["name"] as? String)
                    let isActive = try #require(detail["ok"] as? Bool)
                    let value = scrape.value("therapybridge_cage_layer", ["layer": String(name.dropFirst(6))])
                    #expect(value == (isActive ? 1 : 0), "\(name)")
                }
                // The main port tells no one.
                #expect(try await server.request(.GET, "/health/ready").text == #"{"status":"healthy"}"#)
            }
        }
    }

    @Test("When a worker is killed, its stage and all that the stage has started die", arguments: ["work", "serve"])
    func diesWithItsWorker(command: String) async throws {
        let marker = "tb-stage-\(UUID().uuidString)"
        let script = """
            (setsid sh -c 'trap "" TERM HUP; sleep 600; sleep 601' &)
            \(Script.waits)
            """
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let settings = TestServer.settings(over: database, uploads: URL(filePath: folder.uploads)).merging([
                    "PIPELINE_STAGE_WRITES": folder.path, "STAGE_MARKER": marker, "PIPELINE_STAGE_ENV": "STAGE_MARKER",
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
                ]) { $1 }
                try await withServer(over: database, settings) { server in
                    _ = try await WorkerScene(server).upload()
                    try await withRunningProgram(command, environment: settings) { worker in
                        try await folder.wait(for: "begun")
                        #expect(!stages(with: marker).isEmpty)
                        try worker.kill()
                        try await eventually("the end of the stage") { stages(with: marker).isEmpty }
                    }
                }
            }
        }
    }

    /// The limit of the length would not be checked.
    @Test("A measurement that was killed is repeated, and does not pass for a recording without a length")
    func repeatsMeasurement() async throws {
        try await ScriptFolder.with { folder in
            let programs = folder.url.deletingLastPathComponent().appending(path: "bin")
            try FileManager.default.createDirectory(at: programs, withIntermediateDirectories: false)
            /// Puts a program in the place of ffprobe, in one step.
            @Sendable func replaceProbe(_ script: String) throws {
                let (new, probe) = (programs.appending(path: "new"), programs.appending(path: "ffprobe"))
                try Data("#!/bin/sh\n\(script)\n".utf8).write(to: new)
                try FileManager.default.setAttributes(
                    [.posixPermissions: 0o755], ofItemAtPath: new.path(percentEncoded: false))
                try #require(
                    rename(new.path(percentEncoded: false), probe.path(percentEncoded: false)) == 0)
            }
            try replaceProbe("kill -9 $PPID")
            let path = "/usr/local/bin:/usr/bin:/bin"
            try await withDatabase { database in
                let settings = TestServer.settings(over: database, uploads: URL(filePath: folder.uploads)).merging([
                    "PATH": "\(programs.path(percentEncoded: false)):\(path)", "PIPELINE_STAGE_WRITES": folder.path,
                    "PIPELINE_MAX_ATTEMPTS": "100",
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.transcribes),
                ]) { $1 }
                try await withServer(over: database, settings) { server in
                    let scene = try await WorkerScene(server)
                    let session = try await scene.upload()
                    try await withRunningProgram("work", environment: settings) { _ in
                        try await eventually("the second attempt") { try await scene.attempt(of: session) > 1 }
                        #expect(try await scene.get("/status", session).json()["status"] as? String == "preprocessing")
                        try replaceProbe(#"PATH=\#(path) exec ffprobe "$@""#)
                        #expect(try await scene.watchToEnd(session).last?.event == "complete")
                    }
                    let length = try await scene.get("", session).json()["duration_seconds"] as? Double
                    #expect(length == 1)
                }
            }
        }
    }
}

/// The processes with a text in their environment, except a worker's, which has other variables too.
private func stages(with marker: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.filter { name in
        guard Int(name) != nil, let bytes = FileManager.default.contents(atPath: "/proc/\(name)/environ") else {
            return false
        }
        return bytes.range(of: Data(marker.utf8)) != nil && bytes.range(of: Data("PIPELINE_STAGE_ENV".utf8)) == nil
    }
}
