import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import Testing

/// A session, and a signed-in user of every role and relation.
struct Clinic: Sendable {
    /// A user of the clinic, named by the relation to the session.
    enum Who: String, CaseIterable, Sendable {
        /// The patient of the session.
        case patient
        /// Another patient.
        case otherPatient
        /// The therapist with an active assignment.
        case therapist
        /// A therapist without an assignment.
        case stranger
        /// A therapist whose assignment has ended.
        case former
        /// The therapist whom the session names, without an assignment.
        case nominal
        case admin
        case pipeline

        var role: Role {
            switch self {
            case .patient, .otherPatient: .patient
            case .therapist, .stranger, .former, .nominal: .therapist
            case .admin: .admin
            case .pipeline: .pipeline
            }
        }
    }

    let server: TestServer
    let session: SessionID
    private let ids: [Who: UserID]
    private let tokens: [Who: String]

    var database: TestDatabase { server.database }

    /// Adds the users to a server, with addresses in a domain.
    ///
    /// One server may have two clinics.
    init(_ server: TestServer, domain: String = "clinic.example") async throws {
        self.server = server
        var ids: [Who: UserID] = [:]
        var tokens: [Who: String] = [:]
        for who in Who.allCases {
            let id = try await server.database.addUser(who.role, email: "\(who.rawValue)@\(domain)")
            ids[who] = id
            tokens[who] = try await server.token(id)
        }
        self.ids = ids
        self.tokens = tokens
        let patient = try #require(ids[.patient])
        try await server.database.assign(try #require(ids[.therapist]), to: patient)
        try await server.database.assign(try #require(ids[.former]), to: patient)
        try await server.database.endAssignment(of: try #require(ids[.former]), to: patient)
        session = try await server.database.addSession(of: patient, therapist: ids[.nominal])
    }

    func id(_ who: Who) -> UserID { ids[who] ?? .random() }

    func token(_ who: Who) -> String { tokens[who] ?? "" }

    func request(
        _ method: HTTPMethod, _ path: String, as who: Who?, headers: [String: String] = [:], body: String? = nil
    ) async throws -> TestResponse {
        try await server.request(
            method, path, token: who.map(token), headers: headers, body: body.map { Data($0.utf8) })
    }

    /// A request about the clinic's session; `path` comes after its id.
    func request(
        _ method: HTTPMethod, of path: String, as who: Who?, headers: [String: String] = [:], body: String? = nil
    ) async throws -> TestResponse {
        try await request(method, "/api/sessions/\(session)\(path)", as: who, headers: headers, body: body)
    }

    /// Sends JSON.
    func post(_ path: String, _ json: String, as who: Who?) async throws -> TestResponse {
        try await request(.POST, path, as: who, headers: ["Content-Type": "application/json"], body: json)
    }
}

/// Lends a running server with a clinic.
func withClinic<Result: Sendable>(
    _ environment: [String: String] = [:], _ body: @escaping @Sendable (Clinic) async throws -> Result
) async throws -> Result {
    try await withServer(environment) { try await body(Clinic($0)) }
}

/// Checks that a response is a problem as docs/http-api.md, "Errors", describes it.
///
/// Its type ends with `type`, and its detail contains `detail`; nil allows any.
func expectProblem(
    _ response: TestResponse, _ status: Int, _ type: String? = nil, detail: String? = nil, _ comment: Comment? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(response.status == status, comment, sourceLocation: sourceLocation)
    guard response.status == status else { return }
    let text = response.text
    guard let json = try? response.json() else {
        Issue.record("no JSON: \(text)", sourceLocation: sourceLocation)
        return
    }
    func member(_ name: String) -> String { json[name] as? String ?? "" }
    #expect(response.headers["Content-Type"] == ["application/problem+json"], comment, sourceLocation: sourceLocation)
    #expect(
        Set(json.keys) == ["type", "title", "status", "detail", "request_id"], comment, sourceLocation: sourceLocation)
    #expect(member("type").hasPrefix("/problems/"), comment, sourceLocation: sourceLocation)
    #expect(!member("title").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(!member("detail").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(json["status"] as? Int == status, comment, sourceLocation: sourceLocation)
    #expect(!member("request_id").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(response.headers["X-Request-Id"] == [member("request_id")], comment, sourceLocation: sourceLocation)
    if let type { #expect(member("type") == "/problems/\(type)", comment, sourceLocation: sourceLocation) }
    if let detail {
        #expect(member("detail").contains(detail), "\(member("detail"))", sourceLocation: sourceLocation)
    }
    switch status {
    case 401: #expect(response.headers["WWW-Authenticate"] == ["Bearer"], comment, sourceLocation: sourceLocation)
    case 429, 503: #expect(!response.headers["Retry-After"].isEmpty, comment, sourceLocation: sourceLocation)
    default: break
    }
    // No internal detail: no SQL, no name of a table or a type, no path of this machine.
    for inner in [
        "SELECT", "INSERT", "UPDATE", "SQLSTATE", "app.session", "app.users", "app.report", "Error", "error(",
        "Optional", ".swift", "/tmp", "/var",
    ] {
        #expect(!text.contains(inner), "\(text)", sourceLocation: sourceLocation)
    }
}
