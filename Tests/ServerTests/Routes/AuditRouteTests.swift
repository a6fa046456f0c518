import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The audit log behind the routes: what each request records, and that an unrecorded request has no effect.
@Suite(.deadline) struct AuditRouteTests {
    /// A request about the clinic's session, and the action that the audit log gets.
    struct Access: Sendable, CustomTestStringConvertible {
        var method: HTTPMethod
        var path: String
        var action: AuditAction
        var isOfSession = true
        var caller = Clinic.Caller.therapist
        var stranger = Clinic.Caller.stranger
        var testDescription: String { action.rawValue }
    }

    static let accesses: [Access] = [
        Access(method: .GET, path: "", action: .readSession),
        Access(method: .HEAD, path: "/status", action: .readStatus),
        Access(method: .GET, path: "/events", action: .readEvents),
        Access(method: .GET, path: "/transcript", action: .readTranscript),
        Access(method: .GET, path: "/notes", action: .readNotes, stranger: .patient),
        Access(method: .GET, path: "/history", action: .readHistory, stranger: .patient),
        // Without `If-Match`. The right is recorded first.
        Access(method: .PATCH, path: "/transcript", action: .correctTranscript, stranger: .patient),
        Access(method: .PUT, path: "/notes", action: .correctNotes, stranger: .patient),
        Access(method: .GET, path: "/recording", action: .hearRecording, stranger: .pipeline),
        Access(method: .POST, path: "/status/ticket", action: .takeTicket, caller: .patient),
        Access(method: .POST, path: "/retry", action: .retry, stranger: .patient),
        Access(method: .GET, path: "/status/stream", action: .openStream),
        Access(method: .GET, path: "/status/stream?last_event_id=1", action: .resumeStream, caller: .admin),
        Access(method: .DELETE, path: "", action: .delete, stranger: .patient),
    ]

    @Test("Every request about a session is recorded with user, session, patient and request id", arguments: accesses)
    func sessions(access: Access) async throws {
        try await withClinic { clinic in
            try await clinic.database.report(clinic.session, .failed, 0)
            let allowed = try await clinic.request(access.method, of: access.path, as: access.caller)
            let refused = try await clinic.request(access.method, of: access.path, as: access.stranger)
            // The status depends on whether the session has a transcript or a recording.
            #expect([200, 202, 204, 404, 409, 428].contains(allowed.status))
            #expect([403, 404].contains(refused.status))
            let records = try await clinic.database.audit("action = '\(access.action.rawValue)'")
            #expect(records.map(\.isAllowed) == (access.action == .delete ? [true] : [true, false]))
            for (record, (caller, answer)) in zip(records, [(access.caller, allowed), (access.stranger, refused)]) {
                #expect(record.user == clinic.id(caller))
                #expect(record.signIn != nil)
                #expect(record.session == clinic.session)
                #expect(record.patient == clinic.id(.patient))
                #expect(answer.headers["X-Request-Id"] == [record.requestID ?? ""])
            }
        }
    }

    @Test("Lists and administrative reads are recorded, allowed or refused")
    func lists() async throws {
        try await withClinic { clinic in
            let accesses: [(String, AuditAction)] = [
                ("/api/sessions", .listSessions), ("/api/patients", .listPatients), ("/api/users", .listUsers),
                ("/api/users/\(clinic.id(.patient))", .readUser), ("/api/audit", .readAudit),
                ("/api/therapists/\(clinic.id(.therapist))/patients", .listAssignments),
                ("/api/therapists", .listTherapists), ("/metrics", .readMetrics),
                ("/api/webhooks", .listWebhooks), (Clinic.streamOfAll, .openCaseload),
            ]
            for (path, action) in accesses {
                for caller in [Clinic.Caller.admin, .patient] {
                    let answer =
                        path.hasSuffix("stream")
                        ? try await clinic.request(.HEAD, path, as: caller)
                        : try await clinic.request(.GET, path, as: caller)
                    let isAllowed = answer.status == 200
                    #expect(isAllowed || answer.status == 403)
                    let records = try await clinic.database.audit(
                        "action = '\(action.rawValue)' AND user_id = '\(clinic.id(caller))'")
                    #expect(records.map(\.isAllowed) == [isAllowed], "\(caller) \(path)")
                    #expect(records.map(\.requestID) == answer.headers["X-Request-Id"], "\(caller) \(path)")
                }
            }
        }
    }

