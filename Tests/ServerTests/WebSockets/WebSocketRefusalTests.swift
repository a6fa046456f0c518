import Domain
import Foundation
import LocalPostgres
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

extension Clinic {
    /// The path of the WebSocket of the clinic's session.
    fileprivate var webSocket: String { "/api/sessions/\(session)/status/ws" }
}

/// docs/websocket.md, "Refusal and end", and docs/streams.md, "Tickets".
@Suite(.deadline) struct WebSocketRefusalTests {
    @Test("Every role, relation and credential gets its objects or a Close with the reason")
    func matrix() async throws {
        try await withClinic { clinic in
            let server = clinic.server
            for caller in Clinic.Caller.allCases {
                let mayWatch = [.patient, .therapist, .admin].contains(caller)
                try await server.withWebSocket(clinic.webSocket, token: clinic.token(caller)) { socket in
                    guard mayWatch else { return try await socket.expectRest(.close(1008, "forbidden")) }
                    try await socket.expectVersion(1)
                }
                let unknown = "/api/sessions/\(SessionID.random())/status/ws"
                #expect(try await server.messages(unknown, token: clinic.token(caller)) == [.close(1008, "not-found")])
                let (ended, signIn) = try await server.signIn(clinic.id(caller))
                try await clinic.database.query(
                    "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)")
                let expired = try await server.token(clinic.id(caller), lifetime: .seconds(-1))
                for token in [ended, expired, "nonsense"] {
                    let messages = try await server.messages(clinic.webSocket, token: token)
                    #expect(messages == [.close(1008, "unauthorized")], "\(caller)")
                }
            }
            #expect(try await server.messages(clinic.webSocket, token: nil) == [.close(1008, "unauthorized")])
            try await clinic.database.query("UPDATE app.users SET is_active = false")
            for caller in Clinic.Caller.allCases {
                let messages = try await server.messages(clinic.webSocket, token: clinic.token(caller))
                #expect(messages == [.close(1008, "account-inactive")], "\(caller)")
            }
        }
    }

    @Test("An access token in the URL authenticates nobody")
    func tokenInURL() async throws {
        try await withClinic { clinic in
            let token = clinic.token(.patient)
            for query in ["token=\(token)", "access_token=\(token)", "ticket=\(token)", "ticket=", "ticket"] {
                let messages = try await clinic.server.messages("\(clinic.webSocket)?\(query)", token: nil)
                #expect(messages == [.close(1008, "unauthorized")], "\(query)")
            }
        }
    }

    // MARK: - Other origins

    /// A page of another site can open a WebSocket, and the browser adds the cookie.
    @Test("A cookie opens a WebSocket for allowed origins alone, and other origins get 403")
    func hijacking() async throws {
        try await withClinic(["PUBLIC_URL": "https://app.example", "SSE_CORS_ORIGIN": "https://other.example"]) {
            clinic in
            let cookie = "theme=dark; tb_access=\(clinic.token(.patient))"
            for origin in ["https://app.example", "https://other.example"] {
                let headers = ["Cookie": cookie, "Origin": origin]
                try await clinic.server.withWebSocket(clinic.webSocket, token: nil, headers: headers) { socket in
                    try await socket.expectVersion(1)
                }
            }
            let origins = [
                nil, "null", "", "*", "https://evil.example", "http://app.example", "https://app.example.evil.example",
                "https://app.example:8443", "https://app.example/", "https://APP.example",
                "https://app.example, https://evil.example",
            ]
            for origin in origins {
                var headers = ["Cookie": cookie]
                headers["Origin"] = origin
                try await clinic.server.withWebSocketConnection { connection in
                    try await connection.requestUpgrade(clinic.webSocket, headers)
                    try await connection.readHead()
                    let problem = try await connection.readProblem()
                    expectProblem(problem, 403, "origin-forbidden", "\(origin ?? "none")")
                }
            }
            // A page cannot set this header and does not know the token.
            let headers = ["Origin": "https://evil.example"]
            try await clinic.server.withWebSocket(
                clinic.webSocket, token: clinic.token(.patient), headers: headers
            ) { socket in try await socket.expectVersion(1) }
        }
    }

    // MARK: - Tickets

