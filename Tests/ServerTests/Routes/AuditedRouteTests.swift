import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Which records each route leaves in the audit log, and what it does without them.
@Suite(.deadline) struct AuditedRouteTests {
    private static let settings = [
        "LOGIN_MAX_PER_ACCOUNT": "1000", "LOGIN_MAX_PER_ADDRESS": "1000", "REQUESTS_PER_ADDRESS": "0",
    ]

    /// The routes that check no credential, and name nobody.
    private static let unauthenticated: Set<String> = [
        "GET /health", "GET /health/live", "GET /health/ready", "GET /", "GET /openapi.json", "GET /docs",
        "GET /assets/{name}", "GET /favicon.ico", "GET /client.js", "GET /client.d.ts",
    ]

    @Test("Every route has a row that says which records it leaves")
    func completeness() async throws {
        try await withServer { server in
            let rows = Set(AuditedRequest.successes.map { $0.isStream ? "GET \($0.template)" : $0.route })
            #expect(rows.union(Self.unauthenticated) == server.documentedRoutes)
        }
    }

    @Test(
        "A request that succeeds leaves exactly the records of its row, and so does one that the state or body forbids")
    func records() async throws {
        try await withClinic(Self.settings) { clinic in
            let scene = AuditScene(clinic)
            for request in AuditedRequest.successes + AuditedRequest.failures {
                let target = try await scene.prepare(request)
                let before = try await clinic.database.audit().map(\.id).max() ?? 0
                let answer = try await scene.send(request, target)
                #expect(answer.status == request.status, "\(request.route): \(answer.text)")
                let records = try await clinic.database.audit("id > \(before)")
                #expect(
                    records.map { "\($0.isAllowed ? "allowed" : "refused") \($0.action)" } == request.records,
                    "\(request.route) \(request.status)")
                // The present session must not wait for a worker when another request claims one.
                try await clinic.database.query("DELETE FROM app.session_leases")
            }
        }
    }

    @Test("A request whose record cannot be written gets 500 or more, and no row changes")
    func unrecorded() async throws {
        try await withClinic(Self.settings) { clinic in
            let scene = AuditScene(clinic)
            let requests = AuditedRequest.successes.filter { !$0.records.isEmpty }
            #expect(requests.count > 35)
            var prepared: [(AuditedRequest, AuditScene.Target)] = []
            for request in requests { prepared.append((request, try await scene.prepare(request))) }
            try await clinic.database.breakAudit()
            try await scene.withoutEstimates {
                let before = try await scene.digest()
                for (request, target) in prepared {
                    // HEAD answers with the head of GET alone.
                    let answer = try await scene.send(request, target, by: request.isStream ? .GET : nil)
                    // Any other status would stop a native EventSource for good.
                    let isUnavailable = request.isStream && answer.text.contains("event: unavailable")
                    #expect(answer.status >= 500 || isUnavailable, "\(request.route): \(answer.status)")
                    let after = try await scene.digest()
                    #expect(after.filter { before[$0.key] != $0.value }.map(\.key) == [], "\(request.route)")
                }
            }
            try await clinic.database.mendAudit()
            for (request, target) in prepared.reversed() where request.method != .POST {
                let answer = try await scene.send(request, target)
                #expect(answer.status == request.status, "\(request.route): \(answer.text)")
            }
        }
    }
}
