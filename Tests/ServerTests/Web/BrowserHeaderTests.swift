import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// The headers that restrict browsers.
@Suite(.deadline) struct BrowserHeaderTests {
    private static let fixed = [
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ]

    private static func expectStrict(_ headers: HTTPHeaders, _ comment: Comment) {
        for (name, value) in fixed { #expect(headers[name] == [value], comment) }
        let policy = headers["Content-Security-Policy"].joined()
        #expect(policy.hasPrefix("default-src 'none'; script-src 'self'; style-src 'self'; "), comment)
        #expect(policy.contains("frame-ancestors 'none'"), comment)
        #expect(policy.contains("base-uri 'none'"), comment)
        #expect(!policy.contains("unsafe"), comment)
        #expect(!policy.contains("*"), comment)
        #expect(headers["Cache-Control"].count == 1, comment)
        #expect(headers[canonicalForm: "Vary"].contains("Origin"), comment)
        #expect(headers["Server"].isEmpty, comment)
        #expect(headers["X-Powered-By"].isEmpty, comment)
    }

    @Test("Every response has the restrictive headers, whatever its status")
    func strict() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            let json = ["Content-Type": "application/json"]
            let etag = try await clinic.request(.GET, "\(session)/status", as: .patient).headers["ETag"].joined()
            let table: [(HTTPMethod, String, Clinic.Caller?, [String: String], String?, Int)] = [
                (.GET, "/", nil, [:], nil, 200), (.GET, "/assets/app.js", nil, [:], nil, 200),
                (.GET, "/health", nil, [:], nil, 200), (.HEAD, "/health", nil, [:], nil, 200),
                (.GET, session, .patient, [:], nil, 200), (.GET, "\(session)/status", .patient, [:], nil, 200),
                (.HEAD, "\(session)/status/stream", .patient, [:], nil, 200),
                (.POST, "/api/sessions/status/ticket", .patient, [:], nil, 200),
                (.GET, "\(session)/status", .patient, ["If-None-Match": etag], nil, 304),
                (.POST, "/api/auth/login", nil, json, "{", 400), (.GET, session, nil, [:], nil, 401),
                (.GET, session, .stranger, [:], nil, 403), (.GET, "/nothing", nil, [:], nil, 404),
                (.GET, "\(session)/recording", .patient, [:], nil, 404), (.PUT, session, .admin, [:], nil, 405),
                (.GET, session, .admin, ["Accept": "text/html"], nil, 406),
                (.POST, "\(session)/retry", .admin, [:], nil, 409),
                (.POST, "/api/auth/login", nil, json, String(repeating: "x", count: 70_000), 413),
                (.POST, "/api/auth/login", nil, ["Content-Type": "text/plain"], "{}", 415),
                (.GET, "/api/sessions/x", .admin, [:], nil, 422),
                (.OPTIONS, "/api/sessions", nil, [:], nil, 405), (.DELETE, session, .admin, [:], nil, 204),
            ]
            for (method, path, caller, headers, body, status) in table {
                let response = try await clinic.request(method, path, as: caller, headers: headers, body: body)
                #expect(response.status == status, "\(method) \(path)")
                Self.expectStrict(response.headers, "\(method) \(path): \(status)")
                #expect(response.headers["Strict-Transport-Security"].isEmpty)
                let isData = path.hasPrefix("/api/") && status == 200 && !path.contains("status")
                if isData || status >= 400 { #expect(response.headers["Cache-Control"] == ["no-store"], "\(path)") }
            }
        }
    }

    @Test("A stream and the answer to malformed HTTP have the restrictive headers too")
    func elsewhere() async throws {
        try await withStreamScene { scene in
            try await scene.withStream { Self.expectStrict($0.headers, "stream") }
            try await scene.server.withWire { wire in
                try await wire.send("nonsense\r\n\r\n")
                let response = try await wire.readResponse()
                expectProblem(response, 400, "malformed-request")
                for (name, value) in Self.fixed { #expect(response.headers[name] == [value]) }
                #expect(response.headers["Cache-Control"] == ["no-store"])
            }
        }
    }

    @Test("An https PUBLIC_URL tells browsers to use TLS alone")
    func strictTransport() async throws {
        try await withServer(["PUBLIC_URL": "https://bridge.example.org"]) { server in
            for path in ["/", "/health", "/nothing", "/api/sessions"] {
                let response = try await server.request(.GET, path)
                #expect(response.headers["Strict-Transport-Security"] == ["max-age=31536000"], "\(path)")
            }
        }
    }

    @Test("The page holds no inline script and no inline style")
    func inline() async throws {
        try await withServer { server in
            let page = try await server.request(.GET, "/").text
            #expect(page.contains("<script"))
            for tag in page.matches(of: /<script[^>]*>([^<]*)<\/script>/) {
                #expect(tag.output.1.isEmpty)
                #expect(tag.output.0.contains("src=\"/assets/"))
            }
            #expect(page.firstMatch(of: /<style|\sstyle=|\son[a-z]+=|javascript:/) == nil)
        }
    }
}
