import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport

/// One row of the access matrix: a route, and the callers who may use it.
struct AccessRow: Sendable {
    /// The order of the checks that the route makes.
    enum Order: Sendable {
        /// The route checks no credential.
        case unauthenticated
        /// The server reads the id in the path first.
        ///
        /// Then one statement checks the account and the session.
        case idFirst
        /// The server checks the account first, then the role, and then the id.
        case accountFirst
        /// The server checks the account first, then the id.
        ///
        /// What is not the caller's does not exist for the caller.
        case hiddenFromOthers
    }

    /// The data that a request of the pass is about.
    enum Subject: Sendable {
        case nothing
        /// A finished session with a recording, a transcript and notes.
        ///
        /// No request changes it.
        case readSession
        /// A session for one request alone: new, or failed and with a recording.
        case newSession, failedSession
        /// An account for one request alone.
        case newUser
        /// A sign-in of the caller, for one request alone.
        case newSignIn
        /// A therapist and a patient without an assignment.
        case unassigned
        /// An unfinished upload of the clinic's therapist, for one request alone.
        case newUpload
        /// A webhook with a delivery that was given up, for one request alone.
        case newWebhook
    }

    let method: HTTPMethod
    let path: String
    let order: Order
    let subject: Subject
    /// The callers who get an answer with a valid credential.
    let permitted: Set<Clinic.Caller>
    /// The status code that they get.
    let status: Int
    var body: AccessBody = .none
    /// The status codes of the permitted callers who get another one.
    var otherStatuses: [Clinic.Caller: Int] = [:]

    var name: String { "\(method.rawValue) \(path)" }

    var hasID: Bool { path.contains("{") && order != .unauthenticated }

    /// The same row for HEAD.
    var head: AccessRow {
        AccessRow(
            method: .HEAD, path: path, order: order, subject: subject, permitted: permitted, status: status, body: body)
    }
}

/// The body of a request.
enum AccessBody: Sendable {
    case none
    case json(String)
    /// A list with one report of the session.
    case reports
    /// A recording for the clinic's patient.
    case upload
    /// An account with an unused address.
    case account
    /// The creation of a resumable upload for the clinic's patient.
    case creation
    /// The first bytes of a resumable upload.
    case bytes
}

extension AccessRow {
    private static let everybody = Set(Clinic.Caller.allCases)
    /// The callers who may see the clinic's session.
    private static let viewers: Set<Clinic.Caller> = [.patient, .therapist, .admin]
    private static let managers: Set<Clinic.Caller> = [.therapist, .admin]
    private static let therapists: Set<Clinic.Caller> = [.therapist, .stranger, .former, .nominal]
    private static let report = #"{"status":"transcribing","progress":30}"#
    private static let id = "/api/sessions/{id}"

