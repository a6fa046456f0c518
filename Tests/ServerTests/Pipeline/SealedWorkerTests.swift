import Domain
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct SealedWorkerTests {
    /// Records the path of the recording that the stage gets, its mode and its bytes.
    private static let script = """
        echo "$1" > "$folder/path"
        stat -c %a "$1" "$(dirname "$1")" > "$folder/modes"
        cp "$1" "$folder/copy"
        \(Script.transcribes)
        """

    @Test("A stage gets the decrypted recording in a file of its own, which is removed afterwards")
    func stages() async throws {
        try await KeyFolder.with { keys in
            try await ScriptFolder.with { folder in
                let work = try keys.folder("work")
                let environment = [
                    "UPLOAD_KEY_FILE": try keys.key("a"), "PIPELINE_WORK_DIR": work,
                    "PIPELINE_STAGE_WRITES": folder.path,
                    "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Self.script),
                    "PIPELINE_NOTES_COMMAND": try folder.command(
                        "notes.sh", #"cmp "$1" "$folder/copy" && echo '{"result": {"same": true}}'"#),
                ]
                try await withServer(environment, runsWorker: true) { server in
                    let scene = try await WorkerScene(server)
                    let session = try await scene.upload()
                    #expect(try await scene.watchToEnd(session).last?.event == "complete")
                    #expect(try Data(contentsOf: folder.url.appending(path: "copy")) == Recording.silence)
                    let path = try folder.text(of: "path").trimmingCharacters(in: .whitespacesAndNewlines)
                    #expect(path.hasPrefix(work))
                    // No extension of the client's tells a stage what to take the bytes for.
                    #expect(path.hasSuffix("/recording"))
                    #expect(try folder.text(of: "modes") == "600\n700\n")
                    #expect(try FileManager.default.contentsOfDirectory(atPath: work) == [])
                    #expect(try await scene.get("/notes", session).json()["same"] as? Bool == true)
                    #expect(try await scene.get("", session).json()["duration_seconds"] as? Double == 1)
                    #expect(try await scene.get("/recording", session).body == Recording.silence)

                    // A failed stage leaves no file behind either.
                    try Data("exit 3\n".utf8).write(to: folder.url.appending(path: "transcribe.sh"))
                    #expect(try await scene.watchToEnd(try await scene.upload()).last?.event == "error")
                    #expect(try FileManager.default.contentsOfDirectory(atPath: work) == [])
                }
            }
        }
    }

    @Test("A damaged recording makes the session fail, with an error that a therapist understands")
    func damaged() async throws {
        try await KeyFolder.with { keys in
            let environment = ["UPLOAD_KEY_FILE": try keys.key("a"), "UPLOAD_DIR": try keys.folder("uploads")]
            try await withDatabase { database in
                let session = try await withServer(over: database, environment) { server in
                    try await WorkerScene(server).upload()
                }
                let folder = keys.url.appending(path: "uploads")
                let name = try #require(try FileManager.default.contentsOfDirectory(atPath: folder.path).first)
                let file = folder.appending(path: name)
                try Data(try Data(contentsOf: file).dropLast()).write(to: file)
                try await withServer(over: database, environment, runsWorker: true) { server in
                    let token = try await server.token(try await database.addUser(.admin))
                    let last = try await server.withStream("/api/sessions/\(session)/status/stream", token: token) {
                        try await $0.rest().last { $0.event != nil }
                    }
                    #expect(last?.event == "error")
                    #expect(try last?.json()["error"] as? String == "The recording on the server is damaged.")
                }
            }
        }
    }

    @Test("A worker without the key gives the session back for a worker with the key, and logs it")
    func withoutKey() async throws {
        try await KeyFolder.with { keys in
            let uploads = ["UPLOAD_DIR": try keys.folder("uploads")]
            let key = ["UPLOAD_KEY_FILE": try keys.key("a")].merging(uploads) { $1 }
            try await withDatabase { database in
                let session = try await withServer(over: database, key) { server in
                    try await WorkerScene(server).upload()
                }
                let memory = LogMemory()
                @Sendable func state() async throws -> (status: String, attempt: Int, message: String?) {
                    let row = try await database.query(
                        "SELECT status, attempt, message FROM app.session_progress WHERE session_id = \(session.rawValue)"
                    )[0]
                    return (
                        try row.decode("status", as: String.self), Int(try row.decode("attempt", as: Int32.self)),
                        try row.decode("message", as: String?.self)
                    )
                }
                try await withServer(over: database, uploads, runsWorker: true, log: memory) { _ in
                    try await eventually("the session is given back") {
                        try await state().message == "Waiting for a worker that can open the recording"
                    }
                    #expect(try await state().status == "pending")
                    // The worker pauses, and the claim after the pause is the next attempt.
                    try await eventually("the worker pauses") { memory.text.contains("worker pauses") }
                    try await eventually("the worker tries again") { try await state().attempt == 2 }
                    #expect(try await state().status == "pending")
                    #expect(
                        try await database.query("SELECT FROM app.session_leases WHERE attempts_used > 0").isEmpty)
                }
                #expect(memory.text.contains("error this worker has no key for the recording"))
                #expect(memory.text.contains("UPLOAD_KEY_FILE"))
                try await ScriptFolder.with { folder in
                    let environment = try key.merging(
                        [
                            "PIPELINE_STAGE_WRITES": folder.path,
                            "PIPELINE_TRANSCRIBE_COMMAND": folder.command("transcribe.sh", Script.transcribes),
                        ]) { $1 }
                    try await withServer(over: database, environment, runsWorker: true) { _ in
                        try await eventually("the session is processed") { try await state().status == "processed" }
                    }
                }
                #expect(try await state().attempt >= 3)
            }
        }
    }

    @Test("The next worker removes the decrypted files of a killed worker, and no files in use")
    func killed() async throws {
        try await KeyFolder.with { keys in
            try await ScriptFolder.with { folder in
                try await withDatabase { database in
                    let work = try keys.folder("work")
                    let uploads = URL(filePath: try keys.folder("uploads"))
                    let environment = [
                        "UPLOAD_KEY_FILE": try keys.key("a"), "PIPELINE_WORK_DIR": work,
                        "PIPELINE_STAGE_WRITES": folder.path,
                        "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.waits),
                        "UPLOAD_DIR": uploads.path(percentEncoded: false),
                    ]
                    @Sendable func directories() throws -> Set<String> {
                        let names = try FileManager.default.contentsOfDirectory(atPath: work)
                        // The worker skips young folders, so the test makes them older. A folder may be gone already.
                        for name in names {
                            try? FileManager.default.setAttributes(
                                [.modificationDate: Date(timeIntervalSinceNow: -300)], ofItemAtPath: "\(work)/\(name)")
                        }
                        return Set(names)
                    }
                    let settings = TestServer.settings(over: database, uploads: uploads).merging(environment) { $1 }
                    try await withServer(over: database, environment) { server in
                        let scene = try await WorkerScene(server)
                        _ = try await scene.upload()
                        try await withRunningProgram("work", environment: settings) { worker in
                            try await folder.wait(for: "begun")
                            let used = try directories()
                            #expect(used.count == 2)
                            // A second worker on the same machine removes no folder in use. It looks before it starts
                            // to work.
                            try await withRunningProgram("work", environment: settings) { _ in
                                try folder.remove("begun")
                                _ = try await scene.upload()
                                try await folder.wait(for: "begun")
                                #expect(try directories().isSuperset(of: used))
                                #expect(try directories().count == 4)
                            }
                            try worker.kill()
                        }
                        let left = try directories()
                        #expect(left.count == 4)
                        try folder.touch("go")
                        try await withRunningProgram("work", environment: settings) { _ in
                            try await eventually("the directories of the killed worker are removed") {
                                try directories().isDisjoint(with: left)
                            }
                        }
                    }
                }
            }
        }
    }
}
