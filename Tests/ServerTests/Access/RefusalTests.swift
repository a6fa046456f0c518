import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Checks a refusal.
///
/// The answer to HEAD has no body.
private func expectRefusal(
    _ response: TestResponse, of method: HTTPMethod, _ status: Int, _ type: String? = nil, _ comment: Comment,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard method == .HEAD else {
        return expectProblem(response, status, type, comment, sourceLocation: sourceLocation)
    }
    #expect(response.status == status, comment, sourceLocation: sourceLocation)
    #expect(response.body.isEmpty, comment, sourceLocation: sourceLocation)
    #expect(response.headers["Content-Type"] == ["application/problem+json"], comment, sourceLocation: sourceLocation)
    #expect(!response.headers["X-Request-Id"].isEmpty, comment, sourceLocation: sourceLocation)
}

@Suite(.deadline) struct RefusalTests {
    /// The routes that need a user and name no session.
    static let userRoutes: [(HTTPMethod, String)] = [
        (.GET, "/api/auth/me"), (.GET, "/api/sessions"), (.HEAD, "/api/sessions"),
        (.POST, "/api/sessions/upload"), (.GET, "/api/patients"), (.POST, "/api/progress"),
    ]

    @Test("A request without a valid token gets 401 on every route")
    func unauthorized() async throws {
        try await withClinic { clinic in
            let patient = clinic.id(.patient)
            let (revoked, revokedSignIn) = try await clinic.server.signIn(patient)
            try await clinic.database.query(
                "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(revokedSignIn.rawValue)")
            let (ended, endedSignIn) = try await clinic.server.signIn(patient)
            try await clinic.database.query(
                "UPDATE app.auth_sessions SET expires_at = now() WHERE id = \(endedSignIn.rawValue)")
            let expired = try await clinic.server.token(patient, lifetime: .seconds(-1))
            let gone = try await clinic.database.addUser(.admin)
            let ofNobody = try await clinic.server.token(gone)
            try await clinic.database.query("DELETE FROM app.users WHERE id = \(gone.rawValue)")
            let good = clinic.token(.patient)
            let credentials: [(String, [String: String])] = [
                ("no token", [:]), ("an empty header", ["Authorization": ""]),
                ("no token behind the scheme", ["Authorization": "Bearer"]),
                ("rubbish", ["Authorization": "Bearer x.y.z"]), ("another scheme", ["Authorization": "Basic \(good)"]),
                ("no scheme", ["Authorization": good]), ("two tokens", ["Authorization": "Bearer \(good) \(good)"]),
                ("a changed token", ["Authorization": "Bearer x\(good)"]),
                ("expired", ["Authorization": "Bearer \(expired)"]),
                ("an unknown user", ["Authorization": "Bearer \(ofNobody)"]),
                ("revoked", ["Authorization": "Bearer \(revoked)"]),
                ("an ended sign-in", ["Authorization": "Bearer \(ended)"]),
                ("a bad cookie", ["Cookie": "tb_access=x.y.z"]),
                ("a bad header before a good cookie", ["Authorization": "Bearer x", "Cookie": "tb_access=\(good)"]),
            ]
            for (name, headers) in credentials {
                // An unsafe method with a cookie needs an origin first and gets 403. CookieTests tests it.
                let isByCookie = headers["Authorization"] == nil && headers["Cookie"] != nil
                for route in SessionRoute.all where !(isByCookie && [.POST, .PATCH, .DELETE].contains(route.method)) {
                    let response = try await clinic.request(
                        route.method, of: route.path, as: nil,
                        headers: headers.merging(route.headers) { first, _ in first },
                        body: route.body)
                    expectRefusal(response, of: route.method, 401, "unauthorized", "\(name): \(route.testDescription)")
                }
                for (method, path) in Self.userRoutes where !(isByCookie && method == .POST) {
                    let response = try await clinic.request(method, path, as: nil, headers: headers)
                    expectRefusal(response, of: method, 401, "unauthorized", "\(name): \(method) \(path)")
                }
            }
            // A token in the URL authenticates nobody, under any name.
            for query in ["token", "access_token", "ticket"] {
                let response = try await clinic.request(.GET, of: "/status?\(query)=\(good)", as: nil)
                expectProblem(response, 401, "unauthorized")
            }
        }
    }

    @Test("A caller without the right gets 403 on every route of a session")
    func forbidden() async throws {
        try await withClinic { clinic in
            for route in SessionRoute.all {
                for caller in Clinic.Caller.allCases where !route.permitted.contains(caller) {
                    let response = try await clinic.request(
                        route.method, of: route.path, as: caller, headers: route.headers, body: route.body)
                    expectRefusal(response, of: route.method, 403, "forbidden", "\(caller): \(route.testDescription)")
                }
            }
            // No refused request changed the session.
            let present = try await clinic.request(.GET, of: "/status", as: .admin).json()
            #expect(present["status"] as? String == "pending")
            #expect(present["version"] as? Int == 1)
        }
    }

