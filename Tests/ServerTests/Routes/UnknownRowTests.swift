import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// docs/contributing.md, "Add a status" and "Add a role": a newer release has added one, and this server runs on.
@Suite(.deadline) struct UnknownRowTests {
    // MARK: - Sessions

    @Test("Every route of a session with an unknown status answers 503, and other sessions go on")
    func sessionRoutes() async throws {
        try await withClinic { clinic in
            let patient = clinic.id(.patient)
            let readable = try await clinic.database.addSession(of: patient)
            try await clinic.database.addLaterStatus()
            try await clinic.database.moveToLaterStatus(clinic.session)
            for path in ["", "/status", "/events", "/transcript", "/recording"] {
                expectProblem(try await clinic.request(.GET, of: path, as: .therapist), 503, "unavailable", "\(path)")
            }
            expectProblem(try await clinic.request(.GET, of: "/notes", as: .therapist), 503, "unavailable")
            expectProblem(try await clinic.request(.POST, of: "/retry", as: .therapist), 503, "unavailable")
            expectProblem(try await clinic.request(.POST, of: "/status/ticket", as: .patient), 503, "unavailable")
            expectProblem(try await clinic.request(.DELETE, of: "", as: .therapist), 503, "unavailable")
            // A caller without the right learns nothing more than before.
            expectProblem(try await clinic.request(.GET, of: "/status", as: .stranger), 403, "forbidden")

            let other = "/api/sessions/\(readable)"
            for path in [other, other + "/status", other + "/events"] {
                #expect(try await clinic.request(.GET, path, as: .patient).status == 200, "\(path)")
            }
        }
    }

    @Test("A list with an unknown status answers 503, and lists without it go on")
    func lists() async throws {
        try await withClinic { clinic in
            _ = try await clinic.database.addSession(of: clinic.id(.patient))
            _ = try await clinic.database.addSession(of: clinic.id(.otherPatient))
            try await clinic.database.addLaterStatus()
            try await clinic.database.moveToLaterStatus(clinic.session)
            for caller in [Clinic.Caller.patient, .therapist, .admin] {
                expectProblem(try await clinic.request(.GET, "/api/sessions", as: caller), 503, "unavailable")
                let pending = try await clinic.request(.GET, "/api/sessions?status=pending", as: caller)
                #expect(pending.status == 200)
                let items = try #require(try pending.json()["items"] as? [[String: any Sendable]])
                #expect(items.count == (caller == .admin ? 2 : 1))
            }
            #expect(try await clinic.request(.GET, "/api/sessions", as: .otherPatient).status == 200)
        }
    }

    @Test("A transition to an unknown status makes the list of transitions unavailable, and not the session")
    func passedTransition() async throws {
        try await withClinic { clinic in
            try await clinic.database.addLaterStatus()
            try await clinic.database.moveToLaterStatus(clinic.session)
            try await clinic.database.report(clinic.session, .transcribed, 60)
            expectProblem(try await clinic.request(.GET, of: "/events", as: .patient), 503, "unavailable")
            let status = try await clinic.request(.GET, of: "/status", as: .patient)
            #expect(status.status == 200)
            #expect(try status.json()["status"] as? String == "transcribed")
        }
    }

