import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The compression of JSON.
///
/// The client of these tests decompresses by itself.
@Suite(.deadline) struct CompressionTests {
    /// Without this header, the client asks for gzip.
    private static let plainly = ["Accept-Encoding": "identity"]

    @Test(
        "Long JSON is compressed if the client accepts gzip, and says the same",
        arguments: [
            ("gzip", true), ("x-gzip", true), ("*", true), ("GZIP", true), ("br, gzip;q=0.1", true),
            ("deflate, *;q=0.5", true), ("", false), ("identity", false), ("br", false), ("gzip;q=0", false),
            ("gzip;q=0, *", false), ("*;q=0", false),
        ])
    func codings(_ accepted: String, _ isCompressed: Bool) async throws {
        try await withClinic { clinic in
            let plain = try await clinic.request(.GET, "/openapi.json", as: nil, headers: Self.plainly)
            #expect(plain.headers["Content-Encoding"] == [])
            let answer = try await clinic.request(
                .GET, "/openapi.json", as: nil, headers: ["Accept-Encoding": accepted])
            #expect(answer.headers["Content-Encoding"] == (isCompressed ? ["gzip"] : []))
            #expect(answer.body == plain.body)
            let length = try #require(Int(answer.headers["Content-Length"].first ?? ""))
            #expect(isCompressed ? length * 5 < plain.body.count : length == plain.body.count)
            for headers in [plain.headers, answer.headers] {
                #expect(headers[canonicalForm: "Vary"] == ["Accept-Encoding", "Origin"])
            }
        }
    }

    @Test("Short JSON, and what is no JSON, is sent as it is")
    func plain() async throws {
        try await withClinic { clinic in
            for (path, caller) in [
                ("/health", nil), ("/api/auth/me", Clinic.Caller.patient), ("/metrics", .admin),
                ("/api/nothing", nil), (clinic.streamOfSession, nil),
            ] {
                let answer = try await clinic.request(.GET, path, as: caller, headers: ["Accept-Encoding": "gzip"])
                #expect(answer.headers["Content-Encoding"] == [], "\(path)")
            }
            try await clinic.server.withStream(
                clinic.streamOfSession,
                headers: ["Authorization": "Bearer \(clinic.token(.patient))", "Accept-Encoding": "gzip"]
            ) { reader async throws in
                #expect(reader.headers["Content-Encoding"] == [])
                #expect(try await reader.next()?.event == "progress")
            }
        }
    }

    @Test("The answer to POST and a long refusal are compressed, too")
    func otherAnswers() async throws {
        try await withClinic { clinic in
            let reports = (0..<50).map { _ in "{\"session_id\":\"\(SessionID.random())\",\"status\":\"transcribing\"}" }
            for (body, status) in [
                ("{\"reports\":[\(reports.joined(separator: ","))]}", 200),
                ("{\"reports\":[\(String(repeating: "0,", count: 2_000))0]}", 422),
            ] {
                let headers = ["Content-Type": "application/json"]
                let plain = try await clinic.request(
                    .POST, "/api/progress", as: .admin, headers: headers.merging(Self.plainly) { $1 }, body: body)
                #expect(plain.status == status)
                let answer = try await clinic.request(
                    .POST, "/api/progress", as: .admin, headers: headers.merging(["Accept-Encoding": "gzip"]) { $1 },
                    body: body)
                #expect(answer.status == status)
                #expect(answer.headers["Content-Encoding"] == (plain.body.count > 1_024 ? ["gzip"] : []))
                #expect(answer.headers["Content-Type"] == plain.headers["Content-Type"])
                #expect(try answer.json().keys == plain.json().keys)
            }
        }
    }

    @Test("The ETag is the same for both forms, and a copy of either is current")
    func validators() async throws {
        try await withClinic { clinic in
            let plain = try await clinic.request(.GET, "/openapi.json", as: nil, headers: Self.plainly)
            let answer = try await clinic.request(.GET, "/openapi.json", as: nil, headers: ["Accept-Encoding": "gzip"])
            let tag = try #require(answer.headers["ETag"].first)
            #expect(plain.headers["ETag"] == [tag])
            #expect(!tag.hasPrefix("W/"))
            let again = try await clinic.request(
                .GET, "/openapi.json", as: nil, headers: ["Accept-Encoding": "gzip", "If-None-Match": tag])
            #expect(again.status == 304)
            #expect(again.headers["Content-Encoding"] == [])
            #expect(again.body.isEmpty)
        }
    }

    @Test("The answer to HEAD has the headers of the plain answer, and the connection goes on")
    func head() async throws {
        try await withClinic { clinic in
            let plain = try await clinic.request(.GET, "/openapi.json", as: nil, headers: Self.plainly)
            try await clinic.server.withWire { wire in
                for _ in 0..<2 {
                    try await wire.send(
                        "HEAD /openapi.json HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n")
                    let (status, headers) = try await wire.readHead()
                    #expect(status == 200)
                    #expect(headers["Content-Encoding"] == [])
                    #expect(headers["Content-Length"] == ["\(plain.body.count)"])
                    #expect(headers[canonicalForm: "Vary"].contains("Accept-Encoding"))
                }
                try await wire.send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
                #expect(try await wire.readResponse().text == #"{"status":"healthy"}"#)
            }
        }
    }

    @Test("A claim is sent plain: its route gives it back if nobody gets it")
    func claim() async throws {
        try await withClinic { clinic in
            let name = String(repeating: "ü", count: 200) + ".wav"
            try await clinic.database.query(
                """
                UPDATE app.therapy_sessions SET recording = 'key', filename = \(name), media_type = 'audio/wav',
                    bytes = 4, duration_seconds = 1
                WHERE id = \(clinic.session)
                """)
            let answer = try await clinic.request(
                .POST, "/api/pipeline/claim", as: .pipeline,
                headers: ["Content-Type": "application/json", "Accept-Encoding": "gzip"],
                body: #"{"worker":"w","lease_seconds":60}"#)
            #expect(answer.status == 200)
            #expect(answer.headers["Content-Encoding"] == [])
            #expect(try answer.json()["session_id"] as? String == clinic.session.description)
        }
    }
}
