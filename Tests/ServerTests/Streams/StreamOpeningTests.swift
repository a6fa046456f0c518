import Domain
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/streams.md, "Response head" and "Events of one session".
@Suite(.deadline) struct StreamOpeningTests {
    @Test("A stream sends the present state at once, even before any progress")
    func firstEvent() async throws {
        try await withStreamScene { scene in
            try await scene.withStream { reader in
                #expect(reader.status == 200)
                #expect(reader.headers.first(name: "content-type") == "text/event-stream; charset=utf-8")
                #expect(reader.headers.first(name: "cache-control") == "no-cache, no-transform")
                #expect(reader.headers.first(name: "x-accel-buffering") == "no")
                #expect(reader.headers.first(name: "connection")?.lowercased() == "close")
                #expect(reader.headers.first(name: "access-control-allow-origin") == nil)
                // Some clients would hand on a block of `retry:` alone as an empty event.
                let first = try #require(try await reader.next())
                #expect(first.event == "progress")
                #expect(first.retry == 2000)
                #expect(first.id == "1")
                let object = try first.json()
                #expect(object["session_id"] as? String == scene.session.description)
                #expect(object["status"] as? String == "pending")
                #expect(object["progress"] as? Int == 0)
                #expect(object["version"] as? Int == 1)
                #expect(object["attempt"] as? Int == 1)
                #expect(Set(object.keys) == ProgressObject.members)
            }
        }
    }

    @Test("The object on the stream equals the object of /status")
    func sameObject() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 45, message: "Halb: \"1/2\" \\ \u{2028} 👩‍⚕️")
            let polled = try await scene.server.request(
                .GET, "/api/sessions/\(scene.session)/status", token: scene.token)
            let streamed = try await scene.withStream { try await $0.next("progress") }
            #expect(streamed.data == polled.text)
        }
    }

    @Test(
        "Every unfinished status is sent as a progress event",
        arguments: [
            [], [.uploading], [.preprocessing], [.transcribing], [.transcribing, .diarizing],
            [.transcribing, .transcribed], [.transcribing, .transcribed, .extractingNotes],
        ] as [[SessionStatus]])
    func unfinished(way: [SessionStatus]) async throws {
        try await withStreamScene { scene in
            for status in way { try await scene.report(status, 10) }
            let first = try await scene.withStream { try await $0.next("progress") }
            #expect(first.status == (way.last ?? .pending).rawValue)
        }
    }

    @Test("The stream of a finished session sends one event and ends", arguments: ["complete", "error"])
    func finished(name: String) async throws {
        try await withStreamScene { scene in
            try await scene.finish(as: name)
            try await scene.withStream { reader in
                let blocks = try await reader.rest()
                #expect(blocks.map(\.event) == [name])
                #expect(blocks.last?.progress == (name == "complete" ? 100 : 10))
                #expect(try blocks.last?.json()["error"] as? String == (name == "complete" ? nil : "No speech."))
            }
        }
    }

    @Test("When the session finishes, the stream sends a last event and ends", arguments: ["complete", "error"])
    func finishing(name: String) async throws {
        try await withStreamScene { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                try await scene.finish(as: name)
                let events = try await reader.rest()
                #expect(events.last?.event == name)
                #expect(events.dropLast().allSatisfy { $0.event == "progress" })
            }
        }
    }

    @Test(
        "A stream ends with a whole event, the last chunk and the end of the connection",
        arguments: ["complete", "error"])
    func cleanEnd(name: String) async throws {
        try await withStreamScene { scene in
            try await scene.server.withWire { connection in
                try await connection.send("GET", scene.path, token: scene.token)
                var text = try await connection.read(upTo: "\"pending\"")
                try await scene.finish(as: name)
                text += try await connection.readTextToEnd()
                #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
                #expect(text.contains("event: \(name)\n"))
                #expect(text.hasSuffix("\n\n\r\n0\r\n\r\n"))
            }
        }
    }

    @Test("HEAD returns the head of a stream and opens none")
    func head() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1"]) { scene in
            try await scene.server.withWire { connection in
                try await connection.send("HEAD", scene.path, token: scene.token)
                let text = try await connection.read(upTo: "\r\n\r\n")
                #expect(text.hasPrefix("HTTP/1.1 200 OK\r\n"))
                #expect(text.lowercased().contains("content-type: text/event-stream"))
                #expect(connection.unread.isEmpty)
                // The connection is still open. A stream would have taken the only slot.
                _ = try await scene.withStream { try await $0.next("progress") }
            }
        }
    }

    @Test("A refused stream gets a status that stops a client from reconnecting")
    func refusals() async throws {
        try await withStreamScene { scene in
            let server = scene.server
            let other = try await server.token(try await scene.database.addUser(.patient))
            #expect(try await server.request(.GET, scene.path).status == 401)
            #expect(try await server.request(.GET, scene.path, token: "x.y.z").status == 401)
            #expect(try await server.request(.GET, scene.path + "?access_token=\(scene.token)").status == 401)
            #expect(try await server.request(.GET, scene.path, token: other).status == 403)
            let unknown = "/api/sessions/\(SessionID.random())/status/stream"
            #expect(try await server.request(.GET, unknown, token: scene.token).status == 404)
            #expect(try await server.request(.GET, "/api/sessions/7/status/stream", token: scene.token).status == 422)
            #expect(try await server.request(.POST, scene.path, token: scene.token).status == 405)
            #expect(
                try await server.request(.GET, scene.path, token: scene.token, headers: ["Accept": "application/json"])
                    .status == 406)
        }
    }
}

extension StreamScene {
    /// Brings the session to its end, for the event of this name.
    fileprivate func finish(as name: String) async throws {
        try await report(.transcribing, 10)
        if name == "complete" {
            try await report(.transcribed, 60)
            try await report(.processed, 100)
        } else {
            try await report(.failed, 10, error: "No speech.")
        }
    }
}
