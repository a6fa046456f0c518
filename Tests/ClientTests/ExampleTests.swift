import Credentials
import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import Synchronization
import TestSupport
import Testing
import TherapyBridgeClient

/// Runs every example of `docs/clients.md` against a server.
@Suite(.deadline) struct ExampleTests {
    private static let document = packageRoot.appending(path: "docs/clients.md").path(percentEncoded: false)
    private static let folder = packageRoot.appending(path: "Tests/Clients").path(percentEncoded: false)
    /// Another website, whose pages may call the server.
    private static let origin = "https://app.example.com"
    /// The server's own origin.
    ///
    /// Its port is not known before it starts, and the programs send no other header from it.
    static let ownOrigin = "http://127.0.0.1:8000"
    static let password = "a password of examples"

    /// A patient with a session, and a therapist who signs in.
    struct Scene: Sendable {
        let server: TestServer
        let email: String
        let patient: UserID
        let session: SessionID
        let therapist: UserID

        /// Processes the session, as a pipeline does.
        func process(_ session: SessionID) async throws {
            try await server.database.report(session, .transcribing, 30, message: "Hearing both voices")
            try await server.database.report(session, .transcribed, 60)
            try await server.database.report(session, .processed, 100, message: "All done")
        }

        /// The upload of an example, once it is complete.
        ///
        /// - Parameter isOver: True if the program of the example has ended.
        /// - Returns: The session of the upload.
        /// - Throws: `CancellationError` if the program has ended without an upload.
        func uploaded(unless isOver: @Sendable () -> Bool) async throws -> SessionID {
            var found: SessionID?
            try await eventually("the upload of the example is complete") {
                if isOver() { throw CancellationError() }
                let rows = try await server.database.query(
                    """
                    SELECT session_id AS id FROM app.session_progress
                    WHERE status = 'pending' AND session_id <> \(session.rawValue)
                    """)
                found = try rows.first.map { SessionID(rawValue: try $0.decode("id", as: UUID.self)) }
                return found != nil
            }
            return try #require(found)
        }
    }