    @Test("A stale report about a session with an unknown status answers 503, and a fresh one 200")
    func reports() async throws {
        try await withClinic { clinic in
            try await clinic.database.addLaterStatus()
            try await clinic.database.moveToLaterStatus(clinic.session)
            try await clinic.database.query(
                "UPDATE app.session_progress SET attempt = 2 WHERE session_id = \(clinic.session.rawValue)")
            let path = "/api/sessions/\(clinic.session)/progress"
            let stale = #"{"status":"transcribing","progress":30,"attempt":1}"#
            expectProblem(try await clinic.post(path, stale, as: .pipeline), 503, "unavailable")
            let fresh = try await clinic.post(path, #"{"status":"transcribed","progress":60}"#, as: .pipeline)
            #expect(fresh.status == 200)
            #expect(try fresh.json()["status"] as? String == "transcribed")
        }
    }

    // MARK: - The pipeline

    @Test("A pipeline claims a session with an unknown status, and gets the status as it is")
    func claim() async throws {
        try await withServer { server in
            let pipeline = try await PipelineAccount(server)
            let session = try await server.database.queueSessions()[0]
            let first = try PipelineAccount.Claim(try await pipeline.claim())
            try await server.database.addLaterStatus()
            try await server.database.lapse(first, at: "a_later_status")
            let claim = try PipelineAccount.Claim(try await pipeline.claim())
            #expect(claim.session == session)
            #expect(claim.status == "a_later_status")
            #expect(claim.attempt == 2)
        }
    }

    @Test("A worker gives a session with an unknown status back, and uses no attempt")
    func worker() async throws {
        let log = LogMemory()
        try await ScriptFolder.with { folder in
            let environment = [
                "PIPELINE_TRANSCRIBE_COMMAND": try folder.command("transcribe.sh", Script.transcribes),
                "UPLOAD_DIR": folder.uploads,
            ]
            try await withDatabase { database in
                let session = try await withServer(over: database, environment) { server in
                    let session = try await WorkerScene(server).upload()
                    let claim = try PipelineAccount.Claim(try await PipelineAccount(server).claim())
                    try await database.addLaterStatus()
                    try await database.lapse(claim, at: "a_later_status")
                    return session
                }
                try await withServer(over: database, environment, runsWorker: true, log: log) { _ in
                    func row() async throws -> (status: String, used: Int32, isFree: Bool, message: String?) {
                        let row = try await database.query(
                            """
                            SELECT p.status, p.message, l.attempts_used, l.lease_hash IS NULL AS is_free
                            FROM app.session_progress p JOIN app.session_leases l ON l.session_id = p.session_id
                            WHERE p.session_id = \(session)
                            """)[0]
                        return (
                            try row.decode("status", as: String.self), try row.decode("attempts_used", as: Int32.self),
                            try row.decode("is_free", as: Bool.self), try row.decode("message", as: String?.self)
                        )
                    }
                    try await eventually("the session is back in the queue") {
                        let row = try await row()
                        return row.isFree && row.message == "Waiting for a worker of a newer release"
                    }
                    #expect(log.text.contains("a newer release works here"))
                    // The lapse of the first worker's lease has used one. The worker's give-back uses none.
                    #expect(try await row().used == 1)
                    #expect(try await row().status == "a_later_status")
                    // A worker of the newer release takes the session to a status that this release knows.
                    try await database.query("SELECT app.report_progress(\(session), 'transcribed', 60)")
                    try await eventually("the session is processed") {
                        let status = try await database.query(
                            "SELECT status FROM app.session_progress WHERE session_id = \(session)")[0]
                            .decode("status", as: String.self)
                        return status == "processed"
                    }
                }
            }
        }
    }

    // MARK: - Streams

    @Test("A new stream of a session with an unknown status is unavailable, and other streams begin")
    func newStreams() async throws {
        try await withStreamScene { scene in
            let other = try await StreamScene(scene.server)
            try await scene.database.addLaterStatus()
            try await scene.database.moveToLaterStatus(scene.session)
            try await scene.withStream { try await expectUnavailable($0) }
            try await scene.withStream(lastEventID: "1") { try await expectUnavailable($0) }
            #expect(
                try await scene.server.messages(scene.webSocketPath, token: scene.token)
                    == [.close(1011, "unavailable")])
            try await other.withStream { _ = try await $0.next("progress") }
        }
    }

    /// The server never skips a transition, and it cannot send this one.
    @Test("A client that missed an unknown transition is unavailable, and a client without a version begins")
    func resumption() async throws {
        try await withStreamScene { scene in
            let other = try await StreamScene(scene.server)
            try await scene.database.addLaterStatus()
            try await scene.database.moveToLaterStatus(scene.session)
            let version = try await scene.report(.transcribed, 60)
            try await scene.withStream(lastEventID: "1") { try await expectUnavailable($0) }
            try await scene.withStream(lastEventID: "\(version - 1)") { reader async throws in
                #expect(try await reader.next("progress").version == version)
            }
            try await scene.withStream { reader async throws in
                #expect(try await reader.next("progress").version == version)
            }
            try await other.withStream(lastEventID: "1") { _ = try await $0.next("progress") }
        }
    }

    @Test("An open stream ends when its session gets an unknown status, and the client reconnects")
    func openStreams() async throws {
        try await withStreamScene { scene in
            let other = try await StreamScene(scene.server)
            try await scene.database.addLaterStatus()
            try await scene.withStream { reader in
                try await other.withStream { second in
                    try await scene.withWebSocket { socket in
                        _ = try await reader.next("progress")
                        _ = try await second.next("progress")
                        try await socket.expectVersion(1)
                        try await scene.report(.transcribing, 20)
                        _ = try await reader.next("progress")
                        try await socket.expectVersion(2)
                        try await scene.database.moveToLaterStatus(scene.session)
                        try await socket.expectRest(.close(1001, "come back"))
                        #expect(try await reader.rest().compactMap(\.event) == [])
                        try await other.report(.transcribing, 20)
                        #expect(try await second.next("progress").status == "transcribing")
                    }
                }
            }
        }
    }

