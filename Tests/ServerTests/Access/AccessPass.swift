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

/// Sends every row of the access matrix with every caller and every id to one server.
struct AccessPass: Sendable {
    /// One request of the pass and its answer.
    struct Outcome: Sendable {
        let row: AccessRow
        let expected: Int
        let response: TestResponse
        /// The caller and the request, as text for an error message.
        let circumstances: String
    }

    private struct Attempt: Sendable {
        let row: AccessRow
        let caller: AccessCaller
        let target: AccessTarget
        let number: Int
    }

    /// The number of requests at a time.
    private static let width = 48

    private let server: TestServer
    private let callers: [AccessCaller]
    private let readSession: SessionID
    /// The session of the second clinic, whose accounts are all inactive.
    private let inactiveSession: SessionID

    init(_ server: TestServer) async throws {
        self.server = server
        let clinic = try await Clinic(server)
        let closed = try await Clinic(server, domain: "closed.example")
        var callers: [AccessCaller] = []
        for relation in Clinic.Caller.allCases {
            let user = clinic.id(relation)
            let (ended, signIn) = try await server.signIn(user)
            try await server.database.query(
                "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)")
            callers += [
                AccessCaller(relation: relation, credential: .good, clinic: clinic, token: clinic.token(relation)),
                AccessCaller(relation: relation, credential: .inactive, clinic: closed, token: closed.token(relation)),
                AccessCaller(relation: relation, credential: .signedOut, clinic: clinic, token: ended),
                AccessCaller(
                    relation: relation, credential: .expired, clinic: clinic,
                    token: try await server.token(user, lifetime: .seconds(-1))),
            ]
        }
        callers.append(AccessCaller(relation: .admin, credential: .none, clinic: clinic, token: nil))
        self.callers = callers
        readSession = try await Self.makeReadSession(of: clinic)
        inactiveSession = closed.session
        try await server.database.query("UPDATE app.users SET is_active = false WHERE email LIKE '%@closed.example'")
    }

    /// Makes a finished session with a recording, a transcript and notes.
    ///
    /// Its stream ends by itself.
    private static func makeReadSession(of clinic: Clinic) async throws -> SessionID {
        let upload = try await clinic.upload(Upload(patient: clinic.id(.patient), file: .wav), as: .patient)
        let text = try #require(try upload.json()["id"] as? String)
        let id = try #require(SessionID(text))
        let database = clinic.database
        try await database.query(
            "UPDATE app.therapy_sessions SET therapist_id = \(clinic.id(.nominal).rawValue) WHERE id = \(id.rawValue)")
        try await database.report(id, .transcribing, 20)
        try await database.query(
            """
            SELECT app.store_transcript(\(id.rawValue), 1, '{"text": "", "segments": []}'),
                   app.store_notes(\(id.rawValue), 1, '{}')
            """)
        try await database.report(id, .transcribed, 60)
        try await database.report(id, .processed, 100)
        return id
    }

    /// Sends every request.
    ///
    /// A request that changes something has a session or an account of its own. The pass then checks that refused
    /// requests changed nothing.
    func run() async throws -> [Outcome] {
        var attempts: [Attempt] = []
        for row in AccessRow.all.flatMap({ $0.method == .GET ? [$0, $0.head] : [$0] }) {
            for target in row.hasID ? AccessTarget.allCases : [.known] {
                for caller in callers {
                    attempts.append(Attempt(row: row, caller: caller, target: target, number: attempts.count))
                }
            }
        }
        let subjects = try await makeSubjects(attempts.count)
        let outcomes = try await withThrowingTaskGroup(of: Outcome.self) { group in
            var waiting = attempts[...]
            for attempt in waiting.prefix(Self.width) { group.addTask { try await send(attempt, subjects) } }
            waiting = waiting.dropFirst(Self.width)
            var outcomes: [Outcome] = []
            while let outcome = try await group.next() {
                outcomes.append(outcome)
                if let next = waiting.popFirst() { group.addTask { try await send(next, subjects) } }
            }
            return outcomes
        }
        try await expectUnchanged(attempts, subjects)
        return outcomes
    }

    // MARK: - Subjects

    /// What one request may change: a session of each kind, and two accounts.
    private struct Subject: Sendable {
        let newSession: SessionID
        let failedSession: SessionID
        let user: UserID
        let patient: UserID
        let signIn: SignInID
        let upload: UploadID
        let uploadSession: SessionID
        let webhook: WebhookID
        let delivery: WebhookDeliveryID
    }

