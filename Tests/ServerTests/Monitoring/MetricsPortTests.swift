import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct MetricsPortTests {
    @Test("METRICS_PORT serves the metrics without a token, and nothing else")
    func port() async throws {
        let port = try freePort()
        try await withServer(["METRICS_PORT": "\(port)"]) { server in
            let metrics = server.at(port: port)
            try await eventually("the metrics are served") {
                (try? await metrics.request(.GET, "/metrics").status) == 200
            }
            _ = try await server.request(.GET, "/health")
            let response = try await metrics.request(.GET, "/metrics")
            #expect(response.headers["Content-Type"] == ["text/plain; version=0.0.4; charset=utf-8"])
            let labels = ["method": "GET", "route": "/health", "status": "200"]
            #expect(try Scrape(response.text).value("therapybridge_http_requests_total", labels) == 1)
            #expect(try await metrics.request(.HEAD, "/metrics").status == 200)
            for path in ["/", "/api/sessions", "/health", "/metrics/x"] {
                expectProblem(try await metrics.request(.GET, path), 404, "not-found", "\(path)")
            }
            // The main port still needs a token.
            expectProblem(try await server.request(.GET, "/metrics"), 401, "unauthorized")
        }
    }
}