    @Test("The stream of all sessions leaves out a session with an unknown status until the status is known again")
    func streamOfAll() async throws {
        try await withServer { server in
            let scene = try await CaseloadScene(server)
            let unknown = try await scene.database.addSession(of: scene.patients[0])
            let other = try await scene.database.addSession(of: scene.patients[1])
            try await scene.database.addLaterStatus()
            try await scene.database.moveToLaterStatus(unknown)
            let position = try await scene.follow { events, reader in
                #expect(try events.map { try $0.json()["session_id"] as? String } == [other.description, nil])
                try await scene.database.report(other, .transcribing, 20)
                #expect(try await reader.next("progress").status == "transcribing")
                try await scene.database.report(unknown, .transcribed, 60)
                let known = try #require(try await reader.nextEvent())
                #expect(try known.json()["session_id"] as? String == unknown.description)
                return known.id
            }
            try await scene.database.moveToLaterStatus(other)
            try await scene.database.report(unknown, .processed, 100)
            try await scene.follow(lastEventID: position) { events, _ in
                #expect(events.map(\.event) == ["complete", "ready"])
            }
        }
    }

    // MARK: - The audit log

    @Test("The audit log shows a record with an unknown action")
    func unknownAction() async throws {
        try await withClinic { clinic in
            try await clinic.database.query("INSERT INTO app.audit_log (action) VALUES ('session.a_later_action')")
            let response = try await clinic.request(.GET, "/api/audit", as: .admin)
            #expect(response.status == 200)
            let items = try #require(try response.json()["items"] as? [[String: any Sendable]])
            #expect(items.contains { $0["action"] as? String == "session.a_later_action" })
        }
    }

    // MARK: - Accounts

    @Test("Every route that shows an account with an unknown role answers 503, and other accounts go on")
    func accounts() async throws {
        try await withClinic { clinic in
            try await clinic.database.addLaterRole(clinic.id(.stranger))
            let account = "/api/users/\(clinic.id(.stranger))"
            let json = ["Content-Type": "application/json"]
            for path in ["/api/users", account] {
                expectProblem(try await clinic.request(.GET, path, as: .admin), 503, "unavailable", "\(path)")
            }
            let change = try await clinic.request(
                .PATCH, account, as: .admin, headers: json, body: #"{"full_name":"New Name"}"#)
            expectProblem(change, 503, "unavailable")
            let names = try await clinic.database.query(
                "SELECT FROM app.users WHERE full_name = 'New Name'")
            #expect(names.isEmpty)
            let pair = "/api/therapists/\(clinic.id(.stranger))/patients/\(clinic.id(.patient))"
            expectProblem(try await clinic.request(.PUT, pair, as: .admin), 503, "unavailable")

            #expect(try await clinic.request(.GET, "/api/users?role=patient", as: .admin).status == 200)
            #expect(try await clinic.request(.GET, "/api/users/\(clinic.id(.patient))", as: .admin).status == 200)
        }
    }

    @Test("Every request of a user with an unknown role answers 503, and the requests of other users go on")
    func requests() async throws {
        try await withClinic { clinic in
            try await clinic.database.addLaterRole(clinic.id(.stranger))
            for path in ["/api/auth/me", "/api/sessions", "/api/patients", "/api/users", "/api/audit"] {
                expectProblem(try await clinic.request(.GET, path, as: .stranger), 503, "unavailable", "\(path)")
            }
            for path in ["", "/status", "/events"] {
                expectProblem(try await clinic.request(.GET, of: path, as: .stranger), 503, "unavailable", "\(path)")
            }
            let server = clinic.server
            for path in [clinic.streamOfSession, Clinic.streamOfAll] {
                try await server.withStream(path, token: clinic.token(.stranger)) { try await expectUnavailable($0) }
            }
            let socket = "/api/sessions/\(clinic.session)/status/ws"
            #expect(
                try await server.messages(socket, token: clinic.token(.stranger)) == [.close(1011, "unavailable")])

            #expect(try await clinic.request(.GET, of: "/status", as: .therapist).status == 200)
            try await server.withStream(clinic.streamOfSession, token: clinic.token(.patient)) {
                _ = try await $0.next("progress")
            }
        }
    }

