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
    /// A therapist who follows a session, and a colleague with the same right.
    struct Scene: Sendable {
        let server: TestServer
        let patient: UserID
        let therapist: UserID
        let session: SessionID
        let token: String
        let signIn: SignInID
        let colleague: UserID
        let colleagueToken: String

        var database: TestDatabase { server.database }
        var path: String { "/api/sessions/\(session)/status/stream" }

        init(_ server: TestServer) async throws {
            self.server = server
            let database = server.database
            patient = try await database.addUser(.patient)
            therapist = try await database.addUser(.therapist)
            colleague = try await database.addUser(.therapist)
            try await database.assign(therapist, to: patient)
            try await database.assign(colleague, to: patient)
            session = try await database.addSession(of: patient, therapist: therapist)
            (token, signIn) = try await server.signIn(therapist)
            colleagueToken = try await server.token(colleague)
        }
    }

    /// The ways in which a right ends.
    ///
    /// Those of the first line do not end the colleague's right.
    enum End: CaseIterable, Sendable {
        case assignmentEnded, assignmentDeleted, accountDeactivated, signedOut, signInRevoked, signInCutShort,
            signInDeleted, roleChanged
        case sessionDeleted, sessionDeletedBySQL, sessionMoved

        var isOfOneWatcher: Bool { ![.sessionDeleted, .sessionDeletedBySQL, .sessionMoved].contains(self) }
    }

    @Test("A stream ends with the right of its user, and the colleague's stream goes on", arguments: End.allCases)
    func ends(by end: End) async throws {
        // Without the poll: the notification alone ends the stream.
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await Scene(server)
            try await server.withStream(scene.path, token: scene.colleagueToken) { colleague in
                _ = try await colleague.next("progress")
                try await server.withStream(scene.path, token: scene.token) { reader in
                    _ = try await reader.next("progress")
                    try await scene.bring(end)
                    try await expectRevoked(reader, scene)
                }
                if end.isOfOneWatcher {
                    try await scene.database.report(scene.session, .transcribing, 20)
                    #expect(try await colleague.next("progress").version == 2)
                } else {
                    try await expectRevoked(colleague, scene)
                }
                #expect(try await !(200..<300).contains(server.request(.GET, scene.path, token: scene.token).status))
            }
        }
    }

    private func expectRevoked(
        _ reader: EventReader, _ scene: Scene, limit: Duration = TestDeadline.event
    ) async throws {
        let events = try await reader.rest(limit: limit)
        #expect(events.map(\.event) == ["revoked"])
        #expect(events.first?.id == nil)
        #expect(events.first?.data == "{\"session_id\":\"\(scene.session)\"}")
    }

    /// The change is committed with the end of the right, or after it, while the server polls as often as it can.
    @Test("A stream sends no change that was committed with the end of the right or later", arguments: [true, false])
    func nothingAfter(isOneCommit: Bool) async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "0.05"]) { server in
            for _ in 0..<15 {
                let scene = try await Scene(server)
                try await server.withStream(scene.path, token: scene.token) { reader in
                    _ = try await reader.next("progress")
                    let end =
                        "UPDATE app.therapist_patients SET is_active = false WHERE therapist_id = '\(scene.therapist)'"
                    let change = "SELECT app.report_progress('\(scene.session)', 'transcribing', 20)"
                    try await scene.database.withConnection { connection in
                        if isOneCommit {
                            try await connection.executeScript("BEGIN; \(change); \(end); COMMIT")
                        } else {
                            try await connection.executeScript("BEGIN; \(end); COMMIT")
                            try await connection.executeScript(change)
                        }
                    }
                    try await expectRevoked(reader, scene)
                }
            }
        }
    }

    /// With triggers off, a superuser's change sends no notification.
    ///
    /// The next read returns the raised epoch of rights, and that is enough.
    @Test("If the notification about the end of a right is lost, the next change is still not sent")
    func lostNotification() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600", "SSE_HEARTBEAT_INTERVAL": "1.5"]) { server in
            let scene = try await Scene(server)
            try await server.withStream(scene.path, token: scene.token) { reader in
                _ = try await reader.next("progress")
                try await reader.heartbeat()
                try await scene.database.withConnection { connection in
                    try await connection.executeScript(
                        """
                        BEGIN;
                        SET LOCAL session_replication_role = replica;
                        UPDATE app.therapist_patients SET is_active = false WHERE therapist_id = '\(scene.therapist)';
                        UPDATE app.rights_epoch SET epoch = epoch + 1;
                        COMMIT;
                        """)
                }
                try await reader.heartbeat()
                try await scene.database.report(scene.session, .transcribing, 20)
                try await expectRevoked(reader, scene)
            }
        }
    }

    /// Neither the notification nor the epoch shows the end.
    ///
    /// The sweep, which checks each stream within 30 s, finds it.
    @Test("The sweep finds an end of a right that raised no epoch")
    func silentEnd() async throws {
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let scene = try await Scene(server)
            try await server.withStream(scene.path, token: scene.token) { reader in
                _ = try await reader.next("progress")
                try await server.withStream("/api/sessions/status/stream", token: scene.token) { all in
                    _ = try await all.next("progress")
                    _ = try await all.next("ready")
                    try await scene.database.withConnection { connection in
                        try await connection.executeScript(
                            """
                            BEGIN;
                            SET LOCAL session_replication_role = replica;
                            UPDATE app.therapist_patients SET is_active = false, ended_at = now()
                            WHERE therapist_id = '\(scene.therapist)';
                            COMMIT;
                            """)
                    }
                    try await expectRevoked(reader, scene, limit: TestDeadline.event * 2)
                    #expect(try await all.next("session_removed").data?.contains(scene.session.description) == true)
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
        try await withStreamScene(["SSE_HEARTBEAT_INTERVAL": "0.1"]) { scene in
            try await scene.withStream { reader in
                _ = try await reader.next("progress")
                for _ in 0..<3 { try await reader.heartbeat() }
                try await scene.report(.transcribing, 20)
                #expect(try await reader.next("progress").version == 2)
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

extension StreamRightsTests.Scene {
    /// Ends the therapist's right.
    func bring(_ end: StreamRightsTests.End) async throws {
        switch end {
        case .assignmentEnded: try await database.endAssignment(of: therapist, to: patient)
        case .assignmentDeleted:
            try await database.query(
                "DELETE FROM app.therapist_patients WHERE therapist_id = \(therapist.rawValue)")
        case .accountDeactivated:
            try await database.query("UPDATE app.users SET is_active = false WHERE id = \(therapist.rawValue)")
        case .signedOut:
            let response = try await server.request(.POST, "/api/auth/logout", token: token)
            #expect(response.status == 204)
        case .signInRevoked:
            try await database.query(
                "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)")
        case .signInCutShort:
            try await database.query("UPDATE app.auth_sessions SET expires_at = now() WHERE id = \(signIn.rawValue)")
        case .signInDeleted:
            try await database.query("DELETE FROM app.auth_sessions WHERE id = \(signIn.rawValue)")
        case .roleChanged:
            // A patient sees no other patient's session.
            try await database.query("UPDATE app.users SET role = 'patient' WHERE id = \(therapist.rawValue)")
        case .sessionDeleted:
            let response = try await server.request(
                .DELETE, "/api/sessions/\(session)", token: colleagueToken)
            #expect(response.status == 204)
        case .sessionDeletedBySQL:
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(session.rawValue)")
        case .sessionMoved:
            let other = try await database.addUser(.patient)
            try await database.query(
                "UPDATE app.therapy_sessions SET patient_id = \(other.rawValue) WHERE id = \(session.rawValue)")
        }
    }
}
