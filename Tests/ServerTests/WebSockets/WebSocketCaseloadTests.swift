import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/websocket.md, "All sessions".
@Suite(.deadline) struct WebSocketCaseloadTests {
    private static let path = "/api/sessions/status/ws"

    private func withScene(_ body: @escaping @Sendable (CaseloadScene) async throws -> Void) async throws {
        // The next poll comes after the end of every test.
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { try await body(CaseloadScene($0)) }
    }

    @Test("The WebSocket of all sessions sends the events of the stream of all sessions, with the same data")
    func sameEvents() async throws {
        try await withScene { scene in
            let pending = try await scene.database.addSession(of: scene.patients[0])
            let failed = try await scene.database.addSession(of: scene.patients[1])
            try await scene.database.report(failed, .failed, 0, error: "No sound")
            _ = try await scene.database.addSession(of: scene.stranger)
            try await scene.follow { before, reader in
                try await scene.server.withWebSocket(Self.path, token: scene.token) { socket in
                    var events: [WebSocketEvent] = []
                    while events.last?.event != "ready" { events.append(try await socket.event()) }
                    #expect(events.map(\.event) == ["progress", "error", "ready"])
                    #expect(events == before.map(WebSocketEvent.init))

                    try await scene.finish(pending)
                    let added = try await scene.database.addSession(of: scene.patients[0])
                    try await scene.database.retry(failed)
                    try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(added.rawValue)")
                    var names: [String] = []
                    while names.last != "session_removed" {
                        let event = try await socket.event()
                        names.append(event.event)
                        let streamed = try #require(try await reader.nextEvent())
                        #expect(event == WebSocketEvent(streamed))
                    }
                    #expect(names.contains("complete"))
                    #expect(names.contains("session_added"))
                }
            }
        }
    }

    @Test("The WebSocket of all sessions resumes with the transitions since a position")
    func resumes() async throws {
        try await withScene { scene in
            let session = try await scene.database.addSession(of: scene.patients[0])
            let position = try await scene.server.withWebSocket(Self.path, token: scene.token) { socket in
                #expect(try await socket.event().id == nil)
                return try #require(try await socket.event().id)
            }
            for (status, progress) in [(SessionStatus.transcribing, 20), (.transcribed, 60)] {
                try await scene.database.report(session, status, progress)
            }
            try await scene.server.withWebSocket(Self.path + "?last_event_id=\(position)", token: scene.token) {
                socket in
                var statuses: [String] = []
                while true {
                    let event = try await socket.event()
                    if event.event == "ready" { break }
                    statuses.append(try event.status)
                }
                #expect(statuses.starts(with: ["transcribing", "transcribed"]))
            }
        }
    }

    @Test("The end of the rights is a Close frame, and so is the end of the token")
    func ends() async throws {
        try await withScene { scene in
            _ = try await scene.database.addSession(of: scene.patients[0])
            try await scene.server.withWebSocket(Self.path, token: scene.token) { socket in
                while try await socket.event().event != "ready" {}
                for patient in scene.patients {
                    try await scene.database.endAssignment(of: scene.therapist, to: patient)
                }
                #expect(try await socket.event().event == "session_removed")
                try await scene.database.query(
                    "UPDATE app.users SET is_active = false WHERE id = \(scene.therapist.rawValue)")
                try await socket.expectRest(.close(1008, "revoked"))
            }
            let token = try await scene.server.token(scene.stranger, lifetime: .seconds(5))
            try await scene.server.withWebSocket(Self.path, token: token) { socket async throws in
                #expect(try await socket.event().event == "ready")
                try await socket.expectRest(.close(1008, "expired"))
            }
        }
    }

