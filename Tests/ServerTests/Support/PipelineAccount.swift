import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// A pipeline that works over HTTP alone.
struct PipelineAccount: Sendable {
    /// A claim that the pipeline got.
    struct Claim: Sendable {
        let session: SessionID
        let attempt: Int
        let status: String
        let lease: String
        let json: [String: any Sendable]

        init(_ response: TestResponse) throws {
            #expect(response.status == 200, "\(response.text)")
            json = try response.json()
            session = try #require(SessionID(json["session_id"] as? String ?? ""))
            attempt = try #require(json["attempt"] as? Int)
            status = try #require(json["status"] as? String)
            lease = try #require(json["lease"] as? String)
        }

        /// The members that prove the claim, for a JSON body.
        var proof: String { #""lease": "\#(lease)", "attempt": \#(attempt)"# }
    }

    let server: TestServer
    let token: String

    init(_ server: TestServer) async throws {
        self.server = server
        token = try await server.token(server.database.addUser(.pipeline))
    }

    /// Waits until so many requests of all pipelines wait for a session.
    ///
    /// - Throws: When it does not happen.
    func seeWaiting(_ count: Int = 1) async throws {
        let line = "\ntherapybridge_pipeline_claims_waiting \(count)\n"
        try await eventually("\(count) claims wait") { server.metrics.contains(line) }
    }

    func send(
        _ method: HTTPMethod, _ path: String, _ json: String? = nil, headers: [String: String] = [:]
    ) async throws -> TestResponse {
        try await server.request(
            method, path, token: token,
            headers: headers.merging(json == nil ? [:] : ["Content-Type": "application/json"]) { own, _ in own },
            body: json.map { Data($0.utf8) })
    }

    func claim(waiting seconds: Int? = nil, as worker: String = "worker-7") async throws -> TestResponse {
        try await send(
            .POST, "/api/pipeline/claim", #"{"worker": "\#(worker)", "lease_seconds": 60}"#,
            headers: seconds.map { ["Prefer": "wait=\($0)"] } ?? [:])
    }

    func report(_ status: String, _ progress: Int, of claim: Claim) async throws -> TestResponse {
        try await send(
            .POST, "/api/sessions/\(claim.session)/progress",
            #"{"status": "\#(status)", "progress": \#(progress), \#(claim.proof)}"#)
    }

    /// Stores a transcript or notes.
    func put(_ what: String, _ members: String, of claim: Claim) async throws -> TestResponse {
        try await send(.PUT, "/api/sessions/\(claim.session)/\(what)", "{\(claim.proof), \(members)}")
    }
}

extension TestDatabase {
    /// Adds sessions that wait in the queue, in one transaction.
    @discardableResult
    func queueSessions(_ count: Int = 1) async throws -> [SessionID] {
        let patient = try await addUser(.patient)
        return try await query(
            """
            INSERT INTO app.therapy_sessions (patient_id, recording, filename, bytes, media_type)
            SELECT \(patient.rawValue), gen_random_uuid()::text, 'session.ogg', 1000, 'audio/ogg'
            FROM generate_series(1, \(Int32(count))) RETURNING id
            """
        ).map { try $0.decode("id", as: SessionID.self) }
    }
}
