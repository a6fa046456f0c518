import Domain
import Foundation
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The modules of the page that speak to the server, run by Node.js without a browser.
@Suite(.deadline) struct PageModuleTests {
    /// What the user of the page has seen.
    private struct Seen: Decodable {
        let states, transitions, transfers, missing: [String]
        let reason: String
    }

    @Test(
        "The page follows all sessions, uploads a recording, and says why the sign-in ended",
        arguments: [true, false])
    func page(isDeactivated: Bool) async throws {
        let script = packageRoot.appending(path: "Tests/Clients/page.mjs").path(percentEncoded: false)
        try await ExampleTests.withScene { scene in
            let database = scene.server.database
            let result = try await ExampleTests.during(
                "/usr/bin/node",
                [
                    script, scene.server.baseURL, scene.email, ExampleTests.password,
                    scene.patient.description,
                ], environment: ["OWN_ORIGIN": ExampleTests.ownOrigin]
            ) { isOver in
                // The page uploads once its stream has begun.
                let uploaded = try await scene.uploaded(unless: isOver)
                try await scene.process(uploaded)
                if isDeactivated {
                    try await database.query(
                        "UPDATE app.users SET is_active = false WHERE id = \(scene.therapist.rawValue)")
                } else {
                    try await database.query("UPDATE app.auth_sessions SET revoked_at = now()")
                }
            }
            #expect(result.status == 0, "\(result.output)\(result.errorOutput)")
            let seen = try JSONDecoder().decode(Seen.self, from: Data(result.output.utf8))
            // A complete recording, one that was cut, and one of which a track was cut.
            #expect(seen.missing == ["", "incomplete", "incomplete.track"])
            #expect(seen.states.starts(with: ["connecting", "live"]))
            #expect(seen.transfers.starts(with: ["queued", "sending"]))
            #expect(!seen.transfers.contains("failed"))
            #expect(seen.reason == (isDeactivated ? "deactivated" : "ended"))
        }
    }

    @Test("Only client.js sends requests and opens streams: every other script of the page goes through it")
    func onlyClient() throws {
        let assets = packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets")
        let scripts = try FileManager.default.contentsOfDirectory(at: assets, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "js" && $0.lastPathComponent != "client.js" }
        #expect(scripts.count > 10)
        let connection = try Regex(#"\b(?:fetch|XMLHttpRequest|EventSource|WebSocket|sendBeacon)\s*\("#)
        for script in scripts {
            let text = try String(contentsOf: script, encoding: .utf8)
            #expect(!text.contains(connection), "\(script.lastPathComponent)")
        }
    }
}