    @Test("A client without a right gets a Close frame with the reason, and a request without an upgrade gets 426")
    func refused() async throws {
        try await withScene { scene in
            for token in [nil, "x"] {
                #expect(
                    try await scene.server.messages(Self.path, token: token) == [.close(1008, "unauthorized")])
            }
            let plain = try await scene.server.request(.GET, Self.path, token: scene.token)
            #expect(plain.status == 426)
            let pipeline = try await scene.server.token(try await scene.database.addUser(.pipeline))
            try await scene.server.withWebSocket(Self.path, token: pipeline) { socket async throws in
                #expect(try await socket.event().event == "ready")
            }
        }
    }

    @Test("A ticket for the stream of all sessions opens the WebSocket once")
    func ticket() async throws {
        try await withScene { scene in
            let taken = try await scene.server.request(.POST, "/api/sessions/status/ticket", token: scene.token)
            let ticket = try #require(try taken.json()["ticket"] as? String)
            let path = Self.path + "?ticket=\(ticket)"
            try await scene.server.withWebSocket(path, token: nil) { socket async throws in
                #expect(try await socket.event().event == "ready")
            }
            #expect(try await scene.server.messages(path, token: nil) == [.close(1008, "unauthorized")])
        }
    }

    @Test("An opened WebSocket of all sessions is in the audit log as the stream is")
    func audited() async throws {
        try await withScene { scene in
            try await scene.server.withWebSocket(Self.path, token: scene.token) { socket async throws in
                #expect(try await socket.event().event == "ready")
            }
            let records = try await scene.database.audit("user_id = '\(scene.therapist)' AND action <> 'sign_in.begin'")
            #expect(records.map(\.action) == ["caseload.open"])
            #expect(records.map(\.isAllowed) == [true])
        }
    }

    @Test("A database that does not answer is an event, and its return another one")
    func outage() async throws {
        try await withOwnCluster { database in
            try await withServer(over: database, ["SSE_UPDATE_INTERVAL": "0.2"], databaseTimeouts: .standard) {
                server in
                let scene = try await CaseloadScene(server)
                let session = try await database.addSession(of: scene.patients[0])
                try await server.withWebSocket(Self.path, token: scene.token) { socket in
                    while try await socket.event().event != "ready" {}
                    try await database.cluster.stop(mode: .immediate)
                    #expect(try await socket.event() == WebSocketEvent(event: "degraded", id: nil, data: "{}"))
                    try await database.cluster.start()
                    #expect(try await socket.event() == WebSocketEvent(event: "recovered", id: nil, data: "{}"))
                    try await eventually("the database takes reports") {
                        (try? await database.report(session, .transcribing, 20)) != nil
                    }
                    #expect(try await socket.event().status == "transcribing")
                }
            }
        }
    }
}

/// A text of the WebSocket of all sessions.
///
/// Two are equal if both have an id or neither has: two clients may be at different positions.
private struct WebSocketEvent: Equatable {
    var event: String
    var id: String?
    /// The data as JSON, with its members in order.
    var data: String

    static func == (left: Self, right: Self) -> Bool {
        (left.event, left.id == nil, left.data) == (right.event, right.id == nil, right.data)
    }

    init(event: String, id: String?, data: String) { (self.event, self.id, self.data) = (event, id, data) }

    init(_ text: String) throws {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(Set(object.keys) == ["event", "id", "data"])
        event = try #require(object["event"] as? String)
        id = object["id"] as? String
        data = try Self.ordered(try #require(object["data"] as? [String: Any]))
    }

    init(_ streamed: StreamedEvent) {
        event = streamed.event ?? ""
        id = streamed.id
        data = (try? Self.ordered(streamed.json())) ?? ""
    }

    var status: String {
        get throws {
            let object = try JSONSerialization.jsonObject(with: Data(data.utf8)) as? [String: Any]
            return try #require(object?["status"] as? String)
        }
    }

    private static func ordered(_ object: [String: Any]) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: object, options: .sortedKeys), as: UTF8.self)
    }
}

extension WebSocketConnection {
    /// The next event.
    ///
    /// Pings get a pong.
    fileprivate mutating func event() async throws -> WebSocketEvent {
        try await within("an event on the WebSocket") {
            while let message = try await next() {
                guard message == .ping else {
                    guard case .text(let text) = message else { throw Unexpected(message: message) }
                    return try WebSocketEvent(text)
                }
                try await send(10)
            }
            throw Unexpected(message: nil)
        }
    }
}