    @Test("An open stream of all sessions ends when its user gets an unknown role, and the client reconnects")
    func openStreamOfAll() async throws {
        try await withServer { server in
            let scene = try await CaseloadScene(server)
            _ = try await scene.database.addSession(of: scene.patients[0])
            try await scene.follow { _, reader in
                try await scene.database.addLaterRole(scene.therapist)
                #expect(try await reader.rest().compactMap(\.event) == [])
            }
        }
    }

    @Test("A user with an unknown role gets 503 only after the right password")
    func login() async throws {
        try await withAccountScene { scene in
            try await scene.database.addLaterRole(scene.user)
            let wrong = try await scene.post("login", #"{"email":"\#(scene.email)","password":"wrong"}"#)
            expectProblem(wrong, 401, "unauthorized")
            let right = try await scene.post(
                "login", #"{"email":"\#(scene.email)","password":"\#(AccountScene.password)"}"#)
            expectProblem(right, 503, "unavailable")
            #expect(right.headers["Set-Cookie"].isEmpty)
            #expect(try await scene.database.query("SELECT FROM app.auth_sessions").isEmpty)
        }
    }

    @Test("A refresh of a user with an unknown role answers 503 and does not spend the token")
    func refresh() async throws {
        try await withAccountScene { scene in
            let tokens = try await scene.signIn()
            try await scene.database.addLaterRole(scene.user)
            expectProblem(try await scene.refresh(tokens.refresh), 503, "unavailable")
            let spent = try await scene.database.query(
                "SELECT FROM app.refresh_tokens WHERE spent_at IS NOT NULL")
            #expect(spent.isEmpty)
            expectProblem(try await scene.me(tokens.access), 503, "unavailable")
            try await scene.database.setRole("therapist", of: scene.user)
            #expect(try await scene.refresh(tokens.refresh).status == 200)
        }
    }
}

extension TestDatabase {
    /// Adds a status between `transcribing` and `transcribed`, as the migration of a newer release would.
    ///
    /// No release will have a status of this name, and therefore the tests never clash with a real one.
    fileprivate func addLaterStatus() async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                INSERT INTO app.statuses (status, floor, is_finished) VALUES ('a_later_status', 50, false);
                INSERT INTO app.status_transitions (from_status, to_status)
                VALUES ('transcribing', 'a_later_status'), ('a_later_status', 'transcribed'),
                       ('a_later_status', 'failed');
                """)
        }
    }

    /// Takes a session to `transcribing`, and then to the later status, as a worker of a newer release would.
    fileprivate func moveToLaterStatus(_ session: SessionID) async throws {
        try await report(session, .transcribing, 20)
        try await query("SELECT app.report_progress(\(session.rawValue), 'a_later_status', 50)")
    }

    /// Takes a claimed session to a status, and ends its lease, as if its worker had died there.
    fileprivate func lapse(_ claim: PipelineAccount.Claim, at status: String) async throws {
        for (step, progress) in [("transcribing", 20), (status, 50)] {
            try await query(
                """
                SELECT app.report_progress(\(claim.session.rawValue), \(step), \(Int32(progress)),
                                           attempt => \(Int32(claim.attempt)), lease => \(claim.lease))
                """)
        }
        try await query("UPDATE app.session_leases SET leased_until = now() - interval '1 s'")
    }

    /// Adds a role that may see all sessions, and gives it to a user, as a newer release would.
    fileprivate func addLaterRole(_ user: UserID) async throws {
        try await withConnection { connection in
            try await connection.executeScript(
                """
                INSERT INTO app.roles (role) VALUES ('a_later_role');
                CREATE OR REPLACE FUNCTION app.permits(
                    role text, action text, is_patient boolean DEFAULT false, is_assigned boolean DEFAULT false)
                RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
                    SELECT coalesce(CASE $1 WHEN 'a_later_role' THEN $2 = 'see' WHEN 'admin' THEN true
                                            WHEN 'therapist' THEN $4 WHEN 'patient' THEN $3 END, false)
                $$;
                """)
        }
        try await setRole("a_later_role", of: user)
    }

    /// Changes the role of a user, who stays signed in.
    ///
    /// A new role ends the sign-ins of its account. Here they go on, as if they had begun at a server of the newer
    /// release.
    fileprivate func setRole(_ role: String, of user: UserID) async throws {
        // One transaction: no stream sees the sign-ins ended.
        try await withConnection { connection in
            try await connection.withTransaction { transaction in
                try await transaction.execute("UPDATE app.users SET role = \(role) WHERE id = \(user.rawValue)")
                try await transaction.execute(
                    """
                    UPDATE app.auth_sessions SET revoked_at = NULL, revoked_reason = NULL
                    WHERE user_id = \(user.rawValue)
                    """)
            }
        }
    }
}
