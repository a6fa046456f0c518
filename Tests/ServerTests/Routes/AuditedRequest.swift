import Domain
import Foundation
import NIOHTTP1

/// A request, its answer, and the records that it leaves in the audit log.
struct AuditedRequest: Sendable {
    /// The data that a request is about, made for this request alone.
    enum Subject: Sendable {
        case none
        /// A session that waits for its recording.
        case session
        /// A session whose recording is stored as a file.
        case uploaded
        /// A session with a recording that has failed.
        case failed
        /// A processed session with a transcript, notes, and the last words of a stage.
        case processed
        /// A session that a pipeline has claimed.
        case claimed
        /// A session of another patient, with a recording.
        case foreign
        /// A resumable upload that the therapist began, without a byte.
        case upload
        /// A resumable upload that has ended.
        case endedUpload
        /// A therapist's account.
        case user
        /// A therapist and a patient without an assignment, or with one.
        case unassigned, assigned
        /// Two patients, whom no assignment can tie.
        case patients
        /// The account of the caller, with a password, and a second sign-in of it.
        case account
        /// A webhook that gets no event of the test, with a delivery that was given up.
        case webhook
        /// The same, inactive.
        case inactiveWebhook
    }

    /// The route, as in `GET /api/sessions/{id}`.
    let route: String
    /// Nil sends no credential.
    let caller: Clinic.Caller?
    let subject: Subject
    let status: Int
    /// The records in their order, as in `allowed status.read`.
    let records: [String]
    var body: String?
    /// What stands in place of the ids of the path; nil for the subject's.
    var id: String?
    var query = ""
    /// The value of `If-Match`; nil for the tag of the subject's present transcript or notes.
    var tag: String?

    init(
        _ route: String, as caller: Clinic.Caller?, on subject: Subject = .none, _ status: Int, _ records: [String],
        body: String? = nil, id: String? = nil, query: String = "", tag: String? = nil
    ) {
        (self.route, self.caller, self.subject, self.status, self.records) = (route, caller, subject, status, records)
        (self.body, self.id, self.query, self.tag) = (body, id, query, tag)
    }

    var method: HTTPMethod { HTTPMethod(rawValue: String(route.prefix { $0 != " " })) }
    var template: String { String(route.drop { $0 != " " }.dropFirst()) }
    /// True if the request corrects a result, and names the state that it corrects.
    var isCorrection: Bool { records.contains { $0.hasSuffix("transcript.correct") || $0.hasSuffix("notes.correct") } }
    /// A stream of one session that has not ended stays open.
    var isStream: Bool { template.hasSuffix("/stream") }
}

extension AuditedRequest {
    private static let unknown = "00000000-0000-4000-8000-000000000000"
    private static let report = #""status":"transcribing","progress":30"#
    private static let id = "/api/sessions/{id}"
    private static let tie = "/api/therapists/{therapist_id}/patients/{patient_id}"
    private static let lease = "/api/pipeline/leases/{session_id}"
    private static let deliveries = "/api/webhooks/{id}/deliveries"

