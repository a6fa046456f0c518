import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// docs/streams.md, "Heartbeats and slow clients" and "End of a right".
@Suite(.deadline) struct StreamRightsTests {
    @Test(
        "A stream ends with the right of its user, and the colleague's stream goes on", arguments: EndOfRight.allCases)
    func ends(by end: EndOfRight) async throws {
        // Without the poll: the notification alone ends the stream.
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await RightsScene(server)
            try await server.withStream(scene.path, token: scene.colleagueToken) { colleague in
                _ = try await colleague.next("progress")
                try await server.withStream(scene.path, token: scene.token) { reader in
                    _ = try await reader.next("progress")
                    try await scene.end(by: end)
                    try await expectRevoked(reader, scene)
                }
                if end.isOfOneUser {
                    try await scene.database.report(scene.session, .transcribing, 20)
                    #expect(try await colleague.next("progress").version == 2)
                } else {
                    try await expectRevoked(colleague, scene)
                }
                #expect(try await !(200..<300).contains(server.request(.GET, scene.path, token: scene.token).status))
            }
        }
    }

    private func expectRevoked(_ reader: EventReader, _ scene: RightsScene) async throws {
        let events = try await reader.rest()
        #expect(events.map(\.event) == ["revoked"])
        #expect(events.first?.id == nil)
        #expect(events.first?.data == "{\"session_id\":\"\(scene.session)\"}")
    }

    /// The change is committed with the end of the right, or after it, while the server polls as often as it can.
    @Test("A stream sends no change that was committed with the end of the right or later", arguments: [true, false])
    func nothingAfter(isOneCommit: Bool) async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "0.05"]) { server in
            for _ in 0..<15 {
                let scene = try await RightsScene(server)
                try await server.withStream(scene.path, token: scene.token) { reader in
                    _ = try await reader.next("progress")
                    try await scene.reportAndEnd(isOneCommit: isOneCommit)
                    try await expectRevoked(reader, scene)
                }
            }
        }
    }

    /// With triggers off, a superuser's change sends no notification.
    ///
    /// The next read finds the change in the log of rights, and that is enough.
    @Test("If the notification about the end of a right is lost, the next change is still not sent")
    func lostNotification() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600", "SSE_HEARTBEAT_INTERVAL": "3"]) { server in
            let scene = try await RightsScene(server)
            try await server.withStream(scene.path, token: scene.token) { reader in
                _ = try await reader.next("progress")
                try await reader.heartbeat()
                try await scene.endSilently(isLogged: true)
                try await reader.heartbeat()
                try await scene.database.report(scene.session, .transcribing, 20)
                try await expectRevoked(reader, scene)
            }
        }
    }

    /// Neither a notification nor the log shows the end.
    ///
    /// The sweep, which checks each stream within 30 s, finds it.
    @Test("The sweep finds an end of a right that is not in the log")
    func silentEnd() async throws {
        let clock = ManualClock()
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"], clock: clock) { server in
            let scene = try await RightsScene(server)
            try await server.withStream(scene.path, token: scene.token) { reader in
                _ = try await reader.next("progress")
                try await server.withStream(Clinic.streamOfAll, token: scene.token) { all in
                    _ = try await all.next("progress")
                    _ = try await all.next("ready")
                    try await scene.endSilently(isLogged: false)
                    try await clock.keepMoving(by: .seconds(1)) {
                        try await expectRevoked(reader, scene)
                        #expect(try await all.next("session_removed").data?.contains(scene.session.description) == true)
                    }
                }
            }
        }
    }

    @Test("A stream sends expired when its access token expires, and ends")
    func expired() async throws {
        let clock = ManualClock()
        try await withStreamScene(clock: clock) { scene in
            let token = try await scene.server.token(scene.patient, lifetime: .seconds(600))
            try await scene.server.withStream(scene.path, token: token) { reader in
                _ = try await reader.next("progress")
                // The token's expiry is in whole seconds, and the reactor's clock in ticks.
                clock.advance(by: .seconds(602))
                let events = try await reader.rest()
                #expect(events.map(\.event) == ["expired"])
                #expect(events.first?.id == nil)
                #expect(events.first?.data == "{\"session_id\":\"\(scene.session)\"}")
            }
            let expired = try await scene.server.token(scene.patient, lifetime: .seconds(-1))
            #expect(try await scene.server.request(.GET, scene.path, token: expired).status == 401)
        }
    }

    @Test("A quiet stream sends heartbeats and then goes on")
    func heartbeats() async throws {
        let clock = ManualClock()
        try await withStreamScene(["SSE_HEARTBEAT_INTERVAL": "15"], clock: clock) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                for _ in 0..<3 {
                    clock.advance(by: .milliseconds(15_100))
                    try await reader.heartbeat()
                }
                try await scene.report(.transcribing, 20)
                #expect(try await reader.next("progress").version == 2)
                clock.advance(by: .milliseconds(15_100))
                try await reader.heartbeat()
            }
        }
    }

    @Test("A stream ends cleanly at its maximum lifetime, and the client resumes")
    func lifetime() async throws {
        let clock = ManualClock()
        try await withStreamScene(["SSE_MAX_LIFETIME": "60"], clock: clock) { scene in
            let last = try await scene.withStream { reader in
                let first = try await reader.next("progress")
                clock.advance(by: .seconds(67))
                let blocks = try await reader.rest()
                #expect(blocks.compactMap(\.event) == [])
                let retry = try #require(blocks.compactMap(\.retry).first)
                #expect((500...5000).contains(retry))
                return first.id
            }
            try await scene.report(.transcribing, 20)
            try await scene.withStream(lastEventID: last) { reader in
                let event = try await reader.next("progress")
                #expect(event.version == 2)
            }
        }
    }
}
