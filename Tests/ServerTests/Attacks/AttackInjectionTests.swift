import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Texts with a meaning in SQL, headers, paths or event streams, in every place where a client may send a text.
@Suite(.deadline) struct AttackInjectionTests {
    static let texts = [
        "'", "''", "' OR '1'='1", "'; DROP TABLE app.users; --", "1; SELECT pg_sleep(60)", "$1", "\\", "\"", "%", "_%",
        "x' UNION SELECT password_hash FROM app.users --", "E'\\x00'", "/*", "--", "${jndi:ldap://x}", "{{7*7}}",
        "a\r\nX-Injected: yes", "a\nX-Injected: yes", "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "\0", "a\0b", "\u{FEFF}",
        "\u{2028}", "\u{85}", "../../../etc/passwd", "..\\..\\windows", "file:///etc/passwd", "-1", "0", "1e400", "NaN",
        "99999999999999999999", "0x10", "null", "true", "[]", "{}", "😀", "\u{202E}txt.exe",
        String(repeating: "'", count: 2000),
    ]

    private static func encoded(_ text: String) -> String {
        text.utf8.map { String(format: "%%%02X", $0) }.joined()
    }

    private static func expectHarmless(_ response: TestResponse, _ comment: Comment) {
        #expect(response.status < 500, comment)
        #expect(response.headers["X-Injected"].isEmpty, comment)
        #expect(response.headers["X-Request-Id"].count == 1, comment)
        if response.status >= 400 { expectProblem(response, response.status, nil, comment) }
    }

