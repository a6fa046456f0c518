import Domain
import Foundation
import LocalPostgres
import NIOHTTP1
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// The limits of requests in a second, by sign-in and by address.
@Suite(.deadline) struct RequestLimitTests {
    private func withLimits(
        _ settings: [String: String], _ body: @escaping @Sendable (Clinic, ManualClock) async throws -> Void
    ) async throws {
        let clock = ManualClock()
        try await withServer(settings, clock: clock) { try await body(Clinic($0), clock) }
    }

    private func statuses(_ times: Int, _ request: () async throws -> TestResponse) async throws -> [Int] {
        var statuses: [Int] = []
        for _ in 0..<times { statuses.append(try await request().status) }
        return statuses
    }

    @Test("A sign-in has ten seconds' worth of requests, and then as many as its rate")
    func signIn() async throws {
        try await withLimits(["REQUESTS_PER_SIGN_IN": "1"]) { clinic, clock in
            func status(_ caller: Clinic.Caller) async throws -> TestResponse {
                try await clinic.request(.GET, of: "/status", as: caller)
            }
            #expect(try await statuses(10) { try await status(.patient) } == Array(repeating: 200, count: 10))
            let refused = try await status(.patient)
            expectProblem(refused, 429, "too-many-requests")
            #expect(refused.headers["Retry-After"] == ["1"])
            // Another sign-in of another user, or of the same one, has a bucket of its own.
            #expect(try await status(.therapist).status == 200)
            let again = try await clinic.server.token(clinic.id(.patient))
            #expect(try await clinic.server.request(.GET, "/api/auth/me", token: again).status == 200)
            clock.advance(by: .seconds(1))
            #expect(try await statuses(2) { try await status(.patient) } == [200, 429])
            // A refused request has no effect and no record.
            #expect(try await clinic.database.audit("action = 'status.read'").count == 2)
            let limited = try await clinic.request(.GET, "/metrics", as: .admin)
            let scrape = try Scrape(limited.text)
            #expect(scrape.value("therapybridge_requests_limited_total", ["limit": "sign-in"]) == 2)
            #expect(scrape.value("therapybridge_requests_limited_total", ["limit": "address"]) == 0)
        }
    }

    @Test("An address has a bucket, past a trusted proxy; the addresses of an IPv6 network share theirs")
    func address() async throws {
        try await withLimits(["REQUESTS_PER_ADDRESS": "1"]) { clinic, _ in
            func page(_ address: String) async throws -> TestResponse {
                try await clinic.server.request(.GET, "/docs", headers: ["X-Forwarded-For": address])
            }
            #expect(try await statuses(11) { try await page("192.0.2.1") } == Array(repeating: 200, count: 10) + [429])
            expectProblem(try await page("192.0.2.1"), 429, "too-many-requests")
            #expect(try await page("192.0.2.2").status == 200)
            let ten = Array(repeating: 200, count: 10)
            #expect(try await statuses(10) { try await page("2001:db8::1") } == ten)
            #expect(try await page("2001:db8::2:3").status == 429)
            #expect(try await page("2001:db8:0:1::1").status == 200)
            // What a client writes itself comes before what the proxy adds.
            #expect(try await page("192.0.2.77, 192.0.2.1").status == 429)
            // Unknown paths and bad tokens are requests, too.
            let token = "nonsense"
            let bad = try await statuses(11) {
                try await clinic.server.request(
                    .GET, "/nothing", token: token, headers: ["X-Forwarded-For": "192.0.2.3"])
            }
            #expect(bad == Array(repeating: 404, count: 10) + [429])
        }
    }

    @Test("Health checks are exempt")
    func health() async throws {
        try await withLimits(["REQUESTS_PER_ADDRESS": "1"]) { clinic, _ in
            _ = try await statuses(11) { try await clinic.server.request(.GET, "/docs") }
            for path in ["/health", "/health/live", "/health/ready"] {
                #expect(try await clinic.server.request(.GET, path).status == 200, "\(path)")
            }
        }
    }