    @Test("A caller with the right is not refused on any route of a session")
    func permitted() async throws {
        try await withClinic { clinic in
            for route in SessionRoute.all where route.method != .DELETE && route.path != "/status/stream" {
                for caller in Clinic.Caller.allCases where route.permitted.contains(caller) {
                    let response = try await clinic.request(
                        route.method, of: route.path, as: caller, headers: route.headers, body: route.body)
                    // 202: the first caller cancels the session. 404 and 409: it has no transcript and no recording, no stage of
                    // it has failed, and a cancelled session is finished. 428: a correction needs `If-Match`.
                    #expect([200, 202, 404, 409, 428].contains(response.status), "\(caller): \(route.testDescription)")
                }
            }
        }
    }

    @Test("An inactive account gets 403 on every route, whatever its role and rights")
    func inactive() async throws {
        try await withClinic { clinic in
            try await clinic.database.query("UPDATE app.users SET is_active = false")
            for caller in [Clinic.Caller.patient, .therapist, .admin, .pipeline] {
                for route in SessionRoute.all {
                    let response = try await clinic.request(
                        route.method, of: route.path, as: caller, headers: route.headers, body: route.body)
                    expectRefusal(
                        response, of: route.method, 403, "account-inactive", "\(caller): \(route.testDescription)")
                }
                for (method, path) in Self.userRoutes {
                    let response = try await clinic.request(method, path, as: caller)
                    expectRefusal(response, of: method, 403, "account-inactive", "\(caller): \(method) \(path)")
                }
            }
        }
    }

    @Test("A caller gets the right back with the assignment and with the account")
    func rightsComeBack() async throws {
        try await withClinic { clinic in
            func status(_ caller: Clinic.Caller) async throws -> Int {
                try await clinic.request(.GET, of: "/status", as: caller).status
            }
            try await clinic.database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            #expect(try await status(.therapist) == 403)
            try await clinic.database.query("UPDATE app.therapist_patients SET is_active = true")
            #expect(try await status(.therapist) == 200)
            #expect(try await status(.former) == 200)
            try await clinic.database.query("UPDATE app.users SET is_active = false")
            #expect(try await status(.patient) == 403)
            try await clinic.database.query("UPDATE app.users SET is_active = true")
            // The deactivation has ended the sign-in for good. A new one has the rights of the account.
            #expect(try await status(.patient) == 401)
            let token = try await clinic.server.token(clinic.id(.patient))
            let again = try await clinic.server.request(.GET, "/api/sessions/\(clinic.session)/status", token: token)
            #expect(again.status == 200)
        }
    }

    @Test("An unknown session gets 404 on every route")
    func noSession() async throws {
        try await withClinic { clinic in
            for route in SessionRoute.all {
                for caller in [Clinic.Caller.admin, .patient, .stranger, .pipeline] {
                    let response = try await clinic.request(
                        route.method, "/api/sessions/\(SessionID.random())\(route.path)", as: caller,
                        headers: route.headers,
                        body: route.body)
                    expectRefusal(response, of: route.method, 404, "not-found", "\(caller): \(route.testDescription)")
                }
            }
        }
    }

    @Test("An id that is not a UUID gets 422 on every route")
    func noUUID() async throws {
        try await withClinic { clinic in
            for route in SessionRoute.all {
                for id in ["1", "x", "\(clinic.session)0", "\(clinic.session)%00", "%7B\(clinic.session)%7D", "%20"] {
                    let response = try await clinic.request(
                        route.method, "/api/sessions/\(id)\(route.path)", as: .admin, headers: route.headers,
                        body: route.body)
                    expectRefusal(response, of: route.method, 422, "invalid-value", "\(id): \(route.testDescription)")
                    if route.method != .HEAD { expectProblem(response, 422, detail: "id: ") }
                }
            }
            // Upper case spells the same id.
            let response = try await clinic.request(
                .GET, "/api/sessions/\(clinic.session.description.uppercased())", as: .admin)
            #expect(response.status == 200)
        }
    }

