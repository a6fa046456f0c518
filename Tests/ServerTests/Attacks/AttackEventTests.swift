import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Hostile input to a stream: messages of pipelines, and notifications that any database role can send.
@Suite(.deadline) struct AttackEventTests {
    private static let texts = [
        "a\nb", "a\r\nb", "a\rb", "\n\nevent: complete\ndata: {}\n\n", "\r\n\r\nid: 999\r\n\r\n", "\n\n",
        "\u{2028}\u{2029}",
        "\u{85}\u{0B}\u{0C}\u{1B}[2J", "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "\"}\n\ndata: {\"progress\":100", "\\n\\n",
        "😀",
        "\u{FEFF}data: x", ": comment", "retry: 1", "</script><script>alert(1)</script>",
    ]

    /// Reads the events up to a version, and checks that each is complete and nothing else comes.
    private func expectWhole(_ reader: EventReader, upTo version: Int) async throws {
        let events = try await reader.events(upTo: version)
        try expectInOrder(events)
        for event in events {
            #expect(event.event == "progress")
            #expect(event.retry == nil)
            #expect(event.status == "transcribing")
        }
    }

    @Test("A message with line breaks stays inside one event, by every way of reporting")
    func texts() async throws {
        try await withClinic { clinic in
            let path = "/api/sessions/\(clinic.session)/progress"
            try await clinic.server.withStream(clinic.streamOfSession, token: clinic.token(.patient)) { reader in
                _ = try await reader.nextEvent()
                var version = 0
                for (index, text) in Self.texts.enumerated() {
                    let json = String(decoding: try JSONEncoder().encode(text), as: UTF8.self)
                    let body = "{\"status\":\"transcribing\",\"progress\":\(20 + index),\"message\":\(json)}"
                    let response = try await clinic.post(path, body, as: .pipeline)
                    #expect(response.status == 200)
                    version = try #require(try response.json()["version"] as? Int)
                    try await expectWhole(reader, upTo: version)
                    let stored = try await clinic.database.report(
                        clinic.session, .transcribing, 20 + index, message: text + "!")
                    try await expectWhole(reader, upTo: Int(stored))
                    let entry = "{\"session_id\":\"\(clinic.session)\",\(body.dropFirst().dropLast(2))#\"}"
                    let listed = try await clinic.post("/api/progress", "{\"reports\":[\(entry)]}", as: .admin)
                    #expect(listed.status == 200)
                    try await expectWhole(reader, upTo: Int(stored) + 1)
                    // A superuser writes past the functions.
                    try await clinic.database.query(
                        """
                        UPDATE app.session_progress SET message = \(text + "?"), progress = progress
                        WHERE session_id = \(clinic.session.rawValue)
                        """)
                }
                let error = String(decoding: try JSONEncoder().encode(Self.texts.joined()), as: UTF8.self)
                let failed = try await clinic.post(
                    path, "{\"status\":\"failed\",\"progress\":60,\"error\":\(error)}", as: .pipeline)
                #expect(failed.status == 200)
                let rest = try await reader.rest().filter { $0.status != "transcribing" }
                #expect(rest.map(\.event) == ["error"])
                let shown = try #require(try rest.first?.json()["error"] as? String)
                // Every route shows the same text, with a blank for each line break.
                #expect(!shown.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
                let status = try await clinic.request(.GET, of: "/status", as: .patient)
                #expect(try status.json()["error"] as? String == shown)
                let events = try await clinic.request(.GET, of: "/events", as: .patient).json()
                let items = try #require(events["items"] as? [[String: Any]])
                #expect(items.last?["error"] as? String == shown)
                for item in items {
                    let message = item["message"] as? String ?? ""
                    #expect(!message.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F })
                }
            }
        }
    }

    @Test("A stream survives ten thousand forged and malformed notifications and sends only true states")
    func notifications() async throws {
        try await withClinic { clinic in
            let token = clinic.token(.therapist)
            try await clinic.server.withStream(clinic.streamOfSession, token: token) { reader in
                try await clinic.server.withStream(Clinic.streamOfAll, token: token) { caseload in
                    _ = try await reader.next("progress")
                    while let event = try await caseload.nextEvent(), event.event != "ready" {}
                    let session = "\(clinic.session)"
                    let other = "\(SessionID.random())"
                    let forged = [
                        "", " ", "x", "\(session)", "\(session) 0", "\(session) -1", "\(session) 999999",
                        "\(session) 9223372036854775807", "\(session) 9223372036854775808", "\(session)  2",
                        "\(session) 2 3", "\(session) 1e9", "\(session) ٣", "\(other) 1", "\(other) 0", "rights",
                        "rights -1", "rights 999999", "rights 9223372036854775807", "work", "work work", "\r\n", "😀",
                        "\(session.uppercased()) 5", "{\(session)} 5", "'; DROP TABLE app.users; --",
                        String(repeating: "x", count: 7_900), String(repeating: "9", count: 7_900),
                        "\(session) " + String(repeating: "9", count: 7_000),
                    ]
                    // PostgreSQL sends equal notifications of one transaction once, so each has a number.
                    try await clinic.database.withConnection(as: "therapybridge_pipeline") { connection in
                        for text in forged {
                            _ = try await connection.query("SELECT pg_notify('tb_session_v1', \(text))")
                        }
                        for (prefix, count) in [("", Int32(2500)), ("\(session) ", 2500), ("rights ", 2500)] {
                            _ = try await connection.query(
                                """
                                SELECT pg_notify('tb_session_v1', \(prefix) || n) FROM generate_series(1, \(count)) AS n
                                """)
                        }
                        _ = try await connection.query(
                            """
                            SELECT pg_notify('tb_session_v1', gen_random_uuid() || ' ' || n)
                            FROM generate_series(1, 2500) AS n
                            """)
                    }
                    let version = Int(try await clinic.database.report(clinic.session, .transcribing, 20))
                    let event = try await reader.next("progress")
                    #expect(event.version == version)
                    #expect(event.progress == 20)
                    let followed = try await caseload.next("progress")
                    #expect(followed.version == version)
                    #expect(try await clinic.request(.GET, "/health/ready", as: nil).status == 200)
                }
            }
        }
    }
}
