import Domain
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A folder of key files, as an operator makes them.
struct KeyFolder: Sendable {
    let url: URL

    /// Lends a folder, and removes it.
    static func with<Result>(_ body: (KeyFolder) async throws -> Result) async throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "tb-keys-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: url) }
        return try await body(KeyFolder(url: url))
    }

    /// Writes a new key.
    ///
    /// - Returns: The path of its file.
    func key(_ name: String) throws -> String {
        let file = url.appending(path: name)
        let digits = (0..<32).map { _ in String(format: "%02x", UInt8.random(in: .min ... .max)) }.joined()
        try Data("\(digits)\n".utf8).write(to: file)
        let path = file.path(percentEncoded: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        return path
    }

    /// Makes a folder inside this one.
    ///
    /// - Returns: Its path.
    func folder(_ name: String) throws -> String {
        let path = url.appending(path: name).path(percentEncoded: false)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }
}

@Suite("UPLOAD_KEY_FILE", .deadline)
struct SealedUploadTests {
    /// Two whole chunks and a part of a third, with a text that the test searches for.
    private static let canary = Data("what nobody but the two of them should hear".utf8)
    private static let file: UploadFile = {
        var file = UploadFile.wav(size: 150_000)
        file.bytes.replaceSubrange(70_000..<70_000 + canary.count, with: canary)
        return file
    }()

    @Test("Recordings are encrypted on disk and served as uploaded, whole and in ranges")
    func served() async throws {
        try await KeyFolder.with { keys in
            try await withClinic(["UPLOAD_KEY_FILE": try keys.key("a")]) { clinic in
                let response = try await clinic.upload(
                    Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                #expect(response.status == 201)
                #expect(try response.json()["bytes"] as? Int == Self.file.bytes.count)
                let id = try #require(try response.json()["id"] as? String)
                let path = "/api/sessions/\(id)/recording"

                let stored = try #require(try clinic.storedFiles().first)
                #expect(stored.hasSuffix(".wav.enc"))
                let raw = try Data(contentsOf: clinic.server.uploads.appending(path: stored))
                #expect(raw.firstRange(of: Self.canary) == nil)
                #expect(raw.firstRange(of: Data("RIFF".utf8)) == nil)

                let whole = try await clinic.request(.GET, path, as: .patient)
                #expect(whole.status == 200)
                #expect(whole.body == Self.file.bytes)
                #expect(whole.headers["Content-Length"] == ["150000"])
                #expect(whole.headers["Content-Type"] == ["audio/wav"])
                for (range, part) in [
                    ("bytes=0-0", 0..<1), ("bytes=65535-65536", 65_535..<65_537),
                    ("bytes=65536-131071", 65_536..<131_072),
                    ("bytes=60000-140000", 60_000..<140_001), ("bytes=-7", 149_993..<150_000),
                ] {
                    let response = try await clinic.request(.GET, path, as: .pipeline, headers: ["Range": range])
                    #expect(response.status == 206)
                    #expect(response.body == Self.file.bytes[part], "\(range)")
                    #expect(
                        response.headers["Content-Range"]
                            == ["bytes \(part.lowerBound)-\(part.upperBound - 1)/150000"])
                }
                let beyond = try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=150000-"])
                expectProblem(beyond, 416, "range-not-satisfiable")
                // A repeated upload is compared with the uploaded bytes, not with the encrypted ones.
                var again = Upload(patient: clinic.id(.patient), file: Self.file)
                again.fields.append(("session_id", id))
                #expect(try await clinic.upload(again, as: .patient).status == 200)
            }
        }
    }

