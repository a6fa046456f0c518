import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct AccessMatrixTests {
    @Test("Every registered route has a row in the access matrix, and every row has a route")
    func completeness() async throws {
        try await withServer { server in
            let rows = AccessRow.all.map(\.name)
            #expect(Set(rows).subtracting(server.documentedRoutes) == [], "rows without a route")
            #expect(server.documentedRoutes.subtracting(rows) == [], "routes that nobody has decided about")
            #expect(rows.count == Set(rows).count)
        }
    }

    @Test("The API description names the same callers as the access matrix")
    func description() async throws {
        try await withServer { server in
            let operations = try await APIDescription(server).operations
            for row in AccessRow.all where !TestServer.pageRoutes.contains(row.name) {
                let words = operations[row.name]?["x-who"] as? String ?? ""
                let described = try #require(Self.callers[words], "\(row.name) has \"\(words)\"")
                // The handshake of a WebSocket checks no credential. The answer without an upgrade needs none either.
                let isHandshake = row.path.hasSuffix("/ws")
                #expect(described == row.permitted || isHandshake, "\(row.name)")
                #expect((words == "anyone") == (row.order == .unauthenticated) || isHandshake, "\(row.name)")
            }
        }
    }

    /// The callers for each value of `x-who` in the API description.
    private static let callers: [String: Set<Clinic.Caller>] = [
        "anyone": Set(Clinic.Caller.allCases), "signed in": Set(Clinic.Caller.allCases), "admin": [.admin],
        "therapist, admin": [.therapist, .stranger, .former, .nominal, .admin],
        "patient, admin": [.patient, .otherPatient, .admin],
        // The pass exports an account of nobody's.
        "the patient, admin": [.admin],
        "may see": [.patient, .therapist, .admin], "may upload": [.patient, .therapist, .admin],
        "may hear": [.patient, .therapist, .admin], "pipeline": [.pipeline], "may read notes": [.therapist, .admin],
        "may correct": [.therapist, .admin], "pipeline, may correct": [.pipeline, .therapist, .admin],
        "began it": [.therapist], "began it, admin": [.therapist, .admin],
        "may manage": [.therapist, .admin], "may report": [.pipeline, .admin],
    ]

    @Test("Every route answers every caller, credential and id as the access matrix says")
    func matrix() async throws {
        try await withServer { server in
            let outcomes = try await AccessPass(server).run()
            let wrong = outcomes.filter { $0.response.status != $0.expected }
                .map { "\($0.circumstances): \($0.response.status), not \($0.expected)" }
            #expect(wrong == [])
            let description = try await APIDescription(server)
            let undescribed = outcomes.compactMap { outcome -> String? in
                if TestServer.pageRoutes.contains("GET \(outcome.row.path)") { return nil }
                let get = "GET \(outcome.row.path)"
                let operation =
                    outcome.row.method == .HEAD && description.operations[get] != nil ? get : outcome.row.name
                return description.fault(of: outcome.response, to: operation).map { "\(outcome.circumstances): \($0)" }
            }
            #expect(undescribed == [])
            // Every role with every kind of credential on every route. A smaller number means that the table lost
            // rows.
            #expect(outcomes.count > 2000)
            for outcome in outcomes where outcome.response.status >= 400 && outcome.row.method != .HEAD {
                expectProblem(outcome.response, outcome.expected, nil, Comment(rawValue: outcome.circumstances))
            }
        }
    }
}

extension TestServer {
    /// The registered routes.
    ///
    /// All assets of the page count as one route, as in the documentation.
    var documentedRoutes: Set<String> {
        Set(routes.map { $0.hasPrefix("GET /assets/") ? "GET /assets/{name}" : $0 })
    }

    /// The routes of the page's own files, which are no part of the API.
    static let pageRoutes: Set<String> = [
        "GET /", "GET /assets/{name}", "GET /favicon.ico", "GET /client.js", "GET /client.d.ts",
    ]
}
