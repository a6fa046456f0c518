import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// The headers that restrict browsers.
@Suite("A browser", .deadline)
struct BrowserHeaderTests {
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
            let table: [(HTTPMethod, String, Clinic.Who?, [String: String], String?, Int)] = [
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
            for (method, path, who, headers, body, status) in table {
                let response = try await clinic.request(method, path, as: who, headers: headers, body: body)
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

@Suite("Another origin", .deadline)
struct CrossOriginTests {
    private static let environment = [
        "PUBLIC_URL": "https://bridge.example.org:8443",
        "SSE_CORS_ORIGIN": "https://therapybridge.com, http://localhost:3000",
    ]
    private static let allowed = [
        "https://bridge.example.org:8443", "https://therapybridge.com", "http://localhost:3000",
    ]
    /// Each origin differs slightly from an allowed one.
    private static let refused = [
        "null", "*", "https://therapybridge.com.evil.example", "https://eviltherapybridge.com",
        "https://app.therapybridge.com", "http://therapybridge.com", "https://therapybridge.com:8443",
        "https://therapybridge.com:443", "https://THERAPYBRIDGE.com", "https://therapybridge.com/",
        "https://therapybridge.com.", "https://bridge.example.org", "http://localhost:3001", "http://localhost",
        "https://localhost:3000", "https://therapybridge.com@evil.example", "https://therapybridge.com, null",
        "https://therapybridge.com https://evil.example", "therapybridge.com", "file://", "%00", "https://",
    ]

    @Test("An allowed origin gets its own name in CORS headers on every answer, and never a star")
    func allowedOrigins() async throws {
        try await withClinic(Self.environment) { clinic in
            let session = "/api/sessions/\(clinic.session)"
            for origin in Self.allowed {
                for (path, who, status) in [
                    (session, Clinic.Who.patient, 200), (session, .stranger, 403), ("/nothing", .patient, 404),
                    ("/api/sessions/x", .patient, 422),
                ] as [(String, Clinic.Who, Int)] {
                    let response = try await clinic.request(.GET, path, as: who, headers: ["Origin": origin])
                    #expect(response.status == status)
                    Self.expectAllowed(response.headers, origin)
                    #expect(
                        response.headers["Access-Control-Expose-Headers"]
                            == ["ETag, Location, Retry-After, X-Request-Id"])
                }
                let headers: HTTPHeaders = ["Origin": origin, "Authorization": "Bearer \(clinic.token(.patient))"]
                try await clinic.server.withStream("\(session)/status/stream", headers: headers) {
                    Self.expectAllowed($0.headers, origin)
                }
                let ticket = try await clinic.ticket(for: clinic.streamOfSession, as: .patient)
                try await clinic.server.withStream(
                    "\(clinic.streamOfSession)?ticket=\(ticket)", headers: ["Origin": origin]
                ) { Self.expectAllowed($0.headers, origin) }
            }
        }
    }

    @Test("An allowed origin gets a preflight with every method and header in use")
    func preflight() async throws {
        try await withClinic(Self.environment) { clinic in
            for path in [
                "/api/auth/login", "/api/sessions", clinic.streamOfSession, "/api/sessions/upload", "/nothing",
            ] {
                let response = try await clinic.request(
                    .OPTIONS, path, as: nil,
                    headers: [
                        "Origin": "https://therapybridge.com", "Access-Control-Request-Method": "PATCH",
                        "Access-Control-Request-Headers": "authorization,content-type",
                    ])
                #expect(response.status == 204, "\(path)")
                Self.expectAllowed(response.headers, "https://therapybridge.com")
                let methods = response.headers[canonicalForm: "Access-Control-Allow-Methods"].map(String.init)
                #expect(Set(methods).isSuperset(of: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]))
                let headers = response.headers[canonicalForm: "Access-Control-Allow-Headers"].map { $0.lowercased() }
                #expect(
                    Set(headers).isSuperset(of: ["authorization", "content-type", "if-none-match", "last-event-id"]))
            }
        }
    }

    @Test("An origin that resembles an allowed one gets no CORS headers and changes nothing by cookie")
    func refusedOrigins() async throws {
        try await withClinic(Self.environment) { clinic in
            let cookie = "tb_access=\(clinic.token(.patient))"
            for origin in Self.refused {
                let headers = ["Origin": origin]
                let responses = [
                    try await clinic.request(.GET, "/api/auth/me", as: .patient, headers: headers),
                    try await clinic.request(.GET, "/nothing", as: nil, headers: headers),
                    try await clinic.request(
                        .OPTIONS, "/api/auth/me", as: nil,
                        headers: headers.merging(["Access-Control-Request-Method": "GET"]) { $1 }),
                    try await clinic.request(
                        .POST, "/api/sessions/status/ticket", as: nil,
                        headers: headers.merging(["Cookie": cookie]) { $1 }
                    ),
                ]
                #expect(responses.map(\.status) == [200, 404, 405, 403], "\(origin)")
                for response in responses {
                    #expect(response.headers[canonicalForm: "Vary"].contains("Origin"), "\(origin)")
                    for (name, _) in response.headers {
                        #expect(!name.lowercased().hasPrefix("access-control-"), "\(origin): \(name)")
                    }
                }
            }
        }
    }

    private static func expectAllowed(_ headers: HTTPHeaders, _ origin: String) {
        #expect(headers["Access-Control-Allow-Origin"] == [origin])
        #expect(headers["Access-Control-Allow-Credentials"] == ["true"])
        #expect(headers[canonicalForm: "Vary"].contains("Origin"))
    }
}
