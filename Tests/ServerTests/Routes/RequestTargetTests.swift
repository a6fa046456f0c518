import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Requests whose host or path can be read in more than one way.
@Suite(.deadline) struct RequestTargetTests {
    @Test("A path that is not spelled canonically gets 404, for every method")
    func paths() async throws {
        try await withClinic { clinic in
            for path in [
                "//health", "/health/", "//", "/api//auth/me", "//api/auth/me", "/api/auth/me/", "/api/auth/me//",
                "/api/./auth/me", "/api/x/../auth/me", "/./health", "/health/.", "/health/..", "/%68ealth",
                "/api/sessions/%38\(clinic.session.description.dropFirst())", "http://test//health",
            ] {
                for method in ["GET", "POST", "DELETE", "OPTIONS"] {
                    try await clinic.server.withWire { wire in
                        try await wire.send(method, path, token: clinic.token(.admin))
                        expectProblem(try await wire.readResponse(), 404, "not-found", "\(method) \(path)")
                    }
                }
            }
        }
    }

    @Test("A canonical path is served, whatever its query holds")
    func canonicalPaths() async throws {
        try await withClinic { clinic in
            for path in ["/", "/health", "/health?", "/health?a=//b/../c/", "http://test/health"] {
                try await clinic.server.withWire { wire in
                    try await wire.send("GET", path, token: clinic.token(.patient))
                    #expect(try await wire.readResponse().status == 200, "\(path)")
                }
            }
            // An escape that a path needs is no fault of spelling.
            let response = try await clinic.request(.GET, "/api/sessions/%20", as: .patient)
            expectProblem(response, 422, "invalid-value")
        }
    }

    @Test(
        "A request of HTTP/1.1 needs exactly one valid Host, and no request may have two",
        arguments: [
            ("1.1", "", 400), ("1.1", "Host: a\r\nHost: b\r\n", 400), ("1.1", "Host: a\r\nHost: a\r\n", 400),
            ("1.1", "Host: a\r\nX: y\r\nhOST: b\r\n", 400), ("1.1", "Host: a, b\r\n", 400),
            ("1.1", "Host: a/b\r\n", 400),
            ("1.1", "Host: u@a\r\n", 400), ("1.0", "Host: a\r\nHost: b\r\n", 400), ("1.0", "Host: a b\r\n", 400),
            ("1.1", "Host: a\r\n", 200), ("1.1", "Host: [::1]:8000\r\n", 200), ("1.1", "Host:\r\n", 200),
            ("1.0", "", 200), ("1.0", "Host: a\r\n", 200),
        ])
    func hosts(version: String, fields: String, status: Int) async throws {
        try await withClinic { clinic in
            for path in ["/health", "/nothing"] {
                try await clinic.server.withWire { wire in
                    try await wire.send("GET \(path) HTTP/\(version)\r\n\(fields)\r\n")
                    let response = try await wire.readResponse()
                    if status == 400 {
                        expectProblem(response, 400, "malformed-request", "\(fields)")
                    } else {
                        #expect(response.status == (path == "/health" ? 200 : 404), "\(fields)")
                    }
                }
            }
        }
    }

    @Test("A preflight with two hosts gets 400, and one of a path with two slashes 404")
    func preflight() async throws {
        try await withClinic { clinic in
            let fields = "Origin: https://therapybridge.com\r\nAccess-Control-Request-Method: GET\r\n\r\n"
            for (start, status) in [
                ("OPTIONS /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
                ("OPTIONS //health HTTP/1.1\r\nHost: a\r\n", 404),
            ] {
                try await clinic.server.withWire { wire in
                    try await wire.send(start + fields)
                    #expect(try await wire.readHead().status == status)
                }
            }
        }
    }

    @Test("The metrics port refuses the same requests")
    func metricsPort() async throws {
        let port = try freePort()
        try await withServer(["METRICS_PORT": "\(port)"]) { server async throws in
            let metrics = server.at(port: port)
            try await eventually("the metrics are served") {
                (try? await metrics.request(.GET, "/metrics").status) == 200
            }
            for (request, status) in [
                ("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n", 200), ("GET /metrics HTTP/1.0\r\n\r\n", 200),
                ("GET /metrics HTTP/1.1\r\n\r\n", 400), ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
                ("GET //metrics HTTP/1.1\r\nHost: test\r\n\r\n", 404),
            ] {
                try await metrics.withWire { wire in
                    try await wire.send(request)
                    #expect(try await wire.readHead().status == status, "\(request)")
                }
            }
        }
    }
}
