import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// What the audit log says of a request, against the answer: recorded is what came of it.
@Suite(.deadline) struct AuditOutcomeTests {
    /// Bodies with which the routes do something; other routes get `{}`.
    private static func body(of route: String, session: SessionID) -> String {
        switch route {
        case "POST /api/sessions/{id}/progress": #"{"status":"transcribing","progress":45}"#
        case "POST /api/progress":
            #"{"reports":[{"session_id":"\#(session)","status":"transcribing","progress":45}]}"#
        case "POST /api/users": #"{"email":"\#(session)@new.example","full_name":"New Person","role":"patient"}"#
        case "PATCH /api/sessions/{id}": #"{"language":"de"}"#
        case "PATCH /api/users/{id}": #"{"full_name":"Other Name \#(session)"}"#
        default: "{}"
        }
    }

    /// The path of a route, with the id of something that exists.
    private static func path(
        of template: Substring, session: SessionID, user: UserID, therapist: UserID
    ) -> String {
        let id = template.hasPrefix("/api/users") ? user.description : session.description
        return String(template).replacing("{therapist_id}", with: therapist.description)
            .replacing("{patient_id}", with: user.description).replacing("{id}", with: id)
            .replacing("{session_id}", with: session.description)
    }

    @Test("On every route, an answer without an error has no refused record, and a 403 has a refused one and no other")
    func everyRoute() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let (user, therapist) = (try await database.addUser(.patient), try await database.addUser(.therapist))
            var found: [String: Int] = [:]
            for route in clinic.server.routes {
                let words = route.split(separator: " ")
                // These routes end or begin sign-ins, and answer for nobody's right.
                guard words[1].hasPrefix("/api/") || words[1] == "/metrics", !words[1].hasPrefix("/api/auth/") else {
                    continue
                }
                // HEAD is recorded as its GET, and a stream would stay open.
                let isStream = words[1].hasSuffix("/stream")
                let method: HTTPMethod = isStream ? .HEAD : HTTPMethod(rawValue: String(words[0]))
                for caller in Clinic.Caller.allCases {
                    let session = try await database.addSession(of: clinic.id(.patient))
                    // Under a new sign-in, no access repeats an earlier one.
                    let token = try await clinic.server.token(clinic.id(caller))
                    let before = try await database.audit().last?.id ?? 0
                    let answer = try await clinic.server.request(
                        method, Self.path(of: words[1], session: session, user: user, therapist: therapist),
                        token: token,
                        headers: method == .GET || method == .HEAD ? [:] : ["Content-Type": "application/json"],
                        body: method == .GET || method == .HEAD
                            ? nil : Data(Self.body(of: route, session: session).utf8))
                    let records = try await database.audit("id > \(before)")
                        .filter { $0.user == clinic.id(caller) }
                    let circumstances: Comment = "\(caller), \(route): \(answer.status)"
                    if answer.status < 400 {
                        let allAreAllowed = records.allSatisfy(\.isAllowed)
                        #expect(allAreAllowed, circumstances)
                        found["allowed", default: 0] += records.isEmpty ? 0 : 1
                    } else if answer.status == 403 {
                        #expect(records.map(\.isAllowed) == [false], circumstances)
                        #expect(records.map(\.requestID) == answer.headers["X-Request-Id"], circumstances)
                        #expect(records.allSatisfy { $0.address == "127.0.0.1" }, circumstances)
                        found["refused", default: 0] += 1
                    } else {
                        let allAreAllowed = records.allSatisfy(\.isAllowed)
                        #expect(allAreAllowed, circumstances)
                    }
                }
            }
            #expect(found["allowed", default: 0] > 30)
            #expect(found["refused", default: 0] > 50)
        }
    }

    @Test("A list filtered by a patient whom the caller may not see is refused, and recorded as refused")
    func foreignFilter() async throws {
        try await withClinic { clinic in
            let path = "/api/sessions?patient_id=\(clinic.id(.patient))"
            for caller in Clinic.Caller.allCases {
                let mayList = [.patient, .therapist, .admin].contains(caller)
                let answer = try await clinic.request(.GET, path, as: caller)
                if mayList {
                    #expect(answer.status == 200, "\(caller)")
                } else {
                    expectProblem(answer, 403, "forbidden", "\(caller)")
                }
                let records = try await clinic.database.audit(
                    "user_id = '\(clinic.id(caller))' AND action <> 'sign_in.begin'")
                #expect(records.map(\.action) == ["sessions.list"], "\(caller)")
                #expect(records.map(\.isAllowed) == [mayList], "\(caller)")
                #expect(records.map(\.patient) == [clinic.id(.patient)], "\(caller)")
            }
            // Without the filter, the list has what the caller may see.
            #expect(try await clinic.request(.GET, "/api/sessions", as: .stranger).status == 200)
            // An unknown patient has no sessions, for an administrator too.
            #expect(
                try await clinic.request(.GET, "/api/sessions?patient_id=\(UserID.random())", as: .admin).status == 200)
        }
    }

    private func records(of action: String = "session.upload", by caller: Clinic.Caller, _ clinic: Clinic) async throws
        -> [String]
    {
        try await clinic.database.audit("action = '\(action)' AND user_id = '\(clinic.id(caller))'").map { record in
            let patient = [Clinic.Caller.patient, .otherPatient].first { record.patient == clinic.id($0) }
            let outcome = record.isAllowed ? "allowed" : "refused"
            return "\(outcome) \(patient?.rawValue ?? "-") \(record.session?.description ?? "-")"
        }
    }

    @Test("An upload into another patient's session is refused, and recorded as refused")
    func foreignSession() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let own = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            #expect(try await clinic.upload(own, as: .patient).status == 201)
            let into = Upload(patient: clinic.id(.otherPatient), file: .wav, session: id)
            expectProblem(try await clinic.upload(into, as: .otherPatient), 409, "conflict")
            #expect(try await records(by: .otherPatient, clinic) == ["refused otherPatient \(id)"])
            #expect(try await records(by: .patient, clinic) == ["allowed patient \(id)"])
            // The therapist may upload for the patient, but not into a session that another account began.
            expectProblem(try await clinic.upload(own, as: .therapist), 409, "conflict")
            #expect(try await records(by: .therapist, clinic) == ["refused patient \(id)"])
        }
    }

    @Test("A repeated upload is recorded as allowed, and one with another recording as refused")
    func repeatedUpload() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            #expect(try await clinic.upload(upload, as: .patient).status == 200)
            let other = Upload(patient: clinic.id(.patient), file: .wav(size: 5000), session: id)
            expectProblem(try await clinic.upload(other, as: .patient), 409, "conflict")
            #expect(
                try await records(by: .patient, clinic) == [
                    "allowed patient \(id)", "allowed patient \(id)", "refused patient \(id)",
                ])
            // The session was added by an upload, and has no further record of that.
            #expect(try await records(of: "session.add", by: .patient, clinic) == [])
        }
    }

    @Test("An upload with the id of a deleted session gets 409, and is recorded as refused")
    func deletedID() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            #expect(try await clinic.upload(upload, as: .patient).status == 201)
            #expect(try await clinic.request(.DELETE, "/api/sessions/\(id)", as: .therapist).status == 204)
            let other = Upload(patient: clinic.id(.otherPatient), file: .wav, session: id)
            for (again, caller) in [(upload, Clinic.Caller.patient), (other, .otherPatient)] {
                expectProblem(try await clinic.upload(again, as: caller), 409, "conflict", detail: "deleted")
            }
            #expect(try await records(by: .patient, clinic) == ["allowed patient \(id)", "refused patient \(id)"])
            #expect(try await records(by: .otherPatient, clinic) == ["refused otherPatient \(id)"])
            #expect(try clinic.storedFiles() == [])
            #expect(
                try await clinic.database.query("SELECT FROM app.therapy_sessions WHERE id = \(id.rawValue)").isEmpty)
        }
    }

    @Test("A request that the server cannot read is no recorded access")
    func unreadable() async throws {
        try await withClinic { clinic in
            for path in [
                "/api/audit?limit=0", "/api/audit?user_id=x", "/api/users?limit=0", "/api/users/x",
                "/api/sessions?limit=0",
            ] {
                #expect(try await clinic.request(.GET, path, as: .admin).status == 422, "\(path)")
            }
            let records = try await clinic.database.audit("user_id = '\(clinic.id(.admin))'")
            #expect(records.map(\.action) == ["sign_in.begin"])
        }
    }

    @Test("A report of an inactive account is recorded as refused")
    func inactiveReporter() async throws {
        try await withClinic { clinic in
            try await clinic.database.query(
                "UPDATE app.users SET is_active = false WHERE id = \(clinic.id(.pipeline).rawValue)")
            for body in [#"{"status":"transcribing","progress":45}"#, "{"] {
                let answer = try await clinic.post("/api/sessions/\(clinic.session)/progress", body, as: .pipeline)
                expectProblem(answer, 403, "account-inactive")
            }
            let records = try await clinic.database.audit("action = 'progress.report'")
            // The second refusal repeats the first.
            #expect(records.map(\.isAllowed) == [false])
            #expect(records.map(\.user) == [clinic.id(.pipeline)])
        }
    }
}
