import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The end of a WebSocket with the right of its user.
@Suite(.deadline) struct WebSocketRightsTests {
    private static let revoked = WebSocketMessage.close(1008, "revoked")

    @Test("A WebSocket ends with the right of its user, and the colleague's goes on", arguments: EndOfRight.allCases)
    func ends(by end: EndOfRight) async throws {
        // Without the poll: the notification alone ends the WebSocket.
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await RightsScene(server)
            try await server.withWebSocket(scene.webSocketPath, token: scene.colleagueToken) { colleague in
                try await colleague.expectVersion(1)
                try await server.withWebSocket(scene.webSocketPath, token: scene.token) { socket in
                    try await socket.expectVersion(1)
                    try await scene.end(by: end)
                    try await socket.expectRest(Self.revoked)
                }
                if end.isOfOneUser {
                    try await scene.database.report(scene.session, .transcribing, 20)
                    try await colleague.expectVersion(2)
                } else {
                    try await colleague.expectRest(Self.revoked)
                }
                let again = try await server.messages(scene.webSocketPath, token: scene.token)
                guard case .close(1008, _) = again.first else {
                    Issue.record("\(again)")
                    return
                }
            }
        }
    }

    /// The change is committed with the end of the right, or after it, while the server polls as often as it can.
    @Test(
        "A WebSocket sends no change that was committed with the end of the right or later", arguments: [true, false])
    func nothingAfter(isOneCommit: Bool) async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "0.05"]) { server in
            for _ in 0..<15 {
                let scene = try await RightsScene(server)
                try await server.withWebSocket(scene.webSocketPath, token: scene.token) { socket in
                    try await socket.expectVersion(1)
                    try await scene.reportAndEnd(isOneCommit: isOneCommit)
                    try await socket.expectRest(Self.revoked)
                }
            }
        }
    }

    /// With triggers off, a superuser's change sends no notification.
    ///
    /// The next read finds the change in the log of rights, and that is enough.
    @Test("If the notification about the end of a right is lost, the next change is still not sent")
    func lostNotification() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await RightsScene(server)
            try await server.withWebSocket(scene.webSocketPath, token: scene.token) { socket in
                try await socket.expectVersion(1)
                try await scene.endSilently(isLogged: true)
                // The server does not know of the end yet: it answers the ping.
                try await socket.ping([1])
                let answer = try await socket.next()
                #expect(answer == .pong([1]))
                try await scene.database.report(scene.session, .transcribing, 20)
                try await socket.expectRest(Self.revoked)
            }
        }
    }

    /// Neither a notification nor the log shows the end.
    ///
    /// The sweep, which checks each watcher within 30 s, finds it.
    @Test("The sweep finds an end of a right that is not in the log")
    func silentEnd() async throws {
        let clock = ManualClock()
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"], clock: clock) { server in
            let scene = try await RightsScene(server)
            try await server.withWebSocket(scene.webSocketPath, token: scene.token) { socket in
                try await socket.expectVersion(1)
                try await scene.endSilently(isLogged: false)
                try await clock.keepMoving(by: .seconds(1)) { try await socket.expectRest(Self.revoked) }
            }
        }
    }

    /// Half of the clients lose their right in one commit with a change, among many other changes.
    @Test(
        "Under load, WebSockets without the right receive nothing that was committed with its end or later")
    func underLoad() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "0.05", "SSE_MAX_STREAMS_PER_USER": "100"]) { server in
            let scene = try await RightsScene(server)
            let (opened, open) = AsyncStream.makeStream(of: Void.self)
            try await withThrowingTaskGroup(of: (isLost: Bool, objects: [ProgressObject]).self) { watchers in
                for number in 0..<60 {
                    let isLost = number.isMultiple(of: 2)
                    watchers.addTask {
                        let token = isLost ? scene.token : scene.colleagueToken
                        return try await server.withWebSocket(
                            scene.webSocketPath, token: token, receiveBuffer: number.isMultiple(of: 3) ? 4096 : nil
                        ) { socket in
                            var objects = [try await socket.object()]
                            open.yield()
                            while let message = try await socket.next() {
                                guard case .text(let text) = message else {
                                    #expect(message == (isLost ? Self.revoked : .close(1000, "finished")))
                                    break
                                }
                                objects.append(try ProgressObject(text))
                            }
                            expectInOrder(objects)
                            return (isLost, objects)
                        }
                    }
                }
                try await opened.wait(for: 60)
                for progress in 20...39 { try await scene.database.report(scene.session, .transcribing, progress) }
                try await scene.database.withConnection { connection in
                    try await connection.executeScript(
                        """
                        BEGIN; \(scene.endStatement)
                        SELECT app.report_progress('\(scene.session)', 'transcribing', 40); COMMIT
                        """)
                }
                for progress in 41...59 { try await scene.database.report(scene.session, .transcribing, progress) }
                try await scene.database.report(scene.session, .transcribed, 60)
                try await scene.database.report(scene.session, .processed, 100)
                for try await (isLost, objects) in watchers {
                    if isLost {
                        #expect(objects.allSatisfy { $0.progress < 40 })
                    } else {
                        #expect(objects.last?.status == "processed")
                    }
                }
            }
        }
    }

    @Test(
        "A WebSocket ends when its access token expires, or the token that requested its ticket",
        arguments: [true, false])
    func expired(isTicket: Bool) async throws {
        let clock = ManualClock()
        try await withStreamScene(clock: clock) { scene in
            let token = try await scene.server.token(scene.patient, lifetime: .seconds(600))
            var path = scene.webSocketPath
            if isTicket {
                let answer = try await scene.server.request(
                    .POST, "/api/sessions/\(scene.session)/status/ticket", token: token)
                path += "?ticket=\(try #require(try answer.json()["ticket"] as? String))"
            }
            try await scene.server.withWebSocket(path, token: isTicket ? nil : token) { socket in
                try await socket.expectVersion(1)
                // The token's expiry is in whole seconds, and the reactor's clock in ticks.
                clock.advance(by: .seconds(602))
                #expect(try await socket.next() == .close(1008, "expired"))
                // The client does not answer the Close. The server waits for it no longer than a second.
                clock.advance(by: .seconds(2))
                try await socket.expectRest()
            }
        }
    }

    @Test("A WebSocket ends with 1001 at its maximum lifetime, and the client resumes")
    func lifetime() async throws {
        let clock = ManualClock()
        try await withStreamScene(["SSE_MAX_LIFETIME": "60"], clock: clock) { scene in
            try await scene.withWebSocket { socket in
                try await socket.expectVersion(1)
                clock.advance(by: .seconds(67))
                #expect(try await socket.next() == .close(1001, "come back"))
                clock.advance(by: .seconds(2))
                try await socket.expectRest()
            }
            try await scene.report(.transcribing, 20)
            try await scene.withWebSocket(query: "?last_event_id=1") { try await $0.expectVersion(2) }
        }
    }
}