    private func makeSubjects(_ count: Int) async throws -> [Subject] {
        let subjects = (0..<count).map { _ in
            Subject(
                newSession: .random(), failedSession: .random(), user: .random(), patient: .random(), signIn: .random(),
                upload: .random(), uploadSession: .random(), webhook: .random(), delivery: .random())
        }
        let (new, failed) = (subjects.map(\.newSession.rawValue), subjects.map(\.failedSession.rawValue))
        let clinic = try #require(callers.first).clinic
        let patient = clinic.id(.patient).rawValue
        let (uploads, uploadSessions) = (subjects.map(\.upload.rawValue), subjects.map(\.uploadSession.rawValue))
        try await server.database.withConnection { connection in
            _ = try await connection.query(
                """
                INSERT INTO app.therapy_sessions (id, patient_id, recording)
                SELECT id, \(patient), NULL FROM unnest(\(new)::uuid[]) AS n (id)
                UNION ALL SELECT id, \(patient), id || '.wav' FROM unnest(\(failed)::uuid[]) AS f (id)
                """)
            _ = try await connection.query(
                "UPDATE app.session_progress SET status = 'failed', error = 'x' WHERE session_id = ANY(\(failed)::uuid[])"
            )
            _ = try await connection.query(
                """
                WITH added AS (
                    INSERT INTO app.therapy_sessions (id, patient_id, uploaded_by, upload_id, upload_key)
                    SELECT s.session, \(patient), \(clinic.id(.therapist).rawValue), s.upload, s.upload || '.parts'
                    FROM unnest(\(uploads)::uuid[], \(uploadSessions)::uuid[]) AS s (upload, session) RETURNING id)
                SELECT count(*) FROM added
                """)
            _ = try await connection.query(
                """
                INSERT INTO app.resumable_uploads (id, session_id, patient_id, user_id, metadata, length, expires_at)
                SELECT s.upload, s.session, \(patient), \(clinic.id(.therapist).rawValue), '', 1000, now() + interval '1 hour'
                FROM unnest(\(uploads)::uuid[], \(uploadSessions)::uuid[]) AS s (upload, session)
                """)
            _ = try await connection.query(
                """
                INSERT INTO app.users (id, email, full_name, role)
                SELECT id, id || '@subject.example', 'A Subject', role
                FROM unnest(\(subjects.map(\.user.rawValue))::uuid[]) AS u (id), (VALUES ('therapist')) AS r (role)
                UNION ALL
                SELECT id, id || '@subject.example', 'A Subject', role
                FROM unnest(\(subjects.map(\.patient.rawValue))::uuid[]) AS p (id), (VALUES ('patient')) AS r (role)
                """)
        }
        try await addWebhooks(subjects)
        return subjects
    }

    /// Adds webhooks that get no event of the pass, each with a delivery that was given up.
    private func addWebhooks(_ subjects: [Subject]) async throws {
        let (webhooks, deliveries) = (subjects.map(\.webhook.rawValue), subjects.map(\.delivery.rawValue))
        try await server.database.query(
            """
            INSERT INTO app.webhooks (id, url, events, secret)
            SELECT id, 'https://192.0.2.1/', '{session.diarizing}', decode(repeat('00', 32), 'hex')
            FROM unnest(\(webhooks)::uuid[]) AS w (id)
            """)
        try await server.database.query(
            """
            INSERT INTO app.webhook_deliveries (id, webhook_id, session_id, version, attempt, status, at, next_at)
            SELECT d.id, d.webhook, gen_random_uuid(), 1, 1, 'processed', now(), NULL
            FROM unnest(\(webhooks)::uuid[], \(deliveries)::uuid[]) AS d (webhook, id)
            """)
    }

    private func path(of attempt: Attempt, _ subject: Subject) -> String {
        func filled(_ values: [String: any CustomStringConvertible]) -> String {
            values.reduce(attempt.row.path) { path, value in
                let text =
                    switch attempt.target {
                    case .known: value.value.description
                    case .unknown: UserID.random().description
                    case .malformed: "no-uuid"
                    }
                return path.replacing("{\(value.key)}", with: text)
            }
        }
        return switch attempt.row.subject {
        case .nothing: attempt.row.path.replacing("{name}", with: "app.js")
        case .readSession:
            filled(
                ["id", "session_id"].reduce(into: [:]) {
                    $0[$1] = attempt.caller.credential == .inactive ? inactiveSession : readSession
                })
        case .newSession: filled(["id": subject.newSession])
        case .failedSession: filled(["id": subject.failedSession])
        case .newUser: filled(["id": subject.user])
        case .newSignIn: filled(["id": subject.signIn])
        case .newUpload: filled(["id": subject.upload])
        case .newWebhook: filled(["id": subject.webhook, "delivery_id": subject.delivery])
        case .unassigned: filled(["therapist_id": subject.user, "patient_id": subject.patient])
        }
    }

