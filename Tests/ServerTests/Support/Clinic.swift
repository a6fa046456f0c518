import Domain
import Foundation
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import Testing

/// A session, and a signed-in user of every role and relation.
struct Clinic: Sendable {
    /// A user of the clinic, named by the relation to the session.
    enum Caller: String, CaseIterable, Sendable {
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
    private let ids: [Caller: UserID]
    private let tokens: [Caller: String]

    var database: TestDatabase { server.database }

    /// Adds the users to a server, with addresses in a domain.
    ///
    /// One server may have two clinics.
    init(_ server: TestServer, domain: String = "clinic.example") async throws {
        self.server = server
        var ids: [Caller: UserID] = [:]
        var tokens: [Caller: String] = [:]
        for caller in Caller.allCases {
            let id = try await server.database.addUser(caller.role, email: "\(caller.rawValue)@\(domain)")
            ids[caller] = id
            tokens[caller] = try await server.token(id)
        }
        self.ids = ids
        self.tokens = tokens
        let patient = try #require(ids[.patient])
        try await server.database.assign(try #require(ids[.therapist]), to: patient)
        try await server.database.assign(try #require(ids[.former]), to: patient)
        try await server.database.endAssignment(of: try #require(ids[.former]), to: patient)
        session = try await server.database.addSession(of: patient, therapist: ids[.nominal])
    }

    func id(_ caller: Caller) -> UserID { ids[caller] ?? .random() }

    func token(_ caller: Caller) -> String { tokens[caller] ?? "" }

    func request(
        _ method: HTTPMethod, _ path: String, as caller: Caller?, headers: [String: String] = [:], body: String? = nil
    ) async throws -> TestResponse {
        try await server.request(
            method, path, token: caller.map(token), headers: headers, body: body.map { Data($0.utf8) })
    }

    /// A request about the clinic's session; `path` comes after its id.
    func request(
        _ method: HTTPMethod, of path: String, as caller: Caller?, headers: [String: String] = [:], body: String? = nil
    ) async throws -> TestResponse {
        try await request(method, "/api/sessions/\(session)\(path)", as: caller, headers: headers, body: body)
    }

    /// Sends JSON.
    func post(_ path: String, _ json: String, as caller: Caller?) async throws -> TestResponse {
        try await request(.POST, path, as: caller, headers: ["Content-Type": "application/json"], body: json)
    }
}

/// Lends a running server with a clinic.
func withClinic<Result: Sendable>(
    _ environment: [String: String] = [:], _ body: @escaping @Sendable (Clinic) async throws -> Result
) async throws -> Result {
    try await withServer(environment) { try await body(Clinic($0)) }
}

/// Requests for tickets.
extension Clinic {
    /// The path of the stream of all sessions.
    static let streamOfAll = "/api/sessions/status/stream"

    var streamOfSession: String { "/api/sessions/\(session)/status/stream" }

    /// Requests a ticket for the stream at a path.
    func ticket(for stream: String, as caller: Caller) async throws -> String {
        try await ticket(for: stream, token: token(caller))
    }

    func ticket(for stream: String, token: String) async throws -> String {
        let path = stream.replacing("/stream", with: "/ticket")
        let response = try await server.request(.POST, path, token: token)
        #expect(response.status == 200)
        #expect(response.headers["Cache-Control"] == ["no-store"])
        let json = try response.json()
        #expect(Set(json.keys) == ["ticket", "expires_in"])
        #expect(json["expires_in"] as? Int == 30)
        return try #require(json["ticket"] as? String)
    }
}