    @Test("An unknown route gets 404 with and without a token")
    func noRoute() async throws {
        try await withClinic { clinic in
            let paths = [
                "/nothing", "/api", "/api/nothing", "/api/auth", "/api/sessions/\(clinic.session)/nothing",
                "/api/sessions/\(clinic.session)/status/stream/x", "/api/sessionsx", "/assets/nothing.js",
                "/assets/../app.js",
                "/assets/%2e%2e/page.mustache", "/assets/page.mustache", "/.env", "/index.php", "/health/x",
            ]
            for path in paths {
                for method in [HTTPMethod.GET, .POST, .DELETE] {
                    expectProblem(
                        try await clinic.request(method, path, as: nil), 404, "not-found", "\(method) \(path)")
                    expectProblem(
                        try await clinic.request(method, path, as: .admin), 404, "not-found", "\(method) \(path)")
                }
                #expect(try await clinic.request(.HEAD, path, as: nil).status == 404)
            }
        }
    }

    @Test("A wrong method gets 405 with the allowed methods in Allow")
    func wrongMethod() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            let table: [(String, Set<String>)] = [
                ("/api/auth/login", ["POST"]), ("/api/auth/refresh", ["POST"]), ("/api/auth/logout", ["POST"]),
                ("/api/auth/me", ["GET", "HEAD"]), ("/api/sessions", ["GET", "HEAD"]),
                ("/api/sessions/upload", ["POST"]),
                (session, ["GET", "HEAD", "PATCH", "DELETE"]), ("\(session)/status", ["GET", "HEAD"]),
                ("\(session)/status/stream", ["GET", "HEAD"]), ("\(session)/events", ["GET", "HEAD"]),
                ("\(session)/transcript", ["GET", "HEAD", "PUT", "PATCH"]),
                ("\(session)/notes", ["GET", "HEAD", "PUT"]), ("\(session)/history", ["GET", "HEAD"]),
                ("/api/pipeline/claim", ["POST"]), ("/api/pipeline/leases/\(clinic.session)", ["POST", "DELETE"]),
                ("\(session)/recording", ["GET", "HEAD"]), ("\(session)/retry", ["POST"]),
                ("\(session)/cancel", ["POST"]), ("\(session)/failure", ["GET", "HEAD"]),
                ("\(session)/progress", ["POST"]), ("/api/progress", ["POST"]),
                ("/api/patients", ["GET", "HEAD"]), ("/health", ["GET", "HEAD"]), ("/health/live", ["GET", "HEAD"]),
                ("/health/ready", ["GET", "HEAD"]), ("/", ["GET", "HEAD"]), ("/assets/app.js", ["GET", "HEAD"]),
            ]
            for (path, allowed) in table {
                for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"] where !allowed.contains(method)
                {
                    let response = try await clinic.request(HTTPMethod(rawValue: method), path, as: .admin)
                    expectRefusal(
                        response, of: HTTPMethod(rawValue: method), 405, "method-not-allowed", "\(method) \(path)")
                    let allow = response.headers[canonicalForm: "Allow"].map(String.init)
                    #expect(Set(allow) == allowed, "\(method) \(path)")
                }
            }
        }
    }

    @Test("An Accept header that the route cannot meet gets 406")
    func notAcceptable() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            let table: [(String, String)] = [
                ("/api/auth/me", "text/html"), ("/api/sessions", "text/html"), (session, "image/png"),
                ("\(session)/status", "text/event-stream"), ("\(session)/status/stream", "application/json"),
                ("\(session)/events", "application/json;q=0"), ("\(session)/transcript", "text/plain"),
                ("\(session)/notes", "text/plain"), ("/api/patients", "text/csv"), ("/health", "text/html"),
                ("/", "application/json"),
            ]
            for (path, accept) in table {
                let response = try await clinic.request(.GET, path, as: .admin, headers: ["Accept": accept])
                expectProblem(response, 406, "not-acceptable", "\(path)")
            }
        }
    }

    @Test(
        "Malformed JSON gets 400, a body over the limit 413, and another content type 415")
    func body() async throws {
        try await withClinic { clinic in
            for (path, caller) in [
                ("/api/auth/login", nil), ("/api/auth/refresh", nil),
                ("/api/sessions/\(clinic.session)/progress", Clinic.Caller.admin),
            ] {
                for text in ["{", "nonsense", "{\"a\":}", "{}x", "\u{0}"] {
                    expectProblem(
                        try await clinic.post(path, text, as: caller), 400, "malformed-request", "\(path): \(text)")
                }
                for text in ["[]", "1", "null", "\"x\""] {
                    expectProblem(
                        try await clinic.post(path, text, as: caller), 422, "invalid-value", "\(path): \(text)")
                }
                let long = #"{"x":""# + String(repeating: "x", count: 70_000) + #""}"#
                expectProblem(try await clinic.post(path, long, as: caller), 413, "too-large", "\(path)")
                for type in [
                    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "json",
                ] {
                    let response = try await clinic.request(
                        .POST, path, as: caller, headers: ["Content-Type": type], body: "{}")
                    expectProblem(response, 415, "unsupported-media", "\(path): \(type)")
                }
            }
        }
    }
}
