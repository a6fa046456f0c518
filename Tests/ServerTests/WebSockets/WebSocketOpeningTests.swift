import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/websocket.md: how a WebSocket starts, resumes and ends.
@Suite(.deadline) struct WebSocketOpeningTests {
    @Test("A WebSocket sends the present state, each change, and a Close after the last one")
    func wholeLife() async throws {
        try await withStreamScene { scene in
            try await scene.withWebSocket { socket in
                #expect(socket.headers["Sec-WebSocket-Accept"] == [WebSocketConnection.accept])
                #expect(socket.headers["Upgrade"] == ["websocket"])
                #expect(socket.headers["Connection"].map { $0.lowercased() } == ["upgrade"])
                for name in [
                    "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding",
                ] {
                    #expect(socket.headers[name] == [], "\(name)")
                }
                #expect(socket.headers["X-Request-Id"].count == 1)
                let first = try await socket.object()
                #expect(first.version == 1)
                #expect(first.status == "pending")
                #expect(first.progress == 0)
                let poll = try await scene.server.request(
                    .GET, "/api/sessions/\(scene.session)/status", token: scene.token)
                #expect(first.text == poll.text, "the object is the same everywhere")
                for (status, progress) in [(SessionStatus.transcribing, 20), (.transcribing, 40), (.transcribed, 60)] {
                    let version = try await scene.report(status, progress)
                    #expect(try await socket.objects(upTo: version).last?.progress == progress)
                }
                let version = try await scene.report(.processed, 100)
                try await socket.expectVersion(version)
                #expect(try await socket.next() == .close(1000, "finished"))
                try await socket.close(1000)
                #expect(try await socket.next() == nil)
            }
        }
    }

    @Test("A failure ends the WebSocket, even if the client does not answer the Close")
    func failure() async throws {
        try await withStreamScene { scene in
            try await scene.withWebSocket { socket in
                _ = try await socket.object()
                try await scene.report(.failed, 0, error: "No speech.")
                #expect(try await socket.object().status == "failed")
                try await socket.expectRest(.close(1000, "finished"))
            }
        }
    }

