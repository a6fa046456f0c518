import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport

/// A route, and who may use it: one row of the access matrix.
struct AccessRow: Sendable {
    /// What is asked before what.
    enum Order: Sendable {
        /// Nothing is asked: the route is for anyone.
        case open
        /// The path's id is read, and then the database is asked about everything at once.
        case idFirst
        /// The database is asked about the account; then role, and then the id.
        case accountFirst
    }

    /// What the route is tried on.
    enum Subject: Sendable {
        case nothing
        /// A session with everything that a session can have, which nobody changes.
        case readSession
        /// A session for this request alone: as it is made, or failed and with a recording.
        case newSession, failedSession
        /// An account for this request alone.
        case newUser
        /// A therapist and a patient without a tie.
        case untied
    }

    let method: HTTPMethod
    let path: String
    let order: Order
    let subject: Subject
    /// Who gets the answer, if the credential is good.
    let permitted: Set<Clinic.Who>
    /// The status for those.
    let status: Int
    var body: AccessBody = .none

    var name: String { "\(method.rawValue) \(path)" }

    var hasID: Bool { path.contains("{") && order != .open }

    /// The same row for HEAD.
    var head: AccessRow {
        AccessRow(
            method: .HEAD, path: path, order: order, subject: subject, permitted: permitted, status: status, body: body)
    }
}

/// What goes with a request.
enum AccessBody: Sendable {
    case none
    case json(String)
    /// A list of one report of the session.
    case reports
    /// A recording for the clinic's patient.
    case upload
    /// An account with an address that is nobody's yet.
    case account
}

extension AccessRow {
    private static let everybody = Set(Clinic.Who.allCases)
    /// Who may see the clinic's session.
    private static let seers: Set<Clinic.Who> = [.patient, .therapist, .admin]
    private static let managers: Set<Clinic.Who> = [.therapist, .admin]
    private static let therapists: Set<Clinic.Who> = [.therapist, .stranger, .former, .nominal]
    private static let report = #"{"status":"transcribing","progress":30}"#
    private static let id = "/api/sessions/{id}"

    /// For anyone, whatever the credential.
    private static func open(
        _ method: HTTPMethod, _ path: String, _ status: Int = 200, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: path, order: .open, subject: .nothing, permitted: everybody, status: status,
            body: body)
    }

    /// About one session.
    private static func session(
        _ method: HTTPMethod, _ path: String, _ permitted: Set<Clinic.Who>, _ status: Int = 200,
        on subject: Subject = .readSession, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: id + path, order: .idFirst, subject: subject, permitted: permitted, status: status,
            body: body)
    }

    /// For a signed-in account, decided by who it is.
    private static func account(
        _ method: HTTPMethod, _ path: String, _ permitted: Set<Clinic.Who>, _ status: Int = 200,
        on subject: Subject = .nothing, body: AccessBody = .none
    ) -> AccessRow {
        AccessRow(
            method: method, path: path, order: .accountFirst, subject: subject, permitted: permitted, status: status,
            body: body)
    }

    /// The table.
    ///
    /// A route that is not in it fails the test, and so does a row without a route.
    static let all: [AccessRow] = [
        // No credential matters here: the answer depends on what is sent, not on who sends it.
        open(.POST, "/api/auth/login", 422, body: .json("{}")),
        open(.POST, "/api/auth/refresh", 401, body: .json(#"{"refresh_token":"none"}"#)),
        open(.POST, "/api/auth/logout", 204),
        account(.GET, "/api/auth/me", everybody),

        account(.POST, "/api/sessions/upload", seers, 201, body: .upload),
        account(.GET, "/api/sessions", everybody),
        session(.GET, "", seers),
        session(.DELETE, "", managers, 204, on: .newSession),
        session(.GET, "/status", seers),
        session(.GET, "/status/stream", seers),
        AccessRow(
            method: .GET, path: "/api/sessions/status/stream", order: .idFirst, subject: .nothing,
            permitted: everybody, status: 200),
        // Without an upgrade; who gets what behind one is told by WebSocketRefusalTests.
        AccessRow(
            method: .GET, path: id + "/status/ws", order: .open, subject: .readSession, permitted: everybody,
            status: 426),
        session(.POST, "/status/ticket", seers),
        AccessRow(
            method: .POST, path: "/api/sessions/status/ticket", order: .idFirst, subject: .nothing,
            permitted: everybody, status: 200),
        session(.GET, "/events", seers),
        session(.GET, "/transcript", seers),
        session(.GET, "/notes", managers),
        session(.GET, "/recording", seers.union([.pipeline])),
        session(.POST, "/retry", managers, 202, on: .failedSession),

        session(.POST, "/progress", [.pipeline, .admin], on: .newSession, body: .json(report)),
        account(.POST, "/api/progress", [.pipeline, .admin], on: .newSession, body: .reports),

        account(.GET, "/api/patients", therapists.union([.admin])),
        account(.PUT, "/api/therapists/{therapist_id}/patients/{patient_id}", [.admin], 204, on: .untied),
        account(.DELETE, "/api/therapists/{therapist_id}/patients/{patient_id}", [.admin], 204, on: .untied),
        account(.GET, "/api/users", [.admin]),
        account(.POST, "/api/users", [.admin], 201, body: .account),
        account(.GET, "/api/users/{id}", [.admin], on: .newUser),
        account(.PATCH, "/api/users/{id}", [.admin], on: .newUser, body: .json(#"{"full_name":"Another Name"}"#)),
        account(.GET, "/api/audit", [.admin]),
        account(.GET, "/metrics", [.admin]),

        open(.GET, "/health"),
        open(.GET, "/health/live"),
        open(.GET, "/health/ready"),
        open(.GET, "/"),
        open(.GET, "/openapi.json"),
        open(.GET, "/docs"),
        open(.GET, "/assets/{name}"),
        open(.GET, "/favicon.ico"),
    ]
}

/// Who asks, and with what.
struct AccessCaller: Sendable {
    enum Credential: CaseIterable, Sendable {
        case good
        /// The account is inactive; everything else is as if it were not.
        case inactive
        /// The token's sign-in has ended.
        case signedOut
        case expired
        case none
    }

    let who: Clinic.Who
    let credential: Credential
    let clinic: Clinic
    /// Nil with ``Credential/none``.
    let token: String?
}

/// Which thing is asked for.
enum AccessTarget: CaseIterable, Sendable {
    /// One that is there.
    case known
    case unknown
    /// No id at all.
    case malformed
}

extension AccessRow {
    /// What a caller is to get.
    func status(for caller: AccessCaller, _ target: AccessTarget) -> Int {
        if order == .open { return status }
        if [.none, .expired].contains(caller.credential) { return 401 }
        if target == .malformed, order != .accountFirst { return 422 }
        if caller.credential == .signedOut { return 401 }
        if caller.credential == .inactive { return 403 }
        let isPermitted = permitted.contains(caller.who)
        switch target {
        case .known: return isPermitted ? status : 403
        case .unknown: return isPermitted || order == .idFirst ? 404 : 403
        case .malformed: return isPermitted ? 422 : 403
        }
    }
}