    private func content(of attempt: Attempt, _ subject: Subject) -> (type: String, bytes: Data)? {
        let json: String? =
            switch attempt.row.body {
            case .none, .upload, .creation, .bytes: nil
            case .json(let text): text
            case .reports:
                #"{"reports":[{"session_id":"\#(subject.newSession)","status":"transcribing","progress":30}]}"#
            case .account: #"{"email":"\#(UserID.random())@new.example","full_name":"New","role":"patient"}"#
            }
        if case .upload = attempt.row.body {
            return (
                Upload.contentType, Upload(patient: attempt.caller.clinic.id(.patient), file: .wav(size: 200)).body
            )
        }
        if case .bytes = attempt.row.body {
            return (ResumableClient.octets, UploadFile.wav(size: 100).bytes)
        }
        return json.map { ("application/json", Data($0.utf8)) }
    }

    private func send(_ attempt: Attempt, _ subjects: [Subject]) async throws -> Outcome {
        let subject = subjects[attempt.number]
        let path = path(of: attempt, subject)
        if attempt.row.subject == .newSignIn {
            let user = attempt.caller.clinic.id(attempt.caller.relation)
            try await server.database.query(
                """
                INSERT INTO app.auth_sessions (id, user_id, expires_at)
                VALUES (\(subject.signIn.rawValue), \(user.rawValue), now() + interval '1 day')
                """)
        }
        var request = HTTPClientRequest(url: server.baseURL + path)
        request.method = attempt.row.method
        var token = attempt.caller.token
        if attempt.row.path == "/api/auth/logout", [.good, .inactive].contains(attempt.caller.credential) {
            // The shared token would end the sign-in of the other requests.
            token = try await server.token(attempt.caller.clinic.id(attempt.caller.relation))
        }
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if attempt.row.path.hasPrefix("/api/uploads") {
            let client = ResumableClient(
                server: server, token: "", content: UploadFile.wav(size: 200).bytes,
                patient: attempt.caller.clinic.id(.patient))
            request.headers.add(name: "Tus-Resumable", value: "1.0.0")
            request.headers.add(name: "Upload-Length", value: "\(client.content.count)")
            request.headers.add(name: "Upload-Metadata", value: client.metadata)
            request.headers.add(name: "Upload-Offset", value: "0")
        }
        if let content = content(of: attempt, subject) {
            request.headers.add(name: "Content-Type", value: content.type)
            request.body = .bytes(ByteBuffer(bytes: content.bytes))
        }
        let response = try await TestServer.client.execute(request, timeout: TimeAmount(TestDeadline.event))
        let isEndless = response.status == .ok && attempt.row.path == "/api/sessions/status/stream"
        let body = isEndless ? ByteBuffer() : try await response.body.collect(upTo: 64 << 20)
        return Outcome(
            row: attempt.row, expected: attempt.row.status(for: attempt.caller, attempt.target),
            response: TestResponse(
                status: Int(response.status.code), headers: response.headers, body: Data(body.readableBytesView)),
            circumstances:
                "\(attempt.row.name) by \(attempt.caller.relation) (\(attempt.caller.credential)), \(attempt.target)")
    }

    /// Checks that refused requests, and requests with another id, changed nothing.
    private func expectUnchanged(_ attempts: [Attempt], _ subjects: [Subject]) async throws {
        let refused = attempts.filter { $0.target != .known || $0.row.status(for: $0.caller, .known) >= 400 }
            .map { subjects[$0.number] }
        let new = try await server.database.query(
            """
            SELECT FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id
            WHERE p.status = 'pending' AND p.version = 1 AND t.language IS NULL
                AND p.session_id = ANY(\(refused.map(\.newSession.rawValue))::uuid[])
            """)
        let failed = try await server.database.query(
            """
            SELECT FROM app.session_progress WHERE status = 'failed' AND version = 2
                AND session_id = ANY(\(refused.map(\.failedSession.rawValue))::uuid[])
            """)
        let users = try await server.database.query(
            """
            SELECT FROM app.users WHERE full_name = 'A Subject' AND is_active
                AND id = ANY(\(refused.map(\.user.rawValue))::uuid[])
                AND NOT EXISTS (SELECT FROM app.therapist_patients t WHERE t.therapist_id = users.id)
            """)
        for unchanged in [new, failed, users] { #expect(unchanged.count == refused.count) }
    }
}
