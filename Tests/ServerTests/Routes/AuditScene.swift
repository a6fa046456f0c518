import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Prepares and sends the requests of ``AuditedRequest``.
struct AuditScene: Sendable {
    /// What one request is about.
    struct Target: Sendable {
        /// The id in the path; of an assignment, the therapist.
        var id = ""
        var patient = ""
        var delivery = ""
        /// The session of an upload.
        var session = SessionID.random()
        /// The members `lease` and `attempt` of a claim.
        var proof = ""
        var email = ""
        var refresh = ""
        /// The tag of the present transcript or notes, for a correction.
        var tag = ""
        var token: String?
    }

    let clinic: Clinic
    private var database: TestDatabase { clinic.database }

    init(_ clinic: Clinic) { self.clinic = clinic }

    /// Makes what a request is about, and a new sign-in for it: no access repeats an earlier one.
    func prepare(_ request: AuditedRequest) async throws -> Target {
        var target = Target()
        switch request.subject {
        case .none: break
        case .session: target.id = try await database.addSession(of: clinic.id(.patient)).description
        case .uploaded, .failed:
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: target.session)
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            target.id = target.session.description
            if case .failed = request.subject {
                try await database.report(target.session, .failed, 20, error: "stopped")
            }
        case .foreign:
            let upload = Upload(patient: clinic.id(.otherPatient), file: .wav, session: target.session)
            #expect(try await clinic.upload(upload, as: .otherPatient).status == 201)
        case .claimed:
            target.session = try await addRecorded()
            let claim = try await database.query(
                """
                UPDATE app.session_leases SET worker = 'w', leased_until = now() + interval '1 h', attempt = 1,
                    lease_hash = app.lease_digest('a lease') WHERE session_id = \(target.session.rawValue) RETURNING attempt
                """)
            try #require(claim.count == 1)
            (target.id, target.proof) = (target.session.description, #""lease":"a lease","attempt":1"#)
        case .processed:
            target.session = try await addRecorded()
            target.id = target.session.description
            let session = target.session.rawValue
            try await database.report(target.session, .transcribing, 20)
            try await database.query(
                """
                SELECT app.store_transcript(
                           \(session), 1, '{"text": "a", "segments": [{"start": 0, "end": 1, "text": "a"}]}'),
                       app.store_notes(\(session), 1, '{}')
                """)
            try await database.query(
                """
                INSERT INTO app.stage_failures (session_id, attempt, stage, exit_status, output_tail)
                VALUES (\(session), 1, 'notes', 1, '')
                """)
            try await database.report(target.session, .transcribed, 60)
            try await database.report(target.session, .processed, 100)
            if request.isCorrection {
                let path = request.template.replacing("{id}", with: target.id)
                let read = try await clinic.request(.GET, path, as: .admin)
                target.tag = try #require(read.headers.first(name: "ETag"))
            }
        case .upload, .endedUpload:
            var client = clinic.resumable(4000)
            try await client.begin()
            (target.id, target.session) = (String(client.path.split(separator: "/").last ?? ""), client.session)
            if case .endedUpload = request.subject { #expect(try await client.send(.DELETE).status == 204) }
        case .user: target.id = try await database.addUser(.therapist).description
        case .unassigned, .assigned:
            let (therapist, patient) = (try await database.addUser(.therapist), try await database.addUser(.patient))
            (target.id, target.patient) = (therapist.description, patient.description)
            if case .assigned = request.subject { try await database.assign(therapist, to: patient) }
        case .patients:
            target.id = try await database.addUser(.patient).description
            target.patient = try await database.addUser(.patient).description
        case .account: try await prepareAccount(request, &target)
        case .webhook: try await addWebhook(isActive: true, &target)
        case .inactiveWebhook: try await addWebhook(isActive: false, &target)
        }
        if let caller = request.caller { target.token = try await clinic.server.token(clinic.id(caller)) }
        return target
    }

    /// Adds a webhook for an event that no request of the table causes, with a delivery that was given up.
    private func addWebhook(isActive: Bool, _ target: inout Target) async throws {
        let webhook = try await database.query(
            """
            INSERT INTO app.webhooks (url, events, secret, is_active)
            VALUES ('https://192.0.2.1/', '{session.diarizing}', decode(repeat('00', 32), 'hex'), \(isActive)) RETURNING id
            """
        )[0].decode("id", as: WebhookID.self)
        target.id = webhook.description
        target.delivery = try await database.query(
            """
            INSERT INTO app.webhook_deliveries (webhook_id, session_id, version, attempt, status, at, next_at)
            VALUES (\(webhook.rawValue), gen_random_uuid(), 1, 1, 'processed', now(), NULL) RETURNING id
            """
        )[0].decode("id", as: WebhookDeliveryID.self).description
    }

    /// Adds a session with a recording that waits for a worker, without a file.
    private func addRecorded() async throws -> SessionID {
        try await database.query(
            """
            INSERT INTO app.therapy_sessions (patient_id, recording, filename, bytes, media_type)
            VALUES (\(clinic.id(.patient).rawValue), gen_random_uuid()::text, 'session.ogg', 1000, 'audio/ogg') RETURNING id
            """
        )[0].decode("id", as: SessionID.self)
    }

    /// Adds an account with a password and two sign-ins: the caller's, and another one, whose id is the target's.
    private func prepareAccount(_ request: AuditedRequest, _ target: inout Target) async throws {
        target.email = "\(UUID())@account.example".lowercased()
        let user = try await database.addUser(.therapist, email: target.email)
        try await database.setPassword("correct horse battery", of: user)
        let tokens = try TokenPair(
            try await clinic.server.post(
                "/api/auth/login", #"{"email":"\#(target.email)","password":"correct horse battery"}"#))
        let (_, other) = try await clinic.server.signIn(user)
        target.refresh = tokens.refresh
        target.id = request.template.hasPrefix("/api/users") ? user.description : other.description
        let needsNoToken = ["POST /api/auth/login", "POST /api/auth/refresh"].contains(request.route)
        if !needsNoToken { target.token = tokens.access }
    }

    /// Sends a request about its target, by its method or another one.
    func send(
        _ request: AuditedRequest, _ target: Target, by method: HTTPMethod? = nil
    ) async throws -> TestResponse {
        func filled(_ text: String) -> String {
            text.replacing("{id}", with: request.id ?? target.id).replacing(
                "{session_id}", with: request.id ?? target.id
            )
            .replacing("{therapist_id}", with: request.id ?? target.id)
            .replacing("{patient_id}", with: request.id ?? target.patient)
            .replacing("{delivery_id}", with: request.id ?? target.delivery)
            .replacing("PROOF", with: target.proof).replacing("REFRESH", with: target.refresh)
            .replacing("EMAIL", with: target.email).replacing("NEW", with: UUID().uuidString.lowercased())
            .replacing("\"ID\"", with: "\"\(target.id)\"")
        }
        var headers: [String: String] = [:]
        var body = request.body.map { Data(filled($0).utf8) }
        let patient = clinic.id(.patient)
        switch request.body {
        case "FORM":
            headers["Content-Type"] = Upload.contentType
            body = Upload(patient: patient, file: .wav, session: target.session).body
        case "BYTES":
            headers["Content-Type"] = ResumableClient.octets
            headers["Upload-Offset"] = "0"
            body = clinic.resumable(4000).content.prefix(1000)
        case .some: headers["Content-Type"] = "application/json"
        case nil: break
        }
        if request.isCorrection { headers["If-Match"] = request.tag ?? target.tag }
        if request.template.hasPrefix("/api/uploads") {
            var client = clinic.resumable(4000)
            client.session = target.session
            headers["Tus-Resumable"] = "1.0.0"
            if request.method == .POST {
                headers["Upload-Length"] = "4000"
                headers["Upload-Metadata"] = client.metadata
            }
        }
        return try await clinic.server.request(
            method ?? request.method, filled(request.template) + request.query, token: target.token, headers: headers,
            body: body)
    }

    /// Runs a body while no server renews estimates, which it does every few seconds, whatever is requested.
    func withoutEstimates(_ body: () async throws -> Void) async throws {
        try await database.withConnection { connection in
            // The renewal skips a locked row.
            try await connection.executeScript("BEGIN; SELECT FROM app.estimate_state FOR UPDATE")
            try await body()
            try await connection.executeScript("ROLLBACK")
        }
    }

    /// A digest of the rows of each table of the schema but some, and the counters.
    ///
    /// The janitor adds up the counts of sessions at any time.
    func digest(without others: Set<String> = []) async throws -> [String: String] {
        let tables = try await database.query(
            """
            SELECT relname FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                AND relname NOT IN ('attempt_limits', 'upload_charges', 'session_counts', 'session_day_counts',
                                    'session_count_changes')
            ORDER BY relname
            """
        ).map { try $0.decode("relname", as: String.self) }
        try #require(tables.contains("audit_log"))
        try #require(tables.contains("therapy_sessions"))
        return try await database.withConnection { connection in
            var digests: [String: String] = [:]
            for table in tables where !others.contains(table) {
                let rows = try await connection.query(
                    "SELECT md5(coalesce(string_agg(t::text, ';' ORDER BY t::text), '')) AS d FROM app.\(unescaped: table) t"
                )
                digests[table] = try rows[0].decode("d", as: String.self)
            }
            return digests
        }
    }
}
