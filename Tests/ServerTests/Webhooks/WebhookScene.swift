import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing
import Webhooks

/// A server with private targets, and an administrator who manages webhooks.
struct WebhookScene: Sendable {
    let server: TestServer
    let token: String

    var database: TestDatabase { server.database }

    init(_ server: TestServer) async throws {
        self.server = server
        token = try await server.token(try await server.database.addUser(.admin))
    }

    /// Sends a request as the administrator.
    func request(_ method: HTTPMethod, _ path: String, _ json: String? = nil) async throws -> TestResponse {
        try await server.request(
            method, "/api/webhooks\(path)", token: token,
            headers: json == nil ? [:] : ["Content-Type": "application/json"], body: json.map { Data($0.utf8) })
    }

    /// Adds a webhook, and returns its id and its secret.
    func add(_ url: String, events: [String]? = nil) async throws -> (id: String, secret: String) {
        let list = events.map { #","events":[\#($0.map { "\"\($0)\"" }.joined(separator: ","))]"# } ?? ""
        let answer = try await request(.POST, "", #"{"url":"\#(url)"\#(list)}"#)
        try #require(answer.status == 201, "\(answer.text)")
        let json = try answer.json()
        return (try #require(json["id"] as? String), try #require(json["secret"] as? String))
    }

    /// Adds a session with a recording, of a new patient.
    func addSession() async throws -> SessionID {
        try await database.addSession(of: try await database.addUser(.patient))
    }

    /// The deliveries to a webhook, newest first.
    func deliveries(_ webhook: String) async throws -> [[String: any Sendable]] {
        let answer = try await request(.GET, "/\(webhook)/deliveries")
        #expect(answer.status == 200)
        return try #require(try answer.json()["items"] as? [[String: any Sendable]])
    }

    /// Waits until the newest delivery to a webhook has a number of attempts, and returns them.
    func attempts(_ count: Int, of webhook: String) async throws -> [[String: any Sendable]] {
        var found: [[String: any Sendable]] = []
        // The result is stored after the receiver has got the request: only the database knows when.
        try await eventually("\(count) attempts") {
            found = try await deliveries(webhook).first?["attempts"] as? [[String: any Sendable]] ?? []
            return found.count >= count
        }
        return found
    }

    /// Makes all unfinished deliveries due, and wakes the servers.
    func makeDue() async throws {
        try await database.query(
            "UPDATE app.webhook_deliveries SET next_at = clock_timestamp() WHERE next_at IS NOT NULL")
        try await database.query("SELECT pg_notify('tb_session_v1', 'webhooks')")
    }
}

/// Settings that let webhooks go to the receivers of tests.
let privateTargets = ["WEBHOOK_PRIVATE_TARGETS": "on"]

/// Lends a running server for webhooks.
func withWebhookScene<Result: Sendable>(
    _ environment: [String: String] = privateTargets, transport: WebhookTransport = WebhookTransport(),
    log: LogMemory = LogMemory(), _ body: @escaping @Sendable (WebhookScene) async throws -> Result
) async throws -> Result {
    try await withDatabase { database in
        try await withServer(over: database, environment, webhookTransport: transport, log: log) {
            try await body(WebhookScene($0))
        }
    }
}