    /// The reads and the changes that succeed: each leaves the records of its row, and no other.
    static let successes: [AuditedRequest] = [
        .init(
            "POST /api/auth/login", as: nil, on: .account, 200, ["allowed sign_in.begin"],
            body: #"{"email":"EMAIL","password":"correct horse battery"}"#),
        // A refresh goes on with a sign-in that is recorded.
        .init("POST /api/auth/refresh", as: nil, on: .account, 200, [], body: #"{"refresh_token":"REFRESH"}"#),
        .init("POST /api/auth/logout", as: .patient, 204, ["allowed sign_in.end"]),
        // A user reads and ends the own sign-ins.
        .init("GET /api/auth/me", as: .patient, 200, []),
        .init(
            "POST /api/auth/password", as: nil, on: .account, 204, ["allowed user.change", "allowed sign_in.end"],
            body: #"{"current_password":"correct horse battery","new_password":"another horse battery"}"#),
        .init("GET /api/auth/sign-ins", as: .patient, 200, []),
        .init("DELETE /api/auth/sign-ins/{id}", as: nil, on: .account, 204, ["allowed sign_in.end"]),

        .init("POST /api/sessions/upload", as: .therapist, 201, ["allowed session.upload"], body: "FORM"),
        .init("POST /api/uploads", as: .therapist, 201, ["allowed session.upload"]),
        .init("OPTIONS /api/uploads", as: .therapist, 204, []),
        .init("HEAD /api/uploads/{id}", as: .therapist, on: .upload, 200, ["allowed upload.resume"]),
        .init("PATCH /api/uploads/{id}", as: .therapist, on: .upload, 204, ["allowed upload.resume"], body: "BYTES"),
        .init("DELETE /api/uploads/{id}", as: .therapist, on: .upload, 204, ["allowed upload.end"]),

        .init("GET /api/sessions", as: .therapist, 200, ["allowed sessions.list"]),
        .init("GET \(id)", as: .therapist, on: .session, 200, ["allowed session.read"]),
        .init(
            "PATCH \(id)", as: .therapist, on: .session, 200, ["allowed session.change"], body: #"{"language":"de"}"#),
        .init("DELETE \(id)", as: .therapist, on: .session, 204, ["allowed session.delete"]),
        .init("GET \(id)/status", as: .patient, on: .session, 200, ["allowed status.read"]),
        .init("GET \(id)/status/stream", as: .patient, on: .processed, 200, ["allowed stream.open"]),
        .init(
            "GET \(id)/status/stream", as: .patient, on: .processed, 200, ["allowed stream.resume"],
            query: "?last_event_id=1"),
        .init("HEAD /api/sessions/status/stream", as: .therapist, 200, ["allowed caseload.open"]),
        // Without an upgrade. WebSocketOpeningTests and WebSocketCaseloadTests have the records of upgraded ones.
        .init("GET \(id)/status/ws", as: .patient, on: .session, 426, []),
        .init("GET /api/sessions/status/ws", as: .therapist, 426, []),
        .init("POST \(id)/status/ticket", as: .patient, on: .session, 200, ["allowed ticket.take"]),
        .init("POST /api/sessions/status/ticket", as: .therapist, 200, ["allowed caseload.ticket"]),
        .init("GET \(id)/events", as: .patient, on: .session, 200, ["allowed events.read"]),
        .init("GET \(id)/transcript", as: .patient, on: .processed, 200, ["allowed transcript.read"]),
        .init("GET \(id)/notes", as: .therapist, on: .processed, 200, ["allowed notes.read"]),
        .init(
            "PATCH \(id)/transcript", as: .therapist, on: .processed, 204, ["allowed transcript.correct"],
            body: #"{"segments":[{"index":0,"text":"b"}]}"#),
        .init("PUT \(id)/notes", as: .therapist, on: .processed, 204, ["allowed notes.correct"], body: #"{"a":1}"#),
        .init("GET \(id)/history", as: .therapist, on: .processed, 200, ["allowed history.read"]),
        .init("GET \(id)/recording", as: .patient, on: .uploaded, 200, ["allowed recording.read"]),
        .init("GET \(id)/failure", as: .admin, on: .processed, 200, ["allowed failure.read"]),
        .init("POST \(id)/retry", as: .therapist, on: .failed, 202, ["allowed session.retry"]),
        .init("POST \(id)/cancel", as: .therapist, on: .session, 202, ["allowed session.cancel"]),

        .init(
            "POST \(id)/progress", as: .pipeline, on: .session, 200, ["allowed progress.report"], body: "{\(report)}"),
        .init(
            "POST /api/progress", as: .pipeline, on: .session, 200, ["allowed progress.report"],
            body: #"{"reports":[{"session_id":"ID",\#(report)}]}"#),
        .init(
            "POST /api/pipeline/claim", as: .pipeline, on: .uploaded, 200, ["allowed session.claim"],
            body: #"{"worker":"w","lease_seconds":60}"#),
        .init(
            "POST \(lease)", as: .pipeline, on: .claimed, 200, ["allowed lease.keep"],
            body: #"{PROOF,"lease_seconds":60}"#),
        .init("DELETE \(lease)", as: .pipeline, on: .claimed, 204, ["allowed lease.give_back"], body: "{PROOF}"),
        .init(
            "PUT \(id)/transcript", as: .pipeline, on: .claimed, 204, ["allowed transcript.store"],
            body: #"{PROOF,"text":"","segments":[]}"#),
        .init("PUT \(id)/notes", as: .pipeline, on: .claimed, 204, ["allowed notes.store"], body: #"{PROOF,"a":1}"#),

        .init("GET /api/patients", as: .therapist, 200, ["allowed patients.list"]),
        .init("GET /api/patients/{id}/export", as: .admin, on: .user, 200, ["allowed patient.export"]),
        .init("DELETE /api/patients/{id}/data", as: .admin, on: .user, 200, ["allowed patient.erase"]),
        .init("GET /api/therapists", as: .patient, 200, ["allowed therapists.list"]),
        .init(
            "GET /api/therapists/{therapist_id}/patients", as: .admin, on: .assigned, 200, ["allowed assignments.list"]),
        .init("PUT \(tie)", as: .admin, on: .unassigned, 204, ["allowed assignment.begin"]),
        .init("DELETE \(tie)", as: .admin, on: .assigned, 204, ["allowed assignment.end"]),
        .init("GET /api/users", as: .admin, 200, ["allowed users.list"]),
        .init(
            "POST /api/users", as: .admin, 201, ["allowed user.add"],
            body: #"{"email":"NEW@new.example","full_name":"New Person","role":"patient"}"#),
        .init("GET /api/users/{id}", as: .admin, on: .user, 200, ["allowed user.read"]),
        .init(
            "PATCH /api/users/{id}", as: .admin, on: .user, 200, ["allowed user.change"],
            body: #"{"full_name":"Other Name"}"#),
        .init("GET /api/users/{id}/sign-ins", as: .admin, on: .user, 200, ["allowed sign_ins.list"]),
        .init(
            "DELETE /api/users/{id}/sign-ins", as: .admin, on: .account, 204,
            ["allowed sign_in.end", "allowed sign_in.end"]),
        .init("GET /api/audit", as: .admin, 200, ["allowed audit.read"]),
        .init("GET /metrics", as: .admin, 200, ["allowed metrics.read"]),
        .init("POST /api/probes", as: .admin, 201, ["allowed probe.begin", "allowed session.add"]),
        .init("GET /api/webhooks", as: .admin, 200, ["allowed webhooks.list"]),
        .init(
            "POST /api/webhooks", as: .admin, 201, ["allowed webhook.add"],
            body: #"{"url":"https://hooks.example/","events":["session.diarizing"]}"#),
        .init(
            "PATCH /api/webhooks/{id}", as: .admin, on: .webhook, 200, ["allowed webhook.change"],
            body: #"{"events":["session.uploading"]}"#),
        .init("DELETE /api/webhooks/{id}", as: .admin, on: .webhook, 204, ["allowed webhook.remove"]),
        .init("GET \(deliveries)", as: .admin, on: .webhook, 200, ["allowed webhook_deliveries.list"]),
        .init(
            "POST \(deliveries)/{delivery_id}/retry", as: .admin, on: .webhook, 202, ["allowed webhook_delivery.retry"]),
    ]

    /// Changes that the caller may make, and that the state or the body forbids.
    static let failures: [AuditedRequest] = [
        .init(
            "POST /api/auth/login", as: nil, on: .account, 401, [],
            body: #"{"email":"EMAIL","password":"wrong horse battery"}"#),
        .init(
            "POST /api/auth/password", as: nil, on: .account, 403, [],
            body: #"{"current_password":"wrong horse battery","new_password":"another horse battery"}"#),
        .init("DELETE /api/auth/sign-ins/{id}", as: .patient, 404, [], id: unknown),

        .init("POST /api/sessions/upload", as: .patient, on: .foreign, 409, ["refused session.upload"], body: "FORM"),
        .init("POST /api/uploads", as: .patient, on: .foreign, 409, ["refused session.upload"]),
        .init("PATCH /api/uploads/{id}", as: .therapist, 404, [], body: "BYTES", id: unknown),
        .init("DELETE /api/uploads/{id}", as: .therapist, on: .endedUpload, 410, []),

        .init("PATCH \(id)", as: .therapist, 404, [], body: #"{"language":"de"}"#, id: unknown),
        .init(
            "PATCH \(id)", as: .therapist, on: .session, 422, ["allowed session.change"],
            body: #"{"language":"no language"}"#),
        .init("DELETE \(id)", as: .therapist, 404, [], id: unknown),
        .init("POST \(id)/retry", as: .therapist, 404, [], id: unknown),
        // The right is recorded, before the state of the session forbids the change.
        .init("POST \(id)/retry", as: .therapist, on: .session, 409, ["allowed session.retry"]),
        .init("POST \(id)/cancel", as: .therapist, 404, [], id: unknown),
        // The right is recorded, before the state forbids the correction.
        .init(
            "PATCH \(id)/transcript", as: .therapist, on: .processed, 412, ["allowed transcript.correct"],
            body: #"{"segments":[{"index":0,"text":"b"}]}"#, tag: "\"another\""),
        .init(
            "PATCH \(id)/transcript", as: .therapist, on: .processed, 422, ["allowed transcript.correct"],
            body: #"{"segments":[{"index":1,"text":"b"}]}"#),
        .init("PATCH \(id)/transcript", as: .therapist, 404, [], body: "{}", id: unknown),
        .init(
            "PUT \(id)/notes", as: .therapist, on: .processed, 412, ["allowed notes.correct"], body: "{}",
            tag: "\"another\""),
        .init("PUT \(id)/notes", as: .therapist, on: .processed, 422, ["allowed notes.correct"], body: "[]"),
        .init("PUT \(id)/notes", as: .therapist, on: .session, 428, ["allowed notes.correct"], body: "{}", tag: "*"),
        .init("POST \(id)/cancel", as: .therapist, on: .processed, 409, ["allowed session.cancel"]),

        .init("POST \(id)/progress", as: .pipeline, 404, [], body: "{\(report)}", id: unknown),
        .init("POST \(id)/progress", as: .pipeline, on: .processed, 409, [], body: "{\(report)}"),
        .init("POST \(id)/progress", as: .pipeline, on: .session, 422, [], body: #"{"status":"none","progress":1}"#),
        .init("POST /api/progress", as: .pipeline, 422, [], body: #"{"reports":7}"#),
        .init("POST /api/pipeline/claim", as: .pipeline, 422, [], body: #"{"worker":"","lease_seconds":60}"#),
        .init(
            "POST \(lease)", as: .pipeline, on: .session, 409, ["allowed lease.keep"],
            body: #"{"lease":"none","attempt":1,"lease_seconds":60}"#),
        .init(
            "DELETE \(lease)", as: .pipeline, on: .session, 409, ["allowed lease.give_back"],
            body: #"{"lease":"none","attempt":1}"#),
        .init("DELETE \(lease)", as: .pipeline, 404, [], body: #"{"lease":"none","attempt":1}"#, id: unknown),
        .init(
            "PUT \(id)/transcript", as: .pipeline, on: .session, 409, ["allowed transcript.store"],
            body: #"{"lease":"none","attempt":1,"text":"","segments":[]}"#),
        .init(
            "PUT \(id)/transcript", as: .pipeline, on: .claimed, 422, ["allowed transcript.store"],
            body: #"{PROOF,"text":7,"segments":[]}"#),
        .init(
            "PUT \(id)/notes", as: .pipeline, on: .session, 409, ["allowed notes.store"],
            body: #"{"lease":"none","attempt":1}"#),
        .init("PUT \(id)/notes", as: .pipeline, 404, [], body: #"{"lease":"none","attempt":1}"#, id: unknown),

        .init("DELETE /api/patients/{id}/data", as: .admin, 404, [], id: unknown),
        .init("PUT \(tie)", as: .admin, 404, [], id: unknown),
        .init("PUT \(tie)", as: .admin, on: .patients, 422, []),
        .init("DELETE \(tie)", as: .admin, 404, [], id: unknown),
        .init(
            "POST /api/users", as: .admin, on: .account, 409, [],
            body: #"{"email":"EMAIL","full_name":"A","role":"patient"}"#),
        .init("POST /api/users", as: .admin, 422, [], body: #"{"email":"none","full_name":"A","role":"patient"}"#),
        .init("PATCH /api/users/{id}", as: .admin, 404, [], body: #"{"full_name":"A"}"#, id: unknown),
        .init("PATCH /api/users/{id}", as: .admin, on: .user, 422, [], body: #"{"role":"none"}"#),
        .init("DELETE /api/users/{id}/sign-ins", as: .admin, 404, [], id: unknown),
        .init("POST /api/webhooks", as: .admin, 422, [], body: #"{"url":"https://127.0.0.1/"}"#),
        .init("PATCH /api/webhooks/{id}", as: .admin, 404, [], body: #"{"events":null}"#, id: unknown),
        .init("PATCH /api/webhooks/{id}", as: .admin, on: .webhook, 422, [], body: #"{"events":[]}"#),
        .init("DELETE /api/webhooks/{id}", as: .admin, 404, [], id: unknown),
        .init(
            "POST \(deliveries)/{delivery_id}/retry", as: .admin, 404, ["allowed webhook_delivery.retry"], id: unknown),
        // The right is recorded, before the state of the webhook forbids the retry.
        .init(
            "POST \(deliveries)/{delivery_id}/retry", as: .admin, on: .inactiveWebhook, 409,
            ["allowed webhook_delivery.retry"]),
    ]
}