    static func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withServer(["SSE_CORS_ORIGIN": origin, "PUBLIC_URL": ownOrigin]) { server in
            let database = server.database
            let email = "example@test.example"
            let therapist = try await database.addUser(.therapist, email: email)
            // A cheap hash: the server verifies a stored hash at the hash's own cost.
            let hash = try await Passwords(cost: .init(logN: 4, blockSize: 1, parallelism: 1)).hash(password)
            try await database.query("UPDATE app.users SET password_hash = \(hash) WHERE id = \(therapist.rawValue)")
            let patient = try await database.addUser(.patient)
            try await database.assign(therapist, to: patient)
            let session = try await database.addSession(of: patient, therapist: therapist)
            try await body(
                Scene(server: server, email: email, patient: patient, session: session, therapist: therapist))
        }
    }

    /// The text of an example.
    private static func example(_ name: String, of document: String = document) throws -> String {
        let text = try String(contentsOfFile: document, encoding: .utf8)
        let begin = try #require(text.firstRange(of: try Regex("(?m)^```[a-z]+ \(name.replacing(".", with: "\\."))\n")))
        let end = try #require(text[begin.upperBound...].firstRange(of: "\n```"))
        return text[begin.upperBound..<end.lowerBound] + "\n"
    }

    /// Runs a program while the session is processed.
    private static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], in scene: Scene,
        uploads: Bool = false
    ) async throws -> ProgramRun {
        try await during(program, arguments, environment: environment) { isOver in
            try await scene.process(uploads ? try await scene.uploaded(unless: isOver) : scene.session)
        }
    }

    /// Runs a program, and something else meanwhile.
    ///
    /// The program may fail early. Its output then says why, and whatever waits for its deeds is cancelled.
    static func during(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        _ body: @Sendable (@escaping @Sendable () -> Bool) async throws -> Void
    ) async throws -> ProgramRun {
        let end = ProgramEnd()
        try await withThrowingTaskGroup { group in
            group.addTask {
                let run = try await runProgram(program, arguments, environment: environment)
                end.run.withLock { $0 = run }
            }
            do {
                try await body { end.run.withLock { $0 != nil } }
            } catch is CancellationError {}
            try await group.waitForAll()
        }
        let run = end.run.withLock { $0 }
        return try #require(run)
    }

    /// How a program has ended, once it has.
    private final class ProgramEnd: Sendable {
        let run = Mutex<ProgramRun?>(nil)
    }

    @Test(
        "The examples in JavaScript work, on a page of another website and on the server's own",
        arguments: ["bar.js", "own.js", "useProgress.js", "all.js", "upload.js"])
    func javaScript(name: String) async throws {
        try await Self.withScene { scene in
            let run = try await Self.run(
                "/usr/bin/node",
                [
                    "\(Self.folder)/snippets.mjs", Self.document, name, scene.server.baseURL, Self.origin, scene.email,
                    Self.password, scene.session.description, scene.patient.description,
                ], environment: ["NODE_PATH": "/usr/share/nodejs", "OWN_ORIGIN": Self.ownOrigin], in: scene,
                uploads: name == "upload.js")
            #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        }
    }

    @Test("The examples in Python work", arguments: ["bar.py", "follow.py"])
    func python(name: String) async throws {
        try await Self.withScene { scene in
            let run = try await Self.run(
                "/usr/bin/python3",
                [
                    "\(Self.folder)/snippets.py", Self.document, name, scene.server.baseURL, scene.email, Self.password,
                    scene.session.description,
                ], in: scene)
            #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        }
    }

    @Test("The example with curl works, and ends when the server refuses the session")
    func curl() async throws {
        let script = try Self.example("bar.sh")
        try await Self.withScene { scene in
            let token = try await scene.server.token(scene.therapist)
            let run = try await Self.run(
                "/bin/bash", ["-c", script],
                environment: ["U": scene.server.baseURL, "T": token, "S": scene.session.description], in: scene)
            #expect(run.status == 0, "\(run.errorOutput)")
            #expect(run.output.hasSuffix("\r[\(String(repeating: "#", count: 50))] 100 %\n"))
            let newest = try await runProgram(
                "/bin/bash", ["-c", try Self.example("newest.sh")],
                environment: ["U": scene.server.baseURL, "T": token])
            #expect(newest.output == "\(scene.session)\n")
            let refused = try await runProgram(
                "/bin/bash", ["-c", script],
                environment: ["U": scene.server.baseURL, "T": "x", "S": scene.session.description])
            #expect(refused.status == 1)
            #expect(refused.errorOutput.contains("401"))
        }
    }

    @Test("The example for Node.js works with a copy of the client")
    func node() async throws {
        let script = try Self.example("node.sh")
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-node-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await Self.withScene { scene in
            let run = try await Self.run(
                "/bin/bash", ["-euc", "cd '\(folder.path(percentEncoded: false))'\n\(script)"],
                environment: [
                    "U": scene.server.baseURL, "S": scene.session.description, "EMAIL": scene.email,
                    "PASSWORD": Self.password,
                ], in: scene)
            #expect(run.status == 0, "\(run.errorOutput)")
            #expect(run.output.hasSuffix("100 processed\n"))
        }
    }

    /// Fails unless a file of this target is, from its imports on, an example of a page.
    private func expectCopy(_ file: String, of name: String, in document: String = document) throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: file)
        let text = try String(contentsOf: file, encoding: .utf8)
        let begin = try #require(text.firstRange(of: "\n\nimport "))
        let example = try Self.example(name, of: document)
        #expect(text[begin.lowerBound...].dropFirst(2) == example)
    }

    @Test("The examples in Swift of the page about its client work: an upload, and all sessions")
    func swiftPage() async throws {
        let document = packageRoot.appending(path: "docs/swift-client.md").path(percentEncoded: false)
        try expectCopy("UploadExample.swift", of: "Upload.swift", in: document)
        try expectCopy("SessionListExample.swift", of: "SessionList.swift", in: document)
        try expectCopy("CorrectionExample.swift", of: "Correction.swift", in: document)
        let manifest = try String(contentsOf: packageRoot.appending(path: "Package.swift"), encoding: .utf8)
        #expect(manifest.contains(#"name: "therapybridge""#))
        #expect(manifest.contains(#".library(name: "TherapyBridgeClient", targets: ["TherapyBridgeClient"])"#))
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-upload-\(UUID()).wav")
        try (Data("RIFF".utf8) + Data([0x24, 0x7D, 0, 0]) + Data("WAVEfmt ".utf8) + Data(count: 32_024)).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        try await Self.withScene { scene in
            let shown = Mutex<[String]>([])
            let isOver = Mutex(false)
            async let run: Void = {
                defer { isOver.withLock { $0 = true } }
                try await uploadAndWatch(
                    file, of: scene.patient.description, at: scene.server.baseURL, email: scene.email,
                    password: Self.password, show: { line in shown.withLock { $0.append(line) } })
            }()
            try await scene.process(try await scene.uploaded { isOver.withLock { $0 } })
            try await run
            let lines = shown.withLock { $0 }
            #expect(lines.contains("uploaded 100 %"))
            #expect(lines.last == "processed 100 %")

            let list = SessionList()
            let follower = Task {
                try await list.follow(at: scene.server.baseURL, email: scene.email, password: Self.password)
            }
            try await eventually("the list has both sessions") {
                await MainActor.run { Set(list.sessions.values.map(\.status.rawValue)) == ["processed", "pending"] }
            }
            try await scene.process(scene.session)
            try await eventually("the list follows the change") {
                await MainActor.run { list.sessions[scene.session.description]?.status.rawValue == "processed" }
            }
            follower.cancel()
            _ = await follower.result
        }
    }

    @Test("The examples of a correction work in JavaScript, Python and Swift")
    func corrections() async throws {
        try await Self.withScene { scene in
            let session = scene.session.description
            try await scene.server.database.report(scene.session, .transcribing, 30)
            let segments = ["a", "b", "c"].enumerated().map {
                #"{"start": \#($0), "end": \#($0 + 1), "text": "\#($1)"}"#
            }
            let transcript = #"{"text": "a b c", "segments": [\#(segments.joined(separator: ","))]}"#
            try await scene.server.database.query(
                "SELECT app.store_transcript(\(scene.session.rawValue), 1, \(PostgresJSON(text: transcript)))")
            try await scene.server.database.report(scene.session, .transcribed, 60)
            for (program, script, name) in [
                ("/usr/bin/node", "snippets.mjs", "correct.js"), ("/usr/bin/python3", "snippets.py", "correct.py"),
            ] {
                let run = try await runProgram(
                    program,
                    ["\(Self.folder)/\(script)", Self.document, name, scene.server.baseURL]
                        + (name == "correct.js" ? [Self.origin] : []) + [scene.email, Self.password, session])
                #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
            }
            try await TherapyBridge.withClient(of: scene.server.baseURL) { bridge in
                try await bridge.signIn(email: scene.email, password: Self.password)
                try await nameSpeaker("Swift", of: 2, in: session, by: bridge)
            }
            let token = try await scene.server.token(scene.therapist)
            let text = try await scene.server.request(
                .GET, "/api/sessions/\(session)/transcript?format=txt", token: token
            ).text
            #expect(text.hasPrefix("JavaScript: a\nPython: b\nSwift: c"))
        }
    }

    @Test("A request of the Swift client reaches a route without a body in its answer, and reads headers")
    func swiftReply() async throws {
        try await Self.withScene { scene in
            try await TherapyBridge.withClient(of: scene.server.baseURL) { bridge in
                try await bridge.signIn(email: scene.email, password: Self.password)
                let status = try await bridge.request("GET", "/api/sessions/\(scene.session)/status")
                #expect(status.status == 200)
                #expect(status["etag"] != nil && status["ETag"] == status["etag"])
                let deletion = try await bridge.request("DELETE", "/api/sessions/\(scene.session)")
                #expect(deletion.status == 204)
                #expect(deletion.body.isEmpty)
                let error = await #expect(throws: APIError.self) {
                    try await bridge.request("DELETE", "/api/sessions/\(scene.session)")
                }
                #expect(error?.status == 404)
            }
        }
    }

    @Test("The example in Swift works, and is the text of the page")
    func swift() async throws {
        try expectCopy("ProgressBarExample.swift", of: "ProgressBar.swift")
        try await Self.withScene { scene in
            let shown = Mutex<[String]>([])
            async let run: Void = showProgress(
                at: scene.server.baseURL, email: scene.email, password: Self.password,
                session: scene.session.description, show: { line in shown.withLock { $0.append(line) } })
            try await scene.process(scene.session)
            try await run
            #expect(shown.withLock { $0.last } == "\(String(repeating: "#", count: 50)) 100 % All done")
        }
    }

    @Test("The copies of client.js and its types in docs are those that the server sends")
    func copies() async throws {
        let docs = packageRoot.appending(path: "docs/clients")
        try await withServer { server in
            for name in ["client.js", "client.d.ts"] {
                let copy = try String(contentsOf: docs.appending(path: name), encoding: .utf8)
                #expect(try await server.request(.GET, "/\(name)").text == copy)
            }
        }
    }
}
