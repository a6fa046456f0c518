import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct ProtocolTests {
    @Test("HEAD gets the same status and headers as GET, and no body")
    func head() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            for (path, caller) in [
                ("/", nil), ("/assets/app.js", nil), ("/favicon.ico", nil), ("/health", nil), ("/health/live", nil),
                ("/health/ready", nil), ("/api/auth/me", Clinic.Caller.patient), ("/api/sessions", .patient),
                ("/api/patients", .admin), (session, .patient), ("\(session)/status", .patient),
                ("\(session)/events", .patient), ("\(session)/transcript", .patient), ("\(session)/notes", .therapist),
                ("\(session)/recording", .patient), ("/nothing", nil), ("\(session)/notes", .patient),
            ] {
                // The client of the tests waits for the body of a compressed answer, also after HEAD.
                let plain = ["Accept-Encoding": "identity"]
                let get = try await clinic.request(.GET, path, as: caller, headers: plain)
                let head = try await clinic.request(.HEAD, path, as: caller, headers: plain)
                #expect(head.status == get.status, "\(path)")
                #expect(head.body.isEmpty, "\(path)")
                for name in ["Content-Type", "Content-Length", "ETag", "Cache-Control"] {
                    #expect(head.headers[name] == get.headers[name], "\(path): \(name)")
                }
            }
        }
    }

    @Test("HEAD of a stream opens no stream")
    func headOfStream() async throws {
        try await withClinic(["SSE_MAX_STREAMS": "1"]) { clinic in
            let path = clinic.streamOfSession
            for _ in 0..<3 {
                let head = try await clinic.request(.HEAD, path, as: .patient)
                #expect(head.status == 200)
                #expect(head.headers["Content-Type"] == ["text/event-stream; charset=utf-8"])
                #expect(head.body.isEmpty)
            }
            // An open stream would have taken the only slot.
            try await clinic.server.withStream(path, token: clinic.token(.patient)) { reader in
                var event = try await reader.next()
                while let next = event, next.event == nil { event = try await reader.next() }
                #expect(event?.event == "progress")
            }
        }
    }

    @Test("Expect: 100-continue is answered before the body arrives")
    func expectContinue() async throws {
        try await withClinic { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav)
            try await clinic.server.withWire { wire in
                let head = upload.requestHead(token: clinic.token(.patient)).dropLast() + "Expect: 100-continue\r\n\r\n"
                try await wire.send(String(head))
                #expect(try await wire.readHead().status == 100)
                try await wire.send(upload.body)
                let response = try await wire.readResponse()
                #expect(response.status == 201)
                // The connection stays open.
                try await wire.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                #expect(try await wire.readResponse().status == 200)
            }
        }
    }

    @Test("Expect: 100-continue is answered after the earlier requests of the connection")
    func expectContinuePipelined() async throws {
        try await withClinic { clinic in
            let upload = Upload(patient: clinic.id(.patient), file: .wav)
            try await clinic.server.withWire { wire in
                let head = upload.requestHead(token: clinic.token(.patient)).dropLast() + "Expect: 100-continue\r\n\r\n"
                try await wire.send(
                    "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /health HTTP/1.1\r\nHost: test\r\n\r\n\(head)")
                let page = try await wire.readResponse()
                #expect(page.status == 200)
                #expect(page.text.contains("</html>"))
                #expect(try await wire.readResponse().text == #"{"status":"healthy"}"#)
                #expect(try await wire.readHead().status == 100)
                try await wire.send(upload.body)
                #expect(try await wire.readResponse().status == 201)
            }
        }
    }

    @Test("An HTTP/1.0 connection closes after its answer, whatever else it asked for")
    func oldVersion() async throws {
        try await withClinic { clinic in
            for fields in ["", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n", "Upgrade: h2c\r\n"] {
                try await clinic.server.withWire { wire in
                    let request = "GET /health HTTP/1.0\r\n\(fields)\r\n"
                    try await wire.send(request + request)
                    let response = try await wire.readResponse()
                    #expect(response.status == 200, "\(fields)")
                    #expect(response.headers["Connection"] == ["close"], "\(fields)")
                    #expect(try await wire.readTextToEnd() == "", "one answer: \(fields)")
                }
            }
        }
    }

    @Test("Every other method of a path gets 405 with the right ones, also one of WebDAV")
    func otherMethods() async throws {
        try await withClinic { clinic in
            for method in ["PROPFIND", "MKCOL", "SEARCH", "M-SEARCH", "UNLOCK", "TRACE", "PATCH", "OPTIONS"] {
                try await clinic.server.withWire { wire in
                    try await wire.send(method, "/api/auth/me", token: clinic.token(.patient))
                    let response = try await wire.readResponse()
                    expectProblem(response, 405, "method-not-allowed", "\(method)")
                    #expect(response.headers["Allow"] == ["GET, HEAD"], "\(method)")
                    try await wire.send(method, "/nothing", token: clinic.token(.patient))
                    expectProblem(try await wire.readResponse(), 404, "not-found", "\(method)")
                }
            }
        }
    }

    @Test("A request with a body that asks for h2c is answered in HTTP/1.1")
    func upgradeWithBody() async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                let body = #"{"email": "a@b.example", "password": "wrong"}"#
                try await wire.send(
                    "POST /api/auth/login HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                        + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Type: application/json\r\n"
                        + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
                #expect(try await wire.readResponse().status == 401)
            }
        }
    }

    @Test("A route that answers 204 does so whatever `Accept` says")
    func noContent() async throws {
        try await withClinic { clinic in
            let pair = "/api/therapists/\(clinic.id(.stranger))/patients/\(clinic.id(.patient))"
            for (method, path, caller) in [
                (.PUT, pair, .admin), (.DELETE, pair, .admin),
                (.DELETE, "/api/sessions/\(clinic.session)", .admin), (.POST, "/api/auth/logout", .patient),
            ] as [(HTTPMethod, String, Clinic.Caller)] {
                for accept in ["image/png", "application/json;q=0"] where accept == "image/png" || method == .PUT {
                    let response = try await clinic.request(method, path, as: caller, headers: ["Accept": accept])
                    #expect(response.status == 204, "\(method) \(path)")
                }
            }
        }
    }

    @Test("Malformed HTTP gets a problem, and the server closes the connection")
    func malformed() async throws {
        try await withClinic { clinic in
            for request in [
                "nonsense\r\n\r\n", "GET /health HTTP/1.1\r\nHost: test\r\nno colon\r\n\r\n",
                "GET /health HTTP/9.9\r\n\r\n",
                "GET /health HTTP/1.1\r\nHost: test\r\nX: \(String(repeating: "x", count: 50_000))\r\n\r\n",
                "POST /api/auth/login HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n",
                "GET /health HTTP/1.1\r\nHost: test\r\nX: a\0b\r\n\r\n",
            ] {
                try await clinic.server.withWire { wire in
                    try await wire.send(request)
                    let response = try await wire.readResponse()
                    expectProblem(response, 400, "malformed-request", "\(request.prefix(60))")
                    #expect(try await wire.readToEnd().isEmpty)
                }
            }
        }
    }

    @Test("Pipelined requests are answered in their order")
    func pipelined() async throws {
        try await withClinic { clinic in
            try await clinic.server.withWire { wire in
                let get = "GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
                try await wire.send(get + "HEAD /nothing HTTP/1.1\r\nHost: test\r\n\r\n" + get)
                #expect(try await wire.readResponse().status == 200)
                #expect(try await wire.readHead().status == 404)
                #expect(try await wire.readResponse().status == 200)
            }
        }
    }

    @Test("Every response has a request id of its own")
    func requestIDs() async throws {
        try await withClinic { clinic in
            var ids: [String] = []
            for path in ["/", "/health", "/nothing", "/api/sessions", "/assets/app.css"] {
                ids += try await clinic.request(.GET, path, as: nil).headers["X-Request-Id"]
            }
            #expect(Set(ids).count == 5)
        }
    }
}