    /// A route that checks no credential.
    private static func unauthenticated(
        _ method: HTTPMethod, _ path: String, _ status: Int = 200, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: path, order: .unauthenticated, subject: .nothing, permitted: everybody,
            status: status,
            body: body)
    }

    /// A route of one session.
    private static func session(
        _ method: HTTPMethod, _ path: String, _ permitted: Set<Clinic.Caller>, _ status: Int = 200,
        on subject: Subject = .readSession, body: AccessBody = .none, otherwise: [Clinic.Caller: Int] = [:]
    ) -> AccessRow {
        AccessRow(
            method: method, path: id + path, order: .idFirst, subject: subject, permitted: permitted, status: status,
            body: body, otherStatuses: otherwise)
    }

    /// A route that checks the caller's account and role.
    private static func account(
        _ method: HTTPMethod, _ path: String, _ permitted: Set<Clinic.Caller>, _ status: Int = 200,
        on subject: Subject = .nothing, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: path, order: .accountFirst, subject: subject, permitted: permitted, status: status,
            body: body)
    }

    /// A route of one resumable upload.
    private static func upload(
        _ method: HTTPMethod, _ permitted: Set<Clinic.Caller>, _ status: Int, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: "/api/uploads/{id}", order: .hiddenFromOthers, subject: .newUpload,
            permitted: permitted, status: status, body: body)
    }

    /// A route of the lease of a session, which no pipeline of the pass has.
    private static func lease(_ method: HTTPMethod, body: String) -> AccessRow {
        AccessRow(
            method: method, path: "/api/pipeline/leases/{session_id}", order: .idFirst, subject: .readSession,
            permitted: [.pipeline], status: 409, body: .json(body))
    }

    /// The table.
    ///
    /// A route without a row fails the test, and so does a row without a route.
    static let all: [AccessRow] = [
        // These routes check no credential: the answer depends on the body alone.
        unauthenticated(.POST, "/api/auth/login", 422, body: .json("{}")),
        unauthenticated(.POST, "/api/auth/refresh", 401, body: .json(#"{"refresh_token":"none"}"#)),
        unauthenticated(.POST, "/api/auth/logout", 204),
        account(.GET, "/api/auth/me", everybody),
        // No account of the pass has a password.
        account(
            .POST, "/api/auth/password", everybody, 403,
            body: .json(#"{"current_password":"wrong","new_password":"long enough"}"#)),
        account(.GET, "/api/auth/sign-ins", everybody),
        account(.DELETE, "/api/auth/sign-ins/{id}", everybody, 204, on: .newSignIn),

        account(.POST, "/api/sessions/upload", viewers, 201, body: .upload),
        account(.POST, "/api/uploads", viewers, 201, body: .creation),
        unauthenticated(.OPTIONS, "/api/uploads", 204),
        upload(.HEAD, [.therapist], 200),
        upload(.PATCH, [.therapist], 204, body: .bytes),
        upload(.DELETE, [.therapist, .admin], 204),
        account(.GET, "/api/sessions", everybody),
        session(.GET, "", viewers),
        session(.PATCH, "", managers, on: .newSession, body: .json(#"{"language":"de"}"#)),
        session(.DELETE, "", managers, 204, on: .newSession),
        session(.GET, "/status", viewers),
        session(.GET, "/status/stream", viewers),
        AccessRow(
            method: .GET, path: "/api/sessions/status/stream", order: .idFirst, subject: .nothing,
            permitted: everybody, status: 200),
        // Without an upgrade. WebSocketRefusalTests tests the rights of an upgraded connection.
        AccessRow(
            method: .GET, path: id + "/status/ws", order: .unauthenticated, subject: .readSession, permitted: everybody,
            status: 426),
        AccessRow(
            method: .GET, path: "/api/sessions/status/ws", order: .unauthenticated, subject: .nothing,
            permitted: everybody, status: 426),
        session(.POST, "/status/ticket", viewers),
        AccessRow(
            method: .POST, path: "/api/sessions/status/ticket", order: .idFirst, subject: .nothing,
            permitted: everybody, status: 200),
        session(.GET, "/events", viewers),
        session(.GET, "/transcript", viewers),
        session(.GET, "/notes", managers),
        session(.GET, "/recording", viewers),
        session(
            .PUT, "/transcript", [.pipeline], 409,
            body: .json(#"{"lease":"none","attempt":1,"text":"","segments":[]}"#)),
        // A person corrects, and needs `If-Match`. A pipeline needs its lease.
        session(.PATCH, "/transcript", managers, 428, body: .json(#"{"segments":[{"index":0,"text":"a"}]}"#)),
        session(
            .PUT, "/notes", managers.union([.pipeline]), 428, body: .json(#"{"lease":"none","attempt":1}"#),
            otherwise: [.pipeline: 409]),
        session(.GET, "/history", managers),
        session(.POST, "/retry", managers, 202, on: .failedSession),
        session(.POST, "/cancel", managers, 202, on: .newSession),
        // No stage of the session has failed.
        session(.GET, "/failure", [.admin], 404),

        session(.POST, "/progress", [.pipeline, .admin], on: .newSession, body: .json(report)),
        account(.POST, "/api/progress", [.pipeline, .admin], on: .newSession, body: .reports),

        // A claim with these values would depend on the queue.
        account(.POST, "/api/pipeline/claim", [.pipeline], 422, body: .json(#"{"worker":"","lease_seconds":60}"#)),
        lease(.POST, body: #"{"lease":"none","attempt":1,"lease_seconds":60}"#),
        lease(.DELETE, body: #"{"lease":"none","attempt":1}"#),

        account(.GET, "/api/patients", therapists.union([.admin])),
        account(.GET, "/api/patients/{id}/export", [.admin], on: .newUser),
        account(.DELETE, "/api/patients/{id}/data", [.admin], on: .newUser),
        account(.GET, "/api/therapists", [.patient, .otherPatient, .admin]),
        account(.GET, "/api/therapists/{therapist_id}/patients", [.admin], on: .unassigned),
        account(.PUT, "/api/therapists/{therapist_id}/patients/{patient_id}", [.admin], 204, on: .unassigned),
        account(.DELETE, "/api/therapists/{therapist_id}/patients/{patient_id}", [.admin], 204, on: .unassigned),
        account(.GET, "/api/users", [.admin]),
        account(.POST, "/api/users", [.admin], 201, body: .account),
        account(.GET, "/api/users/{id}", [.admin], on: .newUser),
        account(.PATCH, "/api/users/{id}", [.admin], on: .newUser, body: .json(#"{"full_name":"Another Name"}"#)),
        account(.GET, "/api/users/{id}/sign-ins", [.admin], on: .newUser),
        account(.DELETE, "/api/users/{id}/sign-ins", [.admin], 204, on: .newUser),
        account(.GET, "/api/audit", [.admin]),
        account(.GET, "/api/webhooks", [.admin]),
        // With a good body, the pass would add more webhooks than there can be.
        account(.POST, "/api/webhooks", [.admin], 422, body: .json(#"{"url":"http://hooks.example/"}"#)),
        account(.PATCH, "/api/webhooks/{id}", [.admin], on: .newWebhook, body: .json(#"{"events":null}"#)),
        account(.DELETE, "/api/webhooks/{id}", [.admin], 204, on: .newWebhook),
        account(.GET, "/api/webhooks/{id}/deliveries", [.admin], on: .newWebhook),
        account(.POST, "/api/webhooks/{id}/deliveries/{delivery_id}/retry", [.admin], 202, on: .newWebhook),
        account(.POST, "/api/probes", [.admin], 201),
        account(.GET, "/metrics", [.admin]),

        unauthenticated(.GET, "/health"),
        unauthenticated(.GET, "/health/live"),
        unauthenticated(.GET, "/health/ready"),
        unauthenticated(.GET, "/"),
        unauthenticated(.GET, "/openapi.json"),
        unauthenticated(.GET, "/docs"),
        unauthenticated(.GET, "/assets/{name}"),
        unauthenticated(.GET, "/favicon.ico"),
        unauthenticated(.GET, "/client.js"),
        unauthenticated(.GET, "/client.d.ts"),
    ]
}

/// A caller with one kind of credential.
struct AccessCaller: Sendable {
    enum Credential: CaseIterable, Sendable {
        case good
        /// The account is inactive.
        ///
        /// Nothing else differs from a good credential.
        case inactive
        /// The token's sign-in has ended.
        case signedOut
        case expired
        case none
    }

    let relation: Clinic.Caller
    let credential: Credential
    let clinic: Clinic
    /// The access token; nil with ``Credential/none``.
    let token: String?
}

/// The id in a request's path.
enum AccessTarget: CaseIterable, Sendable {
    /// The id of an existing session or account.
    case known
    case unknown
    /// A text that is not a UUID.
    case malformed
}

extension AccessRow {
    /// The status code that a caller gets.
    func status(for caller: AccessCaller, _ target: AccessTarget) -> Int {
        if order == .unauthenticated { return status }
        if [.none, .expired].contains(caller.credential) { return 401 }
        if target == .malformed, order == .idFirst { return 422 }
        if caller.credential == .signedOut { return 401 }
        if caller.credential == .inactive { return 403 }
        let isPermitted = permitted.contains(caller.relation)
        let status = otherStatuses[caller.relation] ?? status
        if order == .hiddenFromOthers {
            return target == .malformed ? 422 : target == .known && isPermitted ? status : 404
        }
        switch target {
        case .known: return isPermitted ? status : 403
        case .unknown: return isPermitted || order == .idFirst ? 404 : 403
        case .malformed: return isPermitted ? 422 : 403
        }
    }
}