    @Test("A finished session sends its last state and a Close, and the Close alone to a client with the end")
    func finished() async throws {
        try await withStreamScene { scene in
            try await scene.report(.transcribing, 20)
            let version = try await scene.report(.failed, 20, error: "No speech.")
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(version)
                try await socket.expectRest(.close(1000, "finished"))
            }
            for (query, header) in [("?last_event_id=\(version)", nil), ("", "\(version)")] as [(String, String?)] {
                try await scene.withWebSocket(query: query, lastEventID: header) { socket in
                    try await socket.expectRest(.close(1000, "finished"))
                }
            }
            for id in ["99", "x", "0", ""] {
                try await scene.withWebSocket(query: "?last_event_id=\(id)") { socket in
                    try await socket.expectVersion(version)
                    try await socket.expectRest(.close(1000, "finished"))
                }
            }
        }
    }

    /// Transitions at the versions 2, 3, 6 and 7, and now 8.
    @Test("A WebSocket resumes with each transition since, then the present state, and later changes")
    func resumes() async throws {
        try await withStreamScene { scene in
            try await scene.report(.preprocessing, 20)
            for progress in [20, 30, 40] { try await scene.report(.transcribing, progress) }
            try await scene.report(.failed, 40, error: "No speech.")
            try await scene.retry()
            try await scene.report(.transcribing, 40)
            let transitions = try await scene.transitions()
            let present = try #require(transitions.last)
            for version in 1..<present {
                try await scene.withWebSocket(query: "?last_event_id=\(version)") { socket in
                    let objects = try await socket.objects(upTo: present)
                    #expect(objects.map(\.version) == transitions.filter { $0 > version })
                    expectInOrder(objects)
                }
            }
            // The header wins over the query.
            try await scene.withWebSocket(query: "?last_event_id=1", lastEventID: "\(present)") { socket in
                try await socket.expectVersion(present)
                try await scene.report(.transcribed, 60)
                let last = try await scene.report(.processed, 100)
                let objects = try await socket.objects(upTo: last)
                #expect(objects.map(\.status) == ["transcribed", "processed"])
                #expect(try await socket.next() == .close(1000, "finished"))
            }
            try await scene.withWebSocket(query: "?last_event_id=\(present)") { socket in
                #expect(try await socket.objects(upTo: present + 2).count == 2)
                try await socket.expectRest(.close(1000, "finished"))
            }
        }
    }

    @Test(
        "While transitions, failures, retries and percentages race, each client receives each transition once, in order"
    )
    func race() async throws {
        try await withStreamScene { scene in
            try await withThrowingTaskGroup(of: [ProgressObject].self) { watchers in
                let (opened, open) = AsyncStream.makeStream(of: Void.self)
                for number in 0..<8 {
                    watchers.addTask {
                        try await scene.withWebSocket(receiveBuffer: number.isMultiple(of: 2) ? 4096 : nil) { socket in
                            var objects = [try await socket.object()]
                            open.yield()
                            while objects.last?.status != "processed" { objects.append(try await socket.object()) }
                            try await socket.expectRest(.close(1000, "finished"))
                            return objects
                        }
                    }
                }
                try await opened.wait(for: 8)
                for _ in 0..<5 {
                    try await scene.report(.transcribing, 20)
                    for progress in 21...40 { try await scene.report(.transcribing, progress) }
                    try await scene.database.query(
                        """
                        DO $$
                        BEGIN
                            PERFORM app.report_progress('\(unescaped: scene.session.description)', 'transcribed', 60);
                            PERFORM app.report_progress(
                                '\(unescaped: scene.session.description)', 'extracting_notes', 70);
                        END $$
                        """)
                    for progress in 71...80 { try await scene.report(.extractingNotes, progress) }
                    try await scene.database.withConnection {
                        try await $0.failAndRetry(scene.session, progress: 80, error: "No notes.")
                    }
                }
                try await scene.report(.transcribing, 20)
                try await scene.report(.transcribed, 60)
                try await scene.report(.processed, 100)
                let transitions = try await scene.transitions()
                for try await objects in watchers {
                    expectInOrder(objects)
                    let seen = Set(objects.map(\.version))
                    #expect(transitions.filter { $0 > 1 && !seen.contains($0) } == [], "skipped")
                }
            }
        }
    }

    // MARK: - Handshake

    @Test("A request that is not a valid WebSocket handshake gets 426 or 400 and opens nothing")
    func handshake() async throws {
        try await withStreamScene(["SSE_MAX_STREAMS": "1"]) { scene in
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
            let version = "Sec-WebSocket-Version: 13\r\n"
            let key = "Sec-WebSocket-Key: \(WebSocketConnection.key)\r\n"
            let table: [(head: String, status: Int)] = [
                ("GET / HTTP/1.1\r\n", 426),
                ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\(version)\(key)", 426),
                ("GET / HTTP/1.1\r\nConnection: Upgrade\r\n\(version)\(key)", 426),
                ("GET / HTTP/1.1\r\nConnection: notupgrade\r\nUpgrade: websocket\r\n\(version)\(key)", 426),
                ("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\(version)\(key)", 426),
                ("GET / HTTP/1.1\r\n\(upgrade)\(key)", 426),
                ("GET / HTTP/1.1\r\n\(upgrade)Sec-WebSocket-Version: 8\r\n\(key)", 426),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)\(version)\(key)", 426),
                ("GET / HTTP/1.0\r\n\(upgrade)\(version)\(key)", 426),
                ("HEAD / HTTP/1.1\r\n\(upgrade)\(version)\(key)", 426),
                ("HEAD / HTTP/1.1\r\n", 426),
                ("POST / HTTP/1.1\r\n\(upgrade)\(version)\(key)", 405),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)\(key)\(key)", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)Sec-WebSocket-Key: \r\n", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)Sec-WebSocket-Key: c2hvcnQ=\r\n", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n", 400),
                (
                    "GET / HTTP/1.1\r\n\(upgrade)\(version)Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==\r\n",
                    400
                ),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)\(key)Content-Length: 3\r\n", 400),
                ("GET / HTTP/1.1\r\n\(upgrade)\(version)\(key)Transfer-Encoding: chunked\r\n", 400),
            ]
            for (head, status) in table {
                try await scene.server.withWebSocketConnection { connection in
                    var head = head.replacing(" / ", with: " \(scene.webSocketPath) ", maxReplacements: 1)
                    head += "Host: test\r\nAuthorization: Bearer \(scene.token)\r\n\r\n"
                    if head.contains("Content-Length") { head += "abc" }
                    if head.contains("chunked") { head += "3\r\nabc\r\n0\r\n\r\n" }
                    try await connection.send(head)
                    try await connection.readHead()
                    #expect(connection.status == status, "\(head)")
                    if status == 426 {
                        #expect(connection.headers["Upgrade"] == ["websocket"], "\(head)")
                        #expect(connection.headers["Sec-WebSocket-Version"] == ["13"], "\(head)")
                        #expect(connection.headers["Connection"].contains { $0.lowercased() == "upgrade" }, "\(head)")
                    }
                    guard !head.hasPrefix("HEAD") else { return }
                    let type = [426: "upgrade-required", 400: "malformed-request", 405: "method-not-allowed"][status]
                    expectProblem(try await connection.readProblem(), status, type, "\(head)")
                }
            }
            // A WebSocket would have taken the only slot.
            try await scene.withWebSocket { socket in try await socket.expectVersion(1) }
        }
    }

    @Test("An id that is not a UUID gets 422 in HTTP")
    func noID() async throws {
        try await withStreamScene { scene in
            try await scene.server.withWebSocketConnection { connection in
                try await connection.requestUpgrade(
                    "/api/sessions/x/status/ws", ["Authorization": "Bearer \(scene.token)"])
                try await connection.readHead()
                expectProblem(try await connection.readProblem(), 422, "invalid-value", detail: "id")
            }
        }
    }

    /// The decoder stops after such a request.
    ///
    /// Nothing reads what the client sends then.
    @Test("An upgrade on another route is ignored, and the connection ends with the answer")
    func otherRoutes() async throws {
        try await withStreamScene { scene in
            for upgrade in ["h2c", "websocket"] {
                try await scene.server.withWire { wire in
                    try await wire.send(
                        "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
                            + "GET /health HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                            + "Upgrade: \(upgrade)\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
                    let first = try await wire.readResponse()
                    #expect(first.status == 200)
                    #expect(first.headers["Connection"] == [])
                    let second = try await wire.read(upTo: "\r\n\r\n")
                    #expect(second.contains("200 OK"))
                    #expect(second.lowercased().contains("connection: close"))
                    // The server drops it, whatever its size.
                    try? await wire.send(Data(count: 1 << 20))
                    _ = try await wire.readToEnd()
                }
            }
        }
    }
}