    @Test("A ticket opens one WebSocket of its session once, and the WebSocket can resume")
    func tickets() async throws {
        try await withClinic { clinic in
            let server = clinic.server
            let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .therapist)
            let path = "\(clinic.webSocket)?ticket=\(ticket)"
            let other = try await clinic.database.addSession(of: clinic.id(.patient))
            let foreign = "/api/sessions/\(other)/status/ws?ticket=\(ticket)"
            #expect(try await server.messages(foreign, token: nil) == [.close(1008, "unauthorized")])
            // A request that opens no WebSocket does not spend the ticket.
            for method in ["GET", "HEAD"] {
                try await server.withWebSocketConnection { connection in
                    try await connection.send("\(method) \(path) HTTP/1.1\r\nHost: test\r\n\r\n")
                    try await connection.readHead()
                    let status = connection.status
                    #expect(status == 426)
                }
            }
            try await server.withWebSocket(path, token: nil) { socket in
                try await socket.expectVersion(1)
                #expect(try await server.messages(path, token: nil) == [.close(1008, "unauthorized")])
                try await clinic.database.report(clinic.session, .transcribing, 20)
                try await socket.expectVersion(2)
            }
            let next = try await clinic.ticket(for: clinic.streamOfSession, as: .therapist)
            try await clinic.database.report(clinic.session, .transcribed, 60)
            try await server.withWebSocket("\(clinic.webSocket)?last_event_id=1&ticket=\(next)", token: nil) { socket in
                let versions = try await socket.objects(upTo: 3).map(\.version)
                #expect(versions == [2, 3])
            }
            let last = try await clinic.ticket(for: clinic.streamOfSession, as: .therapist)
            let stranger = try await server.messages(
                "\(clinic.webSocket)?ticket=\(last)", token: clinic.token(.stranger))
            #expect(stranger == [.close(1008, "forbidden")], "the first credential present decides")
        }
    }

    @Test("Fifty parallel requests with one ticket open one WebSocket")
    func ticketRace() async throws {
        try await withClinic { clinic in
            let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .patient)
            let firsts = try await withThrowingTaskGroup(of: WebSocketMessage?.self) { group in
                for _ in 0..<50 {
                    group.addTask {
                        try await clinic.server.withWebSocket("\(clinic.webSocket)?ticket=\(ticket)", token: nil) {
                            try await $0.next()
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(firsts.count { $0 == .close(1008, "unauthorized") } == 49)
            let opened = firsts.count { if case .text = $0 { true } else { false } }
            #expect(opened == 1)
        }
    }

    // MARK: - Limits and outages

    @Test(
        "Over a limit, which counts streams and WebSockets together, a WebSocket is closed with 1013",
        arguments: ["SSE_MAX_STREAMS", "SSE_MAX_STREAMS_PER_USER"])
    func limit(setting: String) async throws {
        try await withStreamScene([setting: "1"]) { scene in
            let (path, token) = (scene.webSocketPath, scene.token)
            let full: [WebSocketMessage] = [.close(1013, "too many streams")]
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                #expect(try await scene.server.messages(path, token: token) == full)
                try await scene.withStream { try await expectUnavailable($0) }
                try await scene.report(.transcribing, 20)
                try await socket.expectVersion(2)
            }
            // A disconnect frees the slot for a stream and for a WebSocket.
            try await eventually("a stream opens again") {
                try await scene.withStream { try await $0.nextEvent() }?.event == "progress"
            }
            try await eventually("a WebSocket opens again") {
                try await scene.withWebSocket { try await $0.next() } != full[0]
            }
        }
    }

    @Test(
        "During an outage of the database an open WebSocket is silent, and a new one is closed with 1011")
    func outage() async throws {
        try await withOwnCluster { database in
            try await withServer(
                over: database, ["SSE_UPDATE_INTERVAL": "0.2"], databaseTimeouts: .standard
            ) { server in
                let scene = try await StreamScene(server)
                try await scene.withWebSocket { socket in
                    try await socket.expectVersion(1)
                    try await scene.withStream { events in
                        _ = try await events.next("progress")
                        try await database.cluster.stop(mode: .immediate)
                        _ = try await events.next("degraded")
                        let messages = try await server.messages(scene.webSocketPath, token: scene.token)
                        #expect(messages == [.close(1011, "unavailable")])
                        try await database.cluster.start()
                        try await scene.report(.transcribing, 20)
                        let version = try await scene.report(.transcribed, 60)
                        let missed = try await socket.objects(upTo: version)
                        #expect(missed.map(\.status) == ["transcribing", "transcribed"])
                    }
                }
            }
        }
    }
}