    @Test("A stream or report with good credentials and the right is neither charged nor refused")
    func free() async throws {
        try await withLimits(["REQUESTS_PER_SIGN_IN": "1", "REQUESTS_PER_ADDRESS": "3"]) { clinic, clock in
            try await clinic.database.report(clinic.session, .transcribing, 20)
            func report(_ progress: Int) async throws -> TestResponse {
                try await clock.keepMoving(by: .milliseconds(3)) {
                    try await clinic.post(
                        "/api/sessions/\(clinic.session)/progress",
                        #"{"status":"transcribing","progress":\#(progress)}"#, as: .pipeline)
                }
            }
            for progress in 21...55 { #expect(try await report(progress).status == 200) }
            try await clinic.database.report(clinic.session, .failed, 55)
            // The stream of a finished session ends by itself.
            for _ in 0..<35 {
                #expect(try await clinic.request(.GET, clinic.streamOfSession, as: .patient).status == 200)
            }
            // Nothing was charged: the buckets are full.
            let charged = try await statuses(11) { try await clinic.request(.GET, of: "/status", as: .patient) }
            #expect(charged == Array(repeating: 200, count: 10) + [429])
            #expect(try await clinic.request(.GET, clinic.streamOfSession, as: .patient).status == 200)
            // HEAD opens no stream, and is charged.
            #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .patient).status == 429)
        }
    }

    @Test("WebSockets and streams with good credentials and the right charge neither the sign-in nor the address")
    func uncharged() async throws {
        try await withLimits(["REQUESTS_PER_SIGN_IN": "1", "REQUESTS_PER_ADDRESS": "3"]) { clinic, _ in
            let path = "/api/sessions/\(clinic.session)/status/ws"
            for _ in 0..<35 {
                try await clinic.server.withWebSocket(path, token: clinic.token(.patient)) {
                    try await $0.expectVersion(1)
                }
                for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                    try await clinic.server.withStream(stream, token: clinic.token(.patient)) {
                        #expect($0.status == 200)
                        _ = try await $0.next()
                    }
                }
            }
            // The bucket of the sign-in is full, and so is that of the address, which these eleven requests are charged to.
            let charged = try await statuses(11) { try await clinic.request(.GET, of: "/status", as: .patient) }
            #expect(charged == Array(repeating: 200, count: 10) + [429])
            let pages = try await statuses(20) { try await clinic.server.request(.GET, "/docs") }
            #expect(pages == Array(repeating: 200, count: 19) + [429])
        }
    }

    @Test("METRICS_PORT is exempt, and charges no address")
    func metricsPort() async throws {
        let port = try freePort()
        try await withLimits(["METRICS_PORT": "\(port)", "REQUESTS_PER_ADDRESS": "1"]) { clinic, _ in
            let metrics = clinic.server.at(port: port)
            try await eventually("the metrics are served") {
                (try? await metrics.request(.GET, "/metrics").status) == 200
            }
            let scrapes = try await statuses(15) { try await metrics.request(.GET, "/metrics") }
            #expect(scrapes == Array(repeating: 200, count: 15))
            let pages = try await statuses(11) { try await clinic.server.request(.GET, "/docs") }
            #expect(pages == Array(repeating: 200, count: 10) + [429])
            #expect(try await metrics.request(.GET, "/metrics").status == 200)
        }
    }

    @Test("Refused streams, WebSockets and reports are charged to the address, and then get 429")
    func refused() async throws {
        try await withLimits(["REQUESTS_PER_ADDRESS": "1"]) { clinic, clock in
            let report = Data(#"{"status":"transcribing","progress":45}"#.utf8)
            let unknown = SessionID.random()
            let kinds: [(method: HTTPMethod, path: String, caller: Clinic.Caller?, status: Int)] = [
                (.GET, clinic.streamOfSession, .stranger, 403), (.GET, clinic.streamOfSession, nil, 401),
                (.GET, "/api/sessions/\(unknown)/status/stream", .patient, 404), (.GET, Clinic.streamOfAll, nil, 401),
                (.POST, "/api/sessions/\(clinic.session)/progress", .therapist, 403),
                (.POST, "/api/sessions/\(unknown)/progress", .therapist, 404),
                (.POST, "/api/progress", .therapist, 403),
            ]
            for (number, kind) in kinds.enumerated() {
                var headers = ["X-Forwarded-For": "192.0.2.\(number)"]
                if kind.method == .POST { headers["Content-Type"] = "application/json" }
                // A batch of reports waits a little. The bucket gets no whole token meanwhile.
                let answers = try await statuses(11) {
                    try await clock.keepMoving(by: .microseconds(500)) {
                        try await clinic.server.request(
                            kind.method, kind.path, token: kind.caller.map(clinic.token), headers: headers,
                            body: kind.method == .POST ? report : nil)
                    }
                }
                #expect(answers == Array(repeating: kind.status, count: 10) + [429], "\(kind)")
                // A good stream from this address still opens.
                try await clinic.server.withWebSocket(
                    "/api/sessions/\(clinic.session)/status/ws", token: clinic.token(.patient),
                    headers: ["X-Forwarded-For": headers["X-Forwarded-For"] ?? ""]
                ) { try await $0.expectVersion(1) }
            }
        }
    }

    @Test("A refused WebSocket gets its Close, and 429 once the bucket of the address is empty")
    func webSocket() async throws {
        try await withLimits(["REQUESTS_PER_ADDRESS": "1"]) { clinic, _ in
            let path = "/api/sessions/\(clinic.session)/status/ws"
            for _ in 0..<10 {
                #expect(
                    try await clinic.server.messages(path, token: clinic.token(.stranger)) == [
                        .close(1008, "forbidden")
                    ])
            }
            let handshake = [
                "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            ]
            let refused = try await clinic.request(.GET, path, as: .stranger, headers: handshake)
            expectProblem(refused, 429, "too-many-requests")
        }
    }

    @Test("0 is no limit")
    func off() async throws {
        try await withLimits(["REQUESTS_PER_SIGN_IN": "0", "REQUESTS_PER_ADDRESS": "0"]) { clinic, _ in
            for _ in 0..<50 {
                let answer = try await clinic.request(.GET, "/api/auth/me", as: .patient)
                #expect(answer.status == 200)
            }
        }
    }
}
