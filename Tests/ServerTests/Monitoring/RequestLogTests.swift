import Domain
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// What an operator finds in the log about a request.
@Suite(.deadline) struct RequestLogTests {
    @Test("The line of a request has its user and its session, on every way that a request takes")
    func names() async throws {
        let log = LogMemory()
        let (user, session) = try await withServer(log: log) { server in
            let clinic = try await Clinic(server)
            #expect(try await clinic.request(.GET, of: "/status", as: .patient).status == 200)
            #expect(try await clinic.request(.GET, of: "/status", as: nil).status == 401)
            return (clinic.id(.patient), clinic.session)
        }
        let lines = log.text.split(separator: "\n").filter { $0.contains(" request [") && $0.contains("/status") }
        #expect(lines.contains { $0.contains("\(user)") && $0.contains("\(session)") })
        #expect(lines.contains { !$0.contains("\(user)") && $0.contains("\(session)") && $0.contains("401") })
    }

    @Test("A 401 has its reason in the log, and not in the answer")
    func unauthorized() async throws {
        let log = LogMemory()
        try await withServer(log: log) { server in
            let clinic = try await Clinic(server)
            let expired = try await server.token(clinic.id(.patient), lifetime: .seconds(-10))
            for token in [nil, "nonsense", expired, String(expired.dropLast(2)) + "AA"] {
                let answer = try await server.request(.GET, "/api/auth/me", token: token)
                #expect(answer.status == 401)
                #expect(!answer.text.contains("expired"))
            }
        }
        for reason in ["no credential", "the token is malformed", "the token has expired", "wrongly signed"] {
            #expect(log.text.contains("not signed in") && log.text.contains(reason), "\(reason)")
        }
        #expect(!log.text.contains("nonsense"))
    }

    @Test("A 429 has its address in the log; a proxy that no setting names is warned of once")
    func addresses() async throws {
        let log = LogMemory()
        try await withServer(["REQUESTS_PER_ADDRESS": "1", "TRUSTED_PROXIES": "none"], log: log) { server in
            var statuses: [Int] = []
            for _ in 0..<30 {
                let headers = ["X-Forwarded-For": "192.0.2.7"]
                statuses.append(Int(try await server.request(.GET, "/api/auth/me", headers: headers).status))
            }
            #expect(statuses.contains(429))
        }
        #expect(log.text.contains("over a limit") && log.text.contains("127.0.0.1"))
        #expect(log.warnings.count { $0.contains("X-Forwarded-For") && $0.contains("TRUSTED_PROXIES") } == 1)
    }
}
