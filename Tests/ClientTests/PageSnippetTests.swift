import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Runs the examples of the pages about the API: `http-api.md`, `streams.md`, `websocket.md` and `uploads.md`.
@Suite(.deadline) struct PageSnippetTests {
    private static let docs = packageRoot.appending(path: "docs")

    /// The examples of a page in a language, in their order.
    private static func examples(_ page: String, _ language: String) throws -> [String] {
        let text = try String(contentsOf: docs.appending(path: page), encoding: .utf8)
        return text.components(separatedBy: "\n```\(language)\n").dropFirst()
            .compactMap { $0.components(separatedBy: "\n```").first }
    }

    @Test("The examples for browsers show a session to its end", arguments: ["streams.md", "websocket.md"])
    func browsers(page: String) async throws {
        let script = packageRoot.appending(path: "Tests/Clients/page_snippets.mjs").path(percentEncoded: false)
        try await ExampleTests.withScene { scene in
            let run = try await ExampleTests.during(
                "/usr/bin/node",
                [
                    script, Self.docs.appending(path: page).path(percentEncoded: false), scene.server.baseURL,
                    scene.email, ExampleTests.password, scene.session.description,
                ], environment: ["OWN_ORIGIN": ExampleTests.ownOrigin]
            ) { _ in try await scene.process(scene.session) }
            #expect(run.status == 0, "\(run.output)\(run.errorOutput)")
        }
    }

    /// Runs a script with the variables of the pages.
    ///
    /// - Returns: What it printed.
    private static func shell(
        _ script: String, _ scene: ExampleTests.Scene, session: String, in folder: URL, more: [String: String] = [:]
    ) async throws -> String {
        var environment = [
            "U": scene.server.baseURL, "T": try await scene.server.token(scene.therapist),
            "P": scene.patient.description, "S": session,
        ]
        environment.merge(more) { $1 }
        let folder = folder.path(percentEncoded: false)
        let run = try await runProgram(
            "/bin/bash", ["-euo", "pipefail", "-c", "cd '\(folder)'\n\(script)"], environment: environment)
        #expect(run.status == 0, "\(script): \(run.errorOutput)")
        return run.output
    }

    /// Lends a folder with recordings of the names that the examples have.
    private static func withRecordings(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-snippets-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(at: folder) }
        // An example asks for the bytes alone. The server looks at them, not at the extension.
        var wave = Data("RIFF".utf8) + Data([0x24, 0x7D, 0, 0]) + Data("WAVEfmt ".utf8)
        wave += Data([16, 0, 0, 0, 1, 0, 1, 0, 0x80, 0x3E, 0, 0, 0, 0x7D, 0, 0, 2, 0, 16, 0])
        wave += Data("data".utf8) + Data([0, 0x7D, 0, 0]) + Data(count: 32_000)
        for name in ["recording.ogg", "session.m4a"] { try wave.write(to: folder.appending(path: name)) }
        try await body(folder)
    }

    @Test("The examples of the API with curl do what their page says")
    func api() async throws {
        let examples = try Self.examples("http-api.md", "sh")
        try #require(examples.count == 6)
        try await ExampleTests.withScene { scene in
            let token = try await scene.server.token(scene.therapist)
            let segments = (0..<20).map {
                #"{"start": \#($0), "end": \#($0 + 1), "text": "word \#($0)", "speaker": "A"}"#
            }
            let session = scene.session.rawValue
            try await scene.server.database.report(scene.session, .transcribing, 30)
            try await scene.server.database.query(
                """
                SELECT app.store_transcript(
                    \(session), 1, \(PostgresJSON(text: #"{"text": "", "segments": [\#(segments.joined(separator: ","))]}"#)))
                """)
            for (status, percent) in [(SessionStatus.transcribed, 60), (.processed, 100)] {
                try await scene.server.database.report(scene.session, status, percent)
            }
            try await Self.withRecordings { folder in
                func run(_ number: Int, session: String? = nil) async throws -> String {
                    let script = examples[number].replacing("t@example.org", with: scene.email)
                        .replacing("\"…\"", with: "\"\(ExampleTests.password)\"")
                    return try await Self.shell(
                        script, scene, session: session ?? scene.session.description, in: folder)
                }
                #expect(try await run(0).contains(#""access_token":"#))
                #expect(try await run(1).contains(#""items":[]"#))
                let changed = try await run(2)
                #expect(changed.contains(#""language":"de-AT""#))
                #expect(changed.contains(#""session_date":"2026-11-22T00:00:00.000000Z""#))
                let rest = try await run(3)
                #expect(rest.contains("word 12") && !rest.contains("word 11"))
                #expect(try await run(4) == "")
                let corrected = try await scene.server.request(
                    .GET, "/api/sessions/\(scene.session)/transcript", token: token)
                #expect(corrected.text.contains("How was your week?"))
                let added = UUID().uuidString.lowercased()
                let uploaded = try await run(5, session: added)
                #expect(uploaded.contains(added), "\(uploaded)")
            }
        }
    }

    @Test("The example of a resumable upload with curl stores a recording")
    func uploads() async throws {
        let example = try #require(try Self.examples("uploads.md", "sh").first)
        let parts = example.components(separatedBy: "\n# ")
        try #require(parts.count == 3)
        try await ExampleTests.withScene { scene in
            let token = try await scene.server.token(scene.therapist)
            try await Self.withRecordings { folder in
                let session = UUID().uuidString.lowercased()
                func run(_ number: Int, _ more: [String: String] = [:]) async throws -> String {
                    try await Self.shell(
                        number == 0 ? parts[0] : "# \(parts[number])", scene, session: session, in: folder, more: more)
                }
                let location = try #require(
                    try await run(0).firstMatch(of: /(?im)^location: (?:https?:\/\/[^\/]+)?(\S+)/)
                ).output.1
                let offset = try #require(
                    try await run(1, ["LOCATION": String(location)]).firstMatch(of: /(?im)^upload-offset: (\d+)/)
                ).output.1
                let answer = try await run(2, ["LOCATION": String(location), "OFFSET": String(offset)])
                #expect(answer.contains(" 204 "), "\(answer)")
                let stored = try await scene.server.request(.GET, "/api/sessions/\(session)", token: token)
                #expect(stored.text.contains(#""status":"pending""#))
                #expect(stored.text.contains(#""filename":"session.m4a""#))
            }
        }
    }
}
