import App
import AsyncHTTPClient
import Domain
import Foundation
import NIOCore
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// What other programs' transactions and settings do to the server.
@Suite(.deadline) struct LockTests {
    /// How long the server waits for a lock: two seconds in the program, and here as long as everything else may take.
    private static let longestWait = TestDeadline.event / 3

    /// A server that waits less for a lock than for an answer, and a clinic.
    private func withImpatientClinic(
        _ body: @escaping @Sendable (Clinic) async throws -> Void
    ) async throws {
        try await withDatabase { database in
            var timeouts = DatabaseTimeouts.forTests
            timeouts.lock = Self.longestWait
            try await withServer(over: database, databaseTimeouts: timeouts) { try await body(try await Clinic($0)) }
        }
    }

    /// Nine requests, and a pool of four connections.
    @Test("A session that an open transaction holds gets 503, and meanwhile the server serves everything else")
    func heldSession() async throws {
        try await withImpatientClinic { clinic in
            // An account of its own, because a new password ends the sign-ins of the account.
            let stranger = try await clinic.database.addUser(.therapist, email: "ada@clinic.example")
            try await clinic.database.setPassword("correct horse battery", of: stranger)
            let other = try await clinic.database.addSession(of: clinic.id(.patient))
            // A rolled-back statement keeps what it has taken from a sequence.
            try await clinic.database.withConnection { connection in
                try await connection.executeScript(
                    """
                    CREATE SEQUENCE public.tries MINVALUE 0 START 0;
                    SELECT nextval('public.tries');
                    CREATE FUNCTION public.count_try() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
                        PERFORM nextval('public.tries'); RETURN NULL; END $$;
                    CREATE TRIGGER count_try BEFORE DELETE ON app.therapy_sessions
                        FOR EACH STATEMENT EXECUTE FUNCTION public.count_try();
                    """)
            }
            @Sendable func tries() async throws -> Int64 {
                try await clinic.database.query("SELECT last_value FROM public.tries")[0].decode(0, as: Int64.self)
            }
            try await clinic.database.withConnection(as: "therapybridge_pipeline") { holder async throws in
                try await holder.executeScript(
                    "BEGIN; SELECT app.report_progress('\(clinic.session)', 'transcribing', 20)")
                try await withThrowingTaskGroup(of: HTTPClientResponse.self) { group in
                    for _ in 0..<9 { group.addTask { try await delete(clinic) } }
                    // The deletions have arrived in the database.
                    try await clinic.database.untilSomeoneWaitsForALock()
                    let start = ContinuousClock.now
                    for caller in [Clinic.Caller.therapist, .patient] {
                        #expect(try await clinic.request(.GET, "/api/sessions/\(other)", as: caller).status == 200)
                        #expect(try await clinic.request(.GET, of: "/status", as: caller).status == 200)
                    }
                    let signIn = try await clinic.post(
                        "/api/auth/login",
                        #"{"email": "ada@clinic.example", "password": "correct horse battery"}"#, as: nil)
                    #expect(signIn.status == 200)
                    let report = try await clinic.post(
                        "/api/sessions/\(other)/progress", #"{"status": "transcribing", "progress": 20}"#, as: .pipeline
                    )
                    #expect(report.status == 200)
                    #expect(try await clinic.request(.DELETE, "/api/sessions/\(other)", as: .therapist).status == 204)
                    let took = start.duration(to: .now)
                    for _ in 0..<9 {
                        let response = try #require(try await group.next())
                        #expect(response.status == .serviceUnavailable)
                        #expect(response.headers.first(name: "Retry-After") != nil)
                        let body = String(buffer: try await response.body.collect(upTo: 10_000))
                        #expect(body.contains("/problems/unavailable"))
                    }
                    // The others did not wait for any of the deletions.
                    #expect(took < Self.longestWait)
                    // The server tried each of the nine deletions at most once, and the deletion of the other session.
                    #expect(try await tries() <= 10)
                }
                let before = try await tries()
                let refused = try await delete(clinic)
                #expect(refused.status == .serviceUnavailable)
                #expect(try await tries() == before + 1)
                try await holder.executeScript("ROLLBACK")
            }
            #expect(try await clinic.request(.DELETE, of: "", as: .therapist).status == 204)
        }
    }

    /// Deletes the clinic's session, on one of many connections.
    private func delete(_ clinic: Clinic) async throws -> HTTPClientResponse {
        var request = HTTPClientRequest(url: "\(clinic.server.baseURL)/api/sessions/\(clinic.session)")
        request.method = .DELETE
        request.headers.add(name: "Authorization", value: "Bearer \(clinic.token(.therapist))")
        return try await TestServer.client.execute(request, timeout: TimeAmount(TestDeadline.event))
    }

    @Test("The servers' connections give up a lock after two seconds, and a pipeline's open transaction is ended")
    func roleSettings() async throws {
        try await withDatabase { database in
            let rows = try await database.query(
                """
                SELECT rolname || ' ' || setting FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole,
                    unnest(setconfig) AS setting WHERE setdatabase = 0 AND rolname LIKE 'therapybridge%' ORDER BY 1
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(DatabaseTimeouts().lock == .seconds(2))
            #expect(
                rows == [
                    "therapybridge_pipeline default_transaction_isolation=read committed",
                    "therapybridge_pipeline default_transaction_read_only=off",
                    "therapybridge_pipeline idle_in_transaction_session_timeout=30s",
                    "therapybridge_pipeline row_security=on",
                    "therapybridge_server default_transaction_isolation=read committed",
                    "therapybridge_server default_transaction_read_only=off",
                    "therapybridge_server idle_session_timeout=0",
                    "therapybridge_server jit=off",
                    "therapybridge_server lock_timeout=2s",
                    "therapybridge_server row_security=on",
                    "therapybridge_server search_path=pg_catalog",
                ])
        }
    }

    @Test("A deletion waits for a pipeline that leaves its transaction open until PostgreSQL ends that transaction")
    func idlePipeline() async throws {
        try await withImpatientClinic { clinic in
            let database = clinic.database
            // The setting of the role, with less time.
            try await database.query(
                """
                ALTER ROLE therapybridge_pipeline IN DATABASE \(unescaped: database.name)
                SET idle_in_transaction_session_timeout = '500ms'
                """)
            // Unlike other connections of tests, this one leaves the role's settings as they are.
            let configuration = try PostgresConfiguration(
                connectionString: database.url("therapybridge_pipeline"), connectTimeout: TestDeadline.event,
                queryTimeout: TestDeadline.event)
            try await PostgresConnection.withConnection(configuration) { holder async throws in
                try await holder.executeScript(
                    "BEGIN; SELECT app.report_progress('\(clinic.session)', 'transcribing', 20)")
                #expect(try await clinic.request(.DELETE, of: "", as: .therapist).status == 204)
                await #expect(throws: PostgresError.self) { try await holder.executeScript("COMMIT") }
            }
        }
    }

    @Test(
        "Another default isolation level of the database and of the role changes nothing",
        arguments: ["serializable", "repeatable read"])
    func isolation(level: String) async throws {
        try await withDatabase { database in
            // Each statement that changes progress, sessions, sign-ins or the audit log runs this trigger.
            try await database.withConnection { connection in
                try await connection.executeScript(
                    """
                    ALTER DATABASE \(database.name) SET default_transaction_isolation = '\(level)';
                    ALTER ROLE therapybridge_server IN DATABASE \(database.name)
                        SET default_transaction_isolation = '\(level)';
                    CREATE TABLE public.levels (level text);
                    GRANT ALL ON public.levels TO PUBLIC;
                    CREATE FUNCTION public.note_level() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
                        INSERT INTO public.levels VALUES (current_setting('transaction_isolation')); RETURN NULL; END $$;
                    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON app.session_progress
                        FOR EACH ROW EXECUTE FUNCTION public.note_level();
                    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON app.therapy_sessions
                        FOR EACH ROW EXECUTE FUNCTION public.note_level();
                    CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON app.auth_sessions
                        FOR EACH ROW EXECUTE FUNCTION public.note_level();
                    """)
            }
            try await withServer(over: database) { server in
                let clinic = try await Clinic(server)
                try await database.query("TRUNCATE public.levels")
                let uploaded = try await clinic.upload(clinic.silence, as: .therapist)
                #expect(uploaded.status == 201)
                let id = try #require(try uploaded.json()["id"] as? String)
                for json in [#"{"status": "failed", "progress": 20}"#, #"{"status": "transcribing", "progress": 20}"#] {
                    let session = json.contains("failed") ? id : clinic.session.description
                    #expect(
                        try await clinic.post("/api/sessions/\(session)/progress", json, as: .pipeline).status == 200)
                }
                #expect(try await clinic.request(.POST, "/api/sessions/\(id)/retry", as: .therapist).status == 202)
                #expect(try await clinic.request(.DELETE, "/api/sessions/\(id)", as: .therapist).status == 204)
                #expect(try await clinic.request(.POST, "/api/auth/logout", as: .therapist).status == 204)
            }
            let levels = try await database.query("SELECT DISTINCT level FROM public.levels")
                .map { try $0.decode(0, as: String.self) }
            #expect(levels == ["read committed"])
        }
    }
}

/// The queue of notifications is full.
///
/// PostgreSQL then raises 54000 at the commit, after the statement has already returned its rows. A deferred trigger does
/// the same, without 8 GB of notifications.
@Suite(.deadline) struct FullQueueTests {
    /// Lets each transaction that changes progress fail at its commit.
    private static let fill = ProgramLimit.script(
        ProgramLimit.fullQueue, kind: "CONSTRAINT TRIGGER",
        "AFTER INSERT OR UPDATE OR DELETE ON app.session_progress DEFERRABLE INITIALLY DEFERRED FOR EACH ROW")
    private static let drain = "DROP TRIGGER refuse ON app.session_progress"

    @Test("A full queue of notifications gets 503, nothing is written, and the same request succeeds later")
    func requests() async throws {
        try await withClinic { clinic in
            @Sendable func answers() async throws -> [TestResponse] {
                [
                    try await clinic.post(
                        "/api/sessions/\(clinic.session)/progress", #"{"status": "transcribing", "progress": 20}"#,
                        as: .pipeline),
                    try await clinic.request(.DELETE, of: "", as: .therapist),
                ]
            }
            try await clinic.database.withConnection { try await $0.executeScript(Self.fill) }
            for response in try await answers() {
                #expect(response.status == 503)
                #expect(response.headers.first(name: "Retry-After") != nil)
            }
            let list = try await clinic.post(
                "/api/progress",
                #"{"reports": [{"session_id": "\#(clinic.session)", "status": "transcribing", "progress": 20}]}"#,
                as: .pipeline)
            #expect(list.status == 503)
            let state = try await clinic.request(.GET, of: "/status", as: .patient).json()
            #expect(state["status"] as? String == "pending")
            #expect(state["version"] as? Int == 1)
            try await clinic.database.withConnection { try await $0.executeScript(Self.drain) }
            #expect(try await answers().map(\.status) == [200, 204])
        }
    }

    /// Lets each transaction that changes rights fail at its commit.
    private static let fillRights = fill.replacing(
        "AFTER INSERT OR UPDATE OR DELETE ON app.session_progress", with: "AFTER INSERT ON app.rights_log")

    @Test("A full queue gets 503 for every change of rights, nothing is changed, and the same request succeeds later")
    func rights() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let (leaving, signIn) = try await clinic.server.signIn(clinic.id(.stranger))
            let user = try await database.addUser(.therapist, email: "ada@clinic.example")
            try await database.setPassword("correct horse battery", of: user)
            let own = try await clinic.server.token(user)
            let tie = { "/api/therapists/\(clinic.id($0))/patients/\(clinic.id(.patient))" }
            let json = ["Content-Type": "application/json"]
            let requests: [(method: HTTPMethod, path: String, token: String, body: String?, status: Int)] = [
                (.PUT, tie(.stranger), clinic.token(.admin), nil, 204),
                (.DELETE, tie(.therapist), clinic.token(.admin), nil, 204),
                (.PATCH, "/api/users/\(clinic.id(.otherPatient))", clinic.token(.admin), #"{"is_active":false}"#, 200),
                (.PATCH, "/api/users/\(clinic.id(.nominal))", clinic.token(.admin), #"{"role":"admin"}"#, 200),
                (.DELETE, "/api/users/\(clinic.id(.former))/sign-ins", clinic.token(.admin), nil, 204),
                (.DELETE, "/api/sessions/\(clinic.session)", clinic.token(.admin), nil, 204),
                (
                    .POST, "/api/auth/password", own,
                    #"{"current_password":"correct horse battery","new_password":"another horse battery"}"#, 204
                ),
                (.DELETE, "/api/auth/sign-ins/\(signIn)", leaving, nil, 204),
                (.POST, "/api/auth/logout", clinic.token(.pipeline), nil, 204),
            ]
            func send(_ number: Int) async throws -> TestResponse {
                let request = requests[number]
                return try await clinic.server.request(
                    request.method, request.path, token: request.token, headers: request.body == nil ? [:] : json,
                    body: request.body.map { Data($0.utf8) })
            }
            // A second sign-in ends with the new password.
            _ = try await clinic.server.token(user)
            let scene = AuditScene(clinic)
            try await database.withConnection { try await $0.executeScript(Self.fillRights) }
            try await scene.withoutEstimates {
                let before = try await scene.digest(without: ["audit_log"])
                for number in requests.indices {
                    let answer = try await send(number)
                    #expect(answer.status == 503, "\(requests[number].path): \(answer.text)")
                    #expect(answer.headers.first(name: "Retry-After") != nil, "\(requests[number].path)")
                    let after = try await scene.digest(without: ["audit_log"])
                    #expect(after.filter { before[$0.key] != $0.value }.map(\.key) == [], "\(requests[number].path)")
                }
            }
            try await database.query("DROP TRIGGER refuse ON app.rights_log")
            for number in requests.indices {
                let answer = try await send(number)
                #expect(answer.status == requests[number].status, "\(requests[number].path): \(answer.text)")
            }
        }
    }

    @Test("A worker keeps its result until the queue of notifications has room")
    func worker() async throws {
        try await withWorkerScene(transcribing: Script.waits) { scene, folder in
            let session = try await scene.upload()
            try await folder.wait(for: "begun")
            try await scene.database.withConnection { try await $0.executeScript(Self.fill) }
            try folder.touch("go")
            try await eventually("the worker tries again") {
                try await scene.database.query("SELECT last_value FROM public.refusals")[0].decode(0, as: Int64.self)
                    > 1
            }
            try await scene.database.withConnection { try await $0.executeScript(Self.drain) }
            #expect(try await scene.watchToEnd(session).last?.event == "complete")
            #expect(try await scene.history(of: session).last == "processed 1")
        }
    }

    @Test("An upload whose recording cannot be entered at once is entered later, and the client sends it once")
    func upload() async throws {
        try await withClinic { clinic in
            // The first change to pending fails, which is the end of the upload.
            try await clinic.database.withConnection { connection in
                try await connection.executeScript(
                    ProgramLimit.script(
                        ProgramLimit.fullQueue, times: 1, kind: "CONSTRAINT TRIGGER",
                        """
                        AFTER UPDATE ON app.session_progress DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
                        WHEN (OLD.status = 'uploading' AND NEW.status = 'pending')
                        """))
            }
            let response = try await clinic.upload(clinic.silence, as: .therapist)
            #expect(response.status == 201)
            #expect(
                try await clinic.database.query("SELECT last_value FROM public.refusals")[0].decode(0, as: Int64.self)
                    == 2
            )
        }
    }
}

extension Clinic {
    /// A recording for the clinic's patient.
    fileprivate var silence: Upload {
        let file = UploadFile(
            "session.wav", "application/octet-stream", Array(Recording.silence), size: Recording.silence.count)
        return Upload(patient: id(.patient), file: file)
    }
}
