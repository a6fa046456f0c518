import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct CrossOriginTests {
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

    /// The headers that a page of an allowed origin may read.
    private static let exposed = [
        "Accept-Ranges", "Content-Disposition", "Content-Location", "Content-Range", "ETag", "Location", "Retry-After",
        "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Expires",
        "Upload-Length", "Upload-Metadata", "Upload-Offset", "X-Request-Id",
    ]
    /// The headers that it may send.
    private static let sendable = [
        "Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Prefer", "Range",
        "Tus-Resumable", "Upload-Checksum", "Upload-Length", "Upload-Metadata", "Upload-Offset",
    ]

    @Test("With `SSE_CORS_ORIGIN=none`, only the server's own origin may call with cookies")
    func none() async throws {
        let own = "http://127.0.0.1:8000"
        try await withClinic(["SSE_CORS_ORIGIN": "none", "PUBLIC_URL": own]) { clinic in
            for (origin, status) in [(own, 200), ("https://therapybridge.com", 403), ("none", 403), ("null", 403)] {
                let response = try await clinic.request(
                    .POST, "/api/sessions/status/ticket", as: nil,
                    headers: ["Origin": origin, "Cookie": "tb_access=\(clinic.token(.patient))"])
                #expect(response.status == status, "\(origin)")
                if origin != own { #expect(response.headers["Access-Control-Allow-Origin"] == []) }
            }
        }
    }

    @Test("An allowed origin gets its own name in CORS headers on every answer, and never a star")
    func allowedOrigins() async throws {
        try await withClinic(Self.environment) { clinic in
            let session = "/api/sessions/\(clinic.session)"
            for origin in Self.allowed {
                for (path, caller, status) in [
                    (session, Clinic.Caller.patient, 200), (session, .stranger, 403), ("/nothing", .patient, 404),
                    ("/api/sessions/x", .patient, 422),
                ] as [(String, Clinic.Caller, Int)] {
                    let response = try await clinic.request(.GET, path, as: caller, headers: ["Origin": origin])
                    #expect(response.status == status)
                    Self.expectAllowed(response.headers, origin)
                    let exposed = response.headers[canonicalForm: "Access-Control-Expose-Headers"].map(String.init)
                    #expect(exposed == Self.exposed)
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
                let headers = response.headers[canonicalForm: "Access-Control-Allow-Headers"].map(String.init)
                #expect(headers == Self.sendable)
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