    @Test("An upload is recorded before its first byte, allowed or refused")
    func uploads() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            #expect(try await clinic.upload(upload, as: .stranger).status == 403)
            #expect(try await clinic.upload(upload, as: .therapist).status == 201)
            let records = try await clinic.database.audit("action = 'session.upload'")
            #expect(records.map(\.isAllowed) == [false, true])
            #expect(records.map(\.session) == [nil, id])
            #expect(records.allSatisfy { $0.patient == clinic.id(.patient) })
            #expect(records.map(\.user) == [clinic.id(.stranger), clinic.id(.therapist)])

            try await clinic.database.breakAudit()
            let unrecorded = Upload(patient: clinic.id(.patient), file: .wav, session: .random())
            #expect(try await clinic.upload(unrecorded, as: .therapist).status >= 500)
            #expect(
                try await clinic.database.query("SELECT FROM app.therapy_sessions WHERE bytes IS NOT NULL").count == 1)
            #expect(try FileManager.default.contentsOfDirectory(atPath: clinic.server.uploads.path).count == 1)
        }
    }

    @Test("Every change by an administrator is recorded once, and so is a refused change")
    func changes() async throws {
        try await withClinic { clinic in
            let json = ["Content-Type": "application/json"]
            let account = #"{"email":"new@clinic.example","full_name":"New Person","role":"patient"}"#
            let tie = "/api/therapists/\(clinic.id(.stranger))/patients/\(clinic.id(.patient))"
            let user = "/api/users/\(clinic.id(.otherPatient))"
            let changes: [(HTTPMethod, String, String?, AuditAction, UserID?)] = [
                (.POST, "/api/users", account, .addUser, nil),
                (.PATCH, user, #"{"is_active":false}"#, .changeUser, clinic.id(.otherPatient)),
                (.PUT, tie, nil, .beginAssignment, clinic.id(.stranger)),
                (.DELETE, tie, nil, .endAssignment, clinic.id(.stranger)),
            ]
            for (method, path, body, action, subject) in changes {
                for caller in [Clinic.Caller.therapist, .admin] {
                    let answer = try await clinic.request(method, path, as: caller, headers: json, body: body)
                    let records = try await clinic.database.audit(
                        "action = '\(action.rawValue)' AND user_id = '\(clinic.id(caller))'")
                    #expect(records.map(\.isAllowed) == [answer.status < 300], "\(caller) \(action)")
                    #expect((answer.status == 403) == (caller == .therapist), "\(caller) \(action)")
                    if let subject, caller == .admin { #expect(records.map(\.subject) == [subject], "\(action)") }
                }
            }
        }
    }

    @Test("A request that cannot be recorded has no effect")
    func unrecorded() async throws {
        try await withClinic { clinic in
            let words = "words of nobody's business"
            try await clinic.database.report(clinic.session, .failed, 0, error: words)
            try await clinic.database.breakAudit()
            for access in Self.accesses where access.action != .openStream && access.action != .resumeStream {
                let answer = try await clinic.request(access.method, of: access.path, as: access.caller)
                #expect(answer.status >= 500, "\(access.action)")
                #expect(!answer.text.contains(words), "\(access.action)")
            }
            // Any other status would stop a native EventSource for good.
            for path in [clinic.streamOfSession, Clinic.streamOfAll] {
                let answer = try await clinic.request(.GET, path, as: .therapist)
                #expect(!answer.text.contains(words), "\(path)")
                #expect(answer.text.contains("event: unavailable") || answer.status >= 500, "\(path)")
            }
            for path in ["/api/sessions", "/api/users", "/api/patients"] {
                #expect(try await clinic.request(.GET, path, as: .admin).status >= 500, "\(path)")
            }
            #expect(try await clinic.database.query("SELECT FROM app.therapy_sessions").count == 1)

            try await clinic.database.mendAudit()
            #expect(try await clinic.request(.GET, of: "/status", as: .therapist).text.contains(words))
        }
    }

    @Test(
        "Reports are recorded with their user once in a while, and refused reports always"
    )
    func reports() async throws {
        try await withClinic { clinic in
            let good = #"{"status":"transcribing","progress":45}"#
            let bad = ["{", #"{"status":"none","progress":45}"#, #"{"status":"transcribing","progress":101}"#]
            let path = "/api/sessions/\(clinic.session)/progress"
            for (caller, body) in zip([Clinic.Caller.therapist, .patient, .stranger, .otherPatient], [good] + bad) {
                let answer = try await clinic.post(path, body, as: caller)
                expectProblem(answer, 403, "forbidden", "\(body)")
                let records = try await clinic.database.audit("user_id = '\(clinic.id(caller))' AND NOT is_allowed")
                #expect(records.map(\.action) == ["progress.report"])
                #expect(records.map(\.session) == [clinic.session])
                #expect(records.map(\.patient) == [clinic.id(.patient)])
                #expect(records.map(\.requestID) == answer.headers["X-Request-Id"])
                let unknown = "/api/sessions/\(SessionID.random())/progress"
                expectProblem(try await clinic.post(unknown, body, as: caller), 404, "not-found", "\(body)")
            }
            for body in bad { #expect([400, 422].contains(try await clinic.post(path, body, as: .pipeline).status)) }
            func accepted() async throws -> [AuditEntry] {
                try await clinic.database.audit("action = 'progress.report' AND is_allowed")
            }
            #expect(try await accepted().isEmpty)
            for _ in 0..<3 { #expect(try await clinic.post(path, good, as: .pipeline).status == 200) }
            let first = try await accepted()
            #expect(first.map(\.user) == [clinic.id(.pipeline)])
            #expect(first.map(\.session) == [clinic.session])
            #expect(first.map(\.patient) == [clinic.id(.patient)])
            try await clinic.database.ageAudit(by: "1 hour")
            #expect(try await clinic.post(path, good, as: .pipeline).status == 200)
            #expect(try await accepted().count == 2)
            let before = try await clinic.database.audit("action = 'progress.report'").count
            // A new sign-in repeats no earlier access.
            let token = try await clinic.server.token(clinic.id(.therapist))
            try await clinic.database.breakAudit()
            for body in [good] + bad {
                try await clinic.database.ageAudit(by: "1 hour")
                #expect(try await clinic.server.post(path, body, token: token).status >= 500)
            }
            let further = #"{"status":"transcribing","progress":46}"#
            #expect(try await clinic.post(path, further, as: .pipeline).status >= 500)
            try await clinic.database.mendAudit()
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).json()["progress"] as? Int == 45)
            #expect(try await clinic.database.audit("action = 'progress.report'").count == before)

            // A caller with an inactive account or an ended sign-in gets that answer first.
            try await clinic.database.query(
                "UPDATE app.users SET is_active = false WHERE id = \(clinic.id(.therapist).rawValue)")
            for body in [good] + bad {
                expectProblem(try await clinic.post(path, body, as: .therapist), 403, "account-inactive", "\(body)")
            }
            try await clinic.database.query("UPDATE app.auth_sessions SET revoked_at = now()")
            for body in [good] + bad {
                expectProblem(try await clinic.post(path, body, as: .pipeline), 401, "unauthorized", "\(body)")
            }
        }
    }

    @Test("A request without a valid credential, or for an unknown session, is not recorded")
    func strangers() async throws {
        try await withClinic { clinic in
            let before = try await clinic.database.audit().count
            #expect(try await clinic.request(.GET, of: "/status", as: nil).status == 401)
            #expect(try await clinic.request(.GET, "/api/sessions", as: nil).status == 401)
            let unknown = "/api/sessions/\(SessionID.random())/status"
            #expect(try await clinic.request(.GET, unknown, as: .admin).status == 404)
            #expect(try await clinic.database.audit().count == before)
        }
    }

    // MARK: - Reading the audit log

    private func page(_ clinic: Clinic, _ query: String) async throws -> (ids: [Int64], cursor: String?) {
        let response = try await clinic.request(.GET, "/api/audit\(query)", as: .admin)
        #expect(response.status == 200, "\(query): \(response.text)")
        let json = try response.json()
        let items = try #require(json["items"] as? [[String: Any]])
        return (items.compactMap { ($0["id"] as? NSNumber)?.int64Value }, json["next_cursor"] as? String)
    }

    @Test("The audit log is listed newest first, and its pages lose and repeat no record")
    func pages() async throws {
        try await withClinic { clinic in
            // The server records this read once, and not again for ten minutes.
            _ = try await page(clinic, "")
            let all = try await clinic.database.audit().map(\.id).reversed() as [Int64]
            #expect(all.count > 12)
            var (paged, cursor) = try await page(clinic, "?limit=5")
            while let next = cursor {
                _ = try await clinic.database.addUser(.patient)
                let more = try await page(clinic, "?limit=5&cursor=\(next)")
                paged += more.ids
                cursor = more.cursor
            }
            #expect(paged == all)
        }
    }

    @Test("The audit log can be filtered by user, session, patient, action, outcome and time")
    func filters() async throws {
        try await withClinic { clinic in
            _ = try await page(clinic, "")
            _ = try await clinic.request(.GET, of: "/status", as: .therapist)
            _ = try await clinic.request(.GET, of: "/status", as: .stranger)
            let middle = try await clinic.database.query("SELECT clock_timestamp() AS now")[0]
                .decode("now", as: Timestamp.self)
            _ = try await clinic.request(.GET, of: "/events", as: .patient)
            for (query, condition) in [
                ("user_id=\(clinic.id(.therapist))", "user_id = '\(clinic.id(.therapist))'"),
                ("session_id=\(clinic.session)", "session_id = '\(clinic.session)'"),
                ("patient_id=\(clinic.id(.patient))", "patient_id = '\(clinic.id(.patient))'"),
                ("action=status.read", "action = 'status.read'"),
                ("outcome=refused", "NOT is_allowed"), ("outcome=allowed", "is_allowed"),
                ("from=\(middle)", "at >= '\(middle)'"), ("to=\(middle)", "at < '\(middle)'"),
                ("action=status.read&outcome=allowed", "action = 'status.read' AND is_allowed"),
                ("session_id=\(SessionID.random())", "false"),
            ] {
                let expected = try await clinic.database.audit(condition).map(\.id).reversed() as [Int64]
                #expect(expected.isEmpty == (condition == "false"), "\(condition)")
                #expect(try await page(clinic, "?limit=200&" + query).ids == expected, "\(query)")
            }
            for (query, name) in [
                ("user_id=x", "user_id"), ("session_id=1", "session_id"), ("patient_id=x", "patient_id"),
                ("action=none", "action"), ("outcome=maybe", "outcome"), ("from=yesterday", "from"), ("to=1", "to"),
                ("cursor=1", "cursor"), ("cursor=x_1", "cursor"), ("cursor=9223372036854775807_1", "cursor"),
                ("limit=0", "limit"),
            ] {
                let answer = try await clinic.request(.GET, "/api/audit?\(query)", as: .admin)
                expectProblem(answer, 422, "invalid-value", detail: name, "\(query)")
            }
        }
    }

    @Test("The API description lists every action")
    func described() async throws {
        try await withServer { server in
            let json = try await server.request(.GET, "/openapi.json").json()
            let components = json["components"] as? [String: Any]
            let schemas = components?["schemas"] as? [String: Any]
            let action = try #require(schemas?["AuditAction"] as? [String: Any])
            #expect(action["x-extensible-enum"] as? [String] == AuditAction.allCases.map(\.rawValue))
        }
    }
}