    @Test("Recordings without encryption and with a previous key are still served")
    func rotation() async throws {
        try await KeyFolder.with { keys in
            let (old, new) = (try keys.key("old"), try keys.key("new"))
            let uploads = try keys.folder("uploads")
            try await withDatabase { database in
                @Sendable func upload(_ name: String, _ environment: [String: String]) async throws -> String {
                    try await withServer(over: database, environment.merging(["UPLOAD_DIR": uploads]) { $1 }) {
                        server in
                        let clinic = try await Clinic(server, domain: "\(name).example")
                        let response = try await clinic.upload(
                            Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                        return try #require(try response.json()["id"] as? String)
                    }
                }
                let ids = [
                    try await upload("plain", [:]), try await upload("old", ["UPLOAD_KEY_FILE": old]),
                    try await upload("new", ["UPLOAD_KEY_FILE": new, "UPLOAD_PREVIOUS_KEY_FILES": old]),
                ]
                #expect(
                    try FileManager.default.contentsOfDirectory(atPath: uploads).count { $0.hasSuffix(".enc") } == 2)
                @Sendable func statuses(_ environment: [String: String]) async throws -> [Int] {
                    let memory = LogMemory()
                    return try await withServer(
                        over: database, environment.merging(["UPLOAD_DIR": uploads]) { $1 }, log: memory
                    ) { server in
                        let token = try await server.token(try await database.addUser(.admin))
                        var statuses: [Int] = []
                        for id in ids {
                            let response = try await server.request(.GET, "/api/sessions/\(id)/recording", token: token)
                            statuses.append(response.status)
                            if response.status == 200 {
                                #expect(response.body == Self.file.bytes)
                            } else {
                                expectProblem(response, 500, "internal-error")
                                #expect(memory.text.contains("UPLOAD_KEY_FILE"))
                            }
                        }
                        return statuses
                    }
                }
                #expect(
                    try await statuses(["UPLOAD_KEY_FILE": new, "UPLOAD_PREVIOUS_KEY_FILES": old]) == [200, 200, 200])
                #expect(try await statuses(["UPLOAD_KEY_FILE": new]) == [200, 500, 200])
                #expect(try await statuses([:]) == [200, 500, 500])
            }
        }
    }

    @Test("A recording that was tampered with gets 500, or a broken connection after the head")
    func tampered() async throws {
        try await KeyFolder.with { keys in
            let memory = LogMemory()
            try await withServer(["UPLOAD_KEY_FILE": try keys.key("a")], log: memory) { server in
                let clinic = try await Clinic(server)
                let response = try await clinic.upload(
                    Upload(patient: clinic.id(.patient), file: Self.file), as: .patient)
                let id = try #require(try response.json()["id"] as? String)
                let path = "/api/sessions/\(id)/recording"
                let url = server.uploads.appending(path: try #require(try clinic.storedFiles().first))
                let raw = try Data(contentsOf: url)

                // The last chunk is missing.
                try raw.prefix(48 + 2 * 65_552).write(to: url)
                for headers in [[:], ["Range": "bytes=0-9"]] {
                    expectProblem(
                        try await clinic.request(.GET, path, as: .patient, headers: headers), 500, "internal-error",
                        detail: "Something went wrong here")
                }
                #expect(memory.text.contains("tampered"))

                // The second chunk is changed: a range that starts in it is refused, and one before it is served.
                var changed = raw
                changed[48 + 65_552 + 9] ^= 1
                try changed.write(to: url)
                expectProblem(
                    try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=65536-65540"]), 500,
                    "internal-error")
                let good = try await clinic.request(.GET, path, as: .patient, headers: ["Range": "bytes=0-65535"])
                #expect(good.body == Self.file.bytes.prefix(65_536))
                let intruder = try await server.intruder()
                await intruder.send(
                    "GET \(path) HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer \(clinic.token(.patient))\r\n\r\n")
                let answer = Data(try await intruder.bytesUntilClosed().readableBytesView)
                #expect(answer.starts(with: Data("HTTP/1.1 200".utf8)))
                let end = try #require(answer.firstRange(of: Data("\r\n\r\n".utf8))).upperBound
                let body = answer[end...]
                // The body is the first chunk or a part of it, and no byte after that.
                #expect(Self.file.bytes.prefix(65_536).starts(with: body), "\(body.count) bytes")
                #expect(memory.text.contains("recording broken off"))
                for word in ["RIFF", String(decoding: Self.canary, as: UTF8.self)] {
                    #expect(!memory.text.contains(word))
                }
            }
        }
    }
}

@Suite("A worker and encrypted recordings", .deadline)
struct SealedWorkerTests {
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
                    #expect(path.hasSuffix(".wav"))
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

    @Test("A worker without the key leaves the session to a worker with the key, and logs it")
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
                    // Far longer than an extended lease: no worker claims the session again and again.
                    try await eventually("the session is left to other workers") {
                        try await !database.query(
                            "SELECT FROM app.session_leases WHERE leased_until > clock_timestamp() + interval '2 minutes'"
                        ).isEmpty
                    }
                    let state = try await state()
                    #expect(state.status == "pending")
                    #expect(state.attempt == 1)
                    #expect(state.message == "Waiting for a worker that can open the recording")
                }
                #expect(memory.text.contains("error recording cannot be opened by this worker"))
                #expect(memory.text.contains("UPLOAD_KEY_FILE"))
                // The test lets the lease run out.
                try await database.query(
                    "UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 s'")
                try await ScriptFolder.with { folder in
                    let environment = try key.merging(
                        ["PIPELINE_TRANSCRIBE_COMMAND": folder.command("transcribe.sh", Script.transcribes)]) { $1 }
                    try await withServer(over: database, environment, runsWorker: true) { _ in
                        try await eventually("the session is processed") { try await state().status == "processed" }
                    }
                }
                #expect(try await state().attempt == 2)
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