    @Test("Hostile text in a path or a query does no harm")
    func paths() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            for text in Self.texts.map(Self.encoded) {
                for path in [
                    "/api/sessions?status=\(text)", "/api/sessions?patient_id=\(text)", "/api/sessions?limit=\(text)",
                    "/api/sessions?cursor=\(text)", "/api/sessions?\(text)=\(text)", "/api/sessions/\(text)",
                    "/api/sessions/\(text)/status", "/api/sessions/\(text)/recording", "\(session)/\(text)",
                    "\(session)/status?last_event_id=\(text)", "/\(text)", "/assets/\(text)", "/api/\(text)",
                    "/api/audit?user_id=\(text)", "/api/audit?session_id=\(text)", "/api/audit?patient_id=\(text)",
                    "/api/audit?action=\(text)", "/api/audit?outcome=\(text)", "/api/audit?from=\(text)",
                    "/api/audit?to=\(text)", "/api/audit?limit=\(text)", "/api/audit?cursor=\(text)",
                    "/api/users?q=\(text)", "/api/users?role=\(text)", "/api/users?is_active=\(text)",
                    "/api/users?limit=\(text)", "/api/users?cursor=\(text)", "/api/users/\(text)",
                    "\(session)/status/ws?last_event_id=\(text)",
                ] {
                    Self.expectHarmless(try await clinic.request(.GET, path, as: .admin), "\(path)")
                }
                for stream in [clinic.streamOfSession, Clinic.streamOfAll] {
                    Self.expectHarmless(
                        try await clinic.request(.HEAD, "\(stream)?last_event_id=\(text)", as: .admin).withoutBody,
                        "\(text)")
                    Self.expectHarmless(try await clinic.request(.GET, "\(stream)?ticket=\(text)", as: nil), "\(text)")
                }
                for method in [HTTPMethod.PUT, .DELETE] {
                    for pair in [
                        "\(text)/patients/\(clinic.id(.patient))", "\(clinic.id(.therapist))/patients/\(text)",
                    ] {
                        let path = "/api/therapists/\(pair)"
                        Self.expectHarmless(try await clinic.request(method, path, as: .admin), "\(method) \(path)")
                    }
                }
            }
            #expect(try await clinic.request(.GET, session, as: .admin).status == 200)
        }
    }

    @Test("Hostile text in a header does no harm")
    func headers() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            // A line break or a NUL makes the header malformed. AttackFramingTests tests that.
            for text in Self.texts where !text.contains(where: { $0.isNewline }) && !text.utf8.contains(0) {
                for name in [
                    "If-None-Match", "Range", "Accept", "Origin", "Cookie", "Content-Type", "If-Range", "X-Request-Id",
                    "X-Forwarded-For", "Forwarded", "Last-Event-ID", "Accept-Encoding", "Access-Control-Request-Method",
                ] {
                    for path in ["\(session)/status", "\(session)/recording"] {
                        let response = try await clinic.request(.GET, path, as: .admin, headers: [name: text])
                        Self.expectHarmless(response, "\(name): \(text)")
                        #expect(response.headers["X-Request-Id"] != [text])
                    }
                }
                for value in [text, "Bearer \(text)", "Basic \(text)"] {
                    let response = try await clinic.request(.GET, session, as: nil, headers: ["Authorization": value])
                    expectProblem(response, 401, "unauthorized", "\(value)")
                }
                let response = try await clinic.request(
                    .GET, session, as: nil, headers: ["Cookie": "tb_access=\(text); tb_refresh=\(text)"])
                expectProblem(response, 401, "unauthorized", "\(text)")
            }
        }
    }

    @Test("Hostile text in JSON does no harm")
    func bodies() async throws {
        try await withClinic { clinic in
            let report = "/api/sessions/\(clinic.session)/progress"
            for text in Self.texts {
                let json = String(decoding: try JSONEncoder().encode(text), as: UTF8.self)
                for (path, caller, body) in [
                    ("/api/auth/login", nil, "{\"email\":\(json),\"password\":\"x\"}"),
                    ("/api/auth/refresh", nil, "{\"refresh_token\":\(json)}"),
                    (report, .pipeline, "{\"status\":\(json),\"progress\":30}"),
                    (report, .pipeline, "{\"status\":\"transcribing\",\"progress\":\(json)}"),
                    (report, .pipeline, "{\"status\":\"transcribing\",\"progress\":30,\(json):\(json)}"),
                    (report, .pipeline, "{\"status\":\"transcribing\",\"progress\":30,\"message\":\(json)}"),
                    ("/api/progress", .pipeline, "{\"reports\":[{\"session_id\":\(json),\"status\":\(json)}]}"),
                    ("/api/users", .admin, "{\"email\":\(json),\"full_name\":\"x\",\"role\":\"patient\"}"),
                    ("/api/users", .admin, "{\"email\":\"a@b.example\",\"full_name\":\"x\",\"role\":\(json)}"),
                ] as [(String, Clinic.Caller?, String)] {
                    let response = try await clinic.post(path, body, as: caller)
                    Self.expectHarmless(response, "\(path): \(body.prefix(100))")
                }
                for name in ["session_date", "language"] {
                    let response = try await clinic.request(
                        .PATCH, of: "", as: .admin, headers: ["Content-Type": "application/json"],
                        body: "{\"\(name)\":\(json)}")
                    Self.expectHarmless(response, "\(name): \(text)")
                    let isTag = name == "language" && LanguageTag(text) != nil
                    #expect(response.status == (isTag ? 200 : 422), "\(name): \(text)")
                }
                for name in ["full_name", "role", "is_active"] {
                    let response = try await clinic.server.request(
                        .PATCH, "/api/users/\(clinic.id(.otherPatient))", token: clinic.token(.admin),
                        headers: ["Content-Type": "application/json"], body: Data("{\"\(name)\":\(json)}".utf8))
                    Self.expectHarmless(response, "\(name): \(text)")
                    #expect(response.status == 422 || name == "full_name" && response.status == 200, "\(name): \(text)")
                }
            }
            let users = try await clinic.database.query("SELECT count(*) FROM app.users")
            #expect(try users[0].decode(0, as: Int64.self) == Int64(Clinic.Caller.allCases.count))
        }
    }

    @Test("Hostile text in a field of an upload does no harm")
    func fields() async throws {
        try await withClinic { clinic in
            let sessions = try await clinic.database.query("SELECT FROM app.therapy_sessions").count
            for text in Self.texts {
                for name in ["patient_id", "session_id", "session_date"] {
                    var fields = ["patient_id": "\(clinic.id(.patient))"]
                    fields[name] = text
                    let upload = Upload(
                        fields: fields.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) },
                        file: .wav(size: 2000))
                    let response = try await clinic.upload(upload, as: .admin)
                    Self.expectHarmless(response, "\(name): \(text)")
                    #expect([400, 422].contains(response.status), "\(name): \(text)")
                }
            }
            for text in Self.texts where LanguageTag(text) == nil {
                var upload = Upload(patient: clinic.id(.patient), file: .wav(size: 2000))
                upload.fields.append(("language", text))
                let response = try await clinic.upload(upload, as: .admin)
                Self.expectHarmless(response, "language: \(text)")
                #expect([400, 422].contains(response.status), "language: \(text)")
            }
            #expect(try await clinic.database.query("SELECT FROM app.therapy_sessions").count == sessions)
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("The name of an uploaded file is never used as a path")
    func filenames() async throws {
        try await withClinic { clinic in
            for name in [
                "../../../etc/passwd.wav", "/etc/passwd.wav", "..%2f..%2fx.wav", "a/../../b.wav", "..\\..\\x.wav",
                "C:\\x.wav",
                ".wav", "....wav", "a\u{202E}vaw.exe.wav", "x'; DROP TABLE app.users; --.wav", "$(id).wav", "`id`.wav",
            ] {
                var file = UploadFile.wav(size: 2000)
                file.name = name
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                #expect([201, 415, 422].contains(response.status), "\(name): \(response.status)")
                guard response.status == 201 else { continue }
                let id = try #require(try response.json()["id"] as? String)
                let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
                #expect(recording.body == file.bytes, "\(name)")
            }
            // The server stores every file directly in the folder, under a name of its own.
            let stored = try FileManager.default.subpathsOfDirectory(atPath: clinic.server.uploads.path)
            #expect(!stored.isEmpty)
            for path in stored {
                #expect(path.wholeMatch(of: /[0-9a-f\/-]+(\.wav)?|[a-z]+/) != nil, "\(path)")
            }
        }
    }

    @Test("A path traversal reaches no file outside the assets")
    func traversal() async throws {
        try await withServer { server in
            for target in [
                "/../../../../etc/passwd", "/assets/../../../../etc/passwd", "/assets/..%2f..%2f..%2fetc/passwd",
                "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets/....//....//etc/passwd", "//etc/passwd",
                "/assets//etc/passwd",
                "/assets/..\\..\\etc\\passwd", "/assets/%00", "/assets/app.js%00.css", "/./assets/../page.mustache",
                "/assets/%c0%ae%c0%ae/etc/passwd", "http://127.0.0.1/etc/passwd", "/assets/app.js/../../etc/passwd",
                "*", "/%", "/%zz", "/?%", "/#x",
            ] {
                let answer = try await server.answer(
                    to: "GET \(target) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                let statuses = answerStatuses(in: answer)
                #expect(statuses.count == 1, "\(target)")
                #expect(!answer.contains("root:"), "\(target)")
                #expect(!answer.contains("{{"), "\(target)")
                let isPage = ["/?%", "/#x"].contains(target) && statuses == [200]
                #expect(isPage || statuses == [404] || statuses == [400], "\(target): \(statuses)")
            }
        }
    }
}

extension TestResponse {
    /// The answer to HEAD.
    ///
    /// `expectProblem` would look for a body.
    fileprivate var withoutBody: TestResponse {
        TestResponse(status: min(status, 399), headers: headers, body: body)
    }
}
