import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// `work` on hosts whose kernel gives no namespaces, with and without Landlock.
@Suite("A worker on a host with fewer layers", .deadline) struct CageHostTests {
    private static let hosts = [["namespaces"], ["landlock", "namespaces"]]

    /// A process that ignores signals, has a session of its own, and has lost its parent.
    private static let orphan = #"(setsid sh -c 'trap "" TERM HUP INT; sleep 600; sleep 601' &)"#

    /// The settings of a worker, with a script for its transcription.
    private func settings(
        _ folder: ScriptFolder, _ database: TestDatabase, _ script: String, _ more: [String: String]
    ) throws -> [String: String] {
        let stage = [
            "PIPELINE_STAGE_WRITES": folder.path,
            "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", script),
        ]
        return TestServer.settings(over: database, uploads: URL(filePath: folder.uploads))
            .merging(stage) { $1 }.merging(more) { $1 }
    }

    @Test(
        "The log, the readiness and the metric name the same missing layers, and a session is processed",
        arguments: hosts)
    func isReported(lacks: [String]) async throws {
        let port = try freePort()
        let keepsRecordingsApart = !lacks.contains("landlock")
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let settings = try settings(
                    folder, database, Script.transcribes,
                    // Landlock alone keeps a stage from other recordings.
                    ["PIPELINE_CAGE": keepsRecordingsApart ? "required" : "auto"])
                try await withServer(over: database, settings) { server in
                    let scene = try await WorkerScene(server)
                    let worker = settings.merging(["METRICS_PORT": "\(port)"]) { $1 }
                    try await CageHostWorker.with(lacking: lacks, worker) { worker in
                        let metrics = server.at(port: port)
                        try await eventually("the metrics are served") {
                            (try? await metrics.request(.GET, "/metrics").status) == 200
                        }
                        let ready = try await metrics.request(.GET, "/health/ready")
                        #expect(ready.status == 200)
                        let body = try ready.json()
                        #expect(body["status"] as? String == "healthy")
                        let details = try #require(body["details"] as? [[String: any Sendable]])
                        let reported = Dictionary(
                            uniqueKeysWithValues: details.compactMap { detail -> (String, String)? in
                                guard let name = detail["name"] as? String, name.hasPrefix("cage: "),
                                    detail["ok"] as? Bool == false
                                else { return nil }
                                return (String(name.dropFirst(6)), detail["detail"] as? String ?? "")
                            })
                        #expect((reported["files"] == nil) == keepsRecordingsApart, "\(reported)")
                        // The kernel counts processes by user namespace alone.
                        #expect(reported["count"] == "user namespace: Operation not permitted", "\(reported)")
                        if !keepsRecordingsApart {
                            #expect(reported["files"]?.contains("mount namespace") == true, "\(reported)")
                            #expect(reported["files"]?.contains("Landlock: ") == true, "\(reported)")
                        }
                        // The filter of system calls needs neither.
                        #expect(["network", "calls", "account"].allSatisfy { reported[$0] == nil }, "\(reported)")

                        let lines = try worker.log.filter {
                            $0["message"] == "a layer of the cage around stages is missing"
                        }
                        #expect(lines.allSatisfy { $0["level"] == "warning" })
                        let logged = Dictionary(lines.map { ($0["layer"] ?? "", $0["reason"] ?? "") }) { $1 }
                        #expect(logged == reported)
                        #expect(lines.count == reported.count)

                        let scrape = try Scrape(try await metrics.request(.GET, "/metrics").text)
                        for layer in ["files", "processes", "network", "calls", "count", "account"] {
                            let value = scrape.value("therapybridge_cage_layer", ["layer": layer])
                            #expect(value == (reported[layer] == nil ? 1 : 0), "\(layer)")
                        }
                        #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                    }
                }
            }
        }
    }

    /// The launcher of a killed worker ends its stage.
    ///
    /// Here the launcher is killed as well, and the kernel ends only the process that the launcher has started itself.
    @Test(
        "The next worker ends the processes and removes the files of a worker and a launcher that were killed",
        arguments: hosts)
    func sweeps(lacks: [String]) async throws {
        let marker = CageMarker()
        let script = """
            \(Self.orphan)
            cp "$1" "$TMPDIR/copy"
            \(Script.waits)
            """
        try await KeyFolder.with { keys in
            try await ScriptFolder.with { folder in
                try await withDatabase { database in
                    let work = try keys.folder("work")
                    let settings = try settings(
                        folder, database, script,
                        // The worker decrypts the recording into the work folder.
                        marker.settings.merging(["UPLOAD_KEY_FILE": try keys.key("key"), "PIPELINE_WORK_DIR": work]) {
                            $1
                        })
                    try await withServer(over: database, settings) { server in
                        _ = try await WorkerScene(server).upload()
                        try await CageHostWorker.with(lacking: lacks, settings) { worker in
                            try await folder.wait(for: "begun")
                            let launcher = try #require(marker.launcher)
                            // A stopped launcher does not see the end of its worker.
                            kill(launcher, SIGSTOP)
                            try worker.program.kill()
                            kill(launcher, SIGKILL)
                        }
                        let left = Set(try FileManager.default.contentsOfDirectory(atPath: work))
                        let files = try FileManager.default.subpathsOfDirectory(atPath: work)
                        #expect(files.contains { $0.hasSuffix("/recording") }, "\(files)")
                        #expect(files.contains { $0.hasSuffix("/copy") }, "\(files)")
                        // A directory without a lock is left over when it is a minute old.
                        for name in left {
                            try FileManager.default.setAttributes(
                                [.modificationDate: Date(timeIntervalSinceNow: -3_600)], ofItemAtPath: "\(work)/\(name)"
                            )
                        }
                        // Workers of other tests look for such processes, too, and may have ended this one.
                        try await CageHostWorker.with(lacking: lacks, settings) { worker in
                            try await eventually("the end of what was left") {
                                let names = try FileManager.default.contentsOfDirectory(atPath: work)
                                return marker.stages.isEmpty && left.isDisjoint(with: names)
                            }
                            try await eventually("the line of the log about it") {
                                try worker.log.contains {
                                    $0["message"] == "removed directories of killed workers"
                                        && $0["directories"] == "\(left.count)"
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Where stages have process numbers of their own, or Landlock checks signals, the signal does not arrive.
    @Test("A stage that kills its launcher uses its attempts, leaves no process, and the next session is processed")
    func killsItsLauncher() async throws {
        let marker = CageMarker()
        let script = """
            if [ ! -e "$folder/go" ]; then
                \(Self.orphan)
                kill -9 $PPID
                exec sleep 602
            fi
            \(Script.transcribes)
            """
        try await ScriptFolder.with { folder in
            try await withDatabase { database in
                let settings = try settings(folder, database, script, marker.settings)
                try await withServer(over: database, settings) { server in
                    let scene = try await WorkerScene(server)
                    let session = try await scene.upload()
                    try await CageHostWorker.with(lacking: ["landlock", "namespaces"], settings) { _ in
                        let last = try #require(try await scene.watchToEnd(session).last)
                        #expect(
                            try last.json()["error"] as? String
                                == "Given up after 3 attempts. The transcription program was stopped before it was done."
                        )
                        #expect(try await scene.history(of: session).last == "failed 3")
                        try await eventually("the end of the stages") { marker.stages.isEmpty }
                        try folder.touch("go")
                        #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "complete")
                    }
                }
            }
        }
    }
}
