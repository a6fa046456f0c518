import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The lines that a running `serve` writes about what an operator can mend.
@Suite(.deadline) struct LogLineTests {
    /// What happened, and the message of its line.
    private static let occasions = [
        ("a limit of descriptors that is low, at the start", "fewer connections fit than SSE_MAX_STREAMS"),
        (
            "a proxy that no setting names",
            "a peer that is not trusted sends X-Forwarded-For: the address in it does not count"
        ),
        ("a request with a token that does not hold", "not signed in"),
        ("a login after too many wrong passwords", "over a limit"),
        ("a stream over a limit", "stream rejected"),
        ("`GET /health/ready` while the folder of `UPLOAD_DIR` is away", "not ready"),
        ("SIGHUP", "signal received, reading the level of the log and the files of keys again"),
        ("SIGUSR1", "signal received, which means nothing to this program"),
        ("SIGTERM", "signal received, stopping"),
    ]

    @Test("Each occasion has a line with the cause, and with the remedy if the operator has one")
    func lines() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-lines-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: folder) }
        let away = folder.appendingPathExtension("away")
        defer { try? FileManager.default.removeItem(at: away) }
        let end = try await withDatabase { database in
            _ = try await database.addUser(.patient, email: "p@test.example")
            let program = Program.serving(
                database,
                [
                    "TRUSTED_PROXIES": "none", "LOGIN_MAX_FAILURES_PER_ACCOUNT": "1", "SSE_MAX_STREAMS_PER_USER": "0",
                    "UPLOAD_DIR": folder.path(percentEncoded: false), "LOG_LEVEL": "info",
                ])
            let token = try await program.lines("token", "--email", "p@test.example")[0]
            let (_, end) = try await program.serve(["--no-worker"], descriptors: 300) { server in
                #expect(try await server.get("/health", headers: ["X-Forwarded-For": "192.0.2.7"]).status == 200)
                #expect(try await server.get("/api/auth/me", token: "forged").status == 401)
                for status in [401, 429] {
                    let login = #"{"email":"p@test.example","password":"wrong horse battery"}"#
                    #expect(try await server.post("/api/auth/login", login) == status)
                }
                let stream = try await server.get("/api/sessions/status/stream", token: token)
                #expect(stream.body.contains("event: unavailable"))
                try FileManager.default.moveItem(at: folder, to: away)
                // An answer counts for a second.
                try await eventually("the server is not ready") { try await server.get("/health/ready").status == 503 }
                for signal in [SIGHUP, SIGUSR1] { kill(server.processID, signal) }
                // A signal that comes after SIGTERM might not be told.
                try await eventually("both signals are told") {
                    let log = server.log.text
                    return log.contains("which means nothing") && log.contains("reading the level")
                }
                server.terminate()
            }
            return end
        }
        #expect(end.status == 0)
        let logged = end.log.split(separator: "\n").compactMap {
            try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: String]
        }
        var rows: [[String]] = []
        for (occasion, message) in Self.occasions {
            let line = try #require(logged.first { $0["message"] == message }, "\(occasion): \(end.log)")
            let (reason, remedy) = (line["reason"], line["remedy"])
            #expect(reason != nil || remedy != nil || line["signal"] != nil, "\(occasion)")
            rows.append([
                occasion, try #require(line["level"]), "`\(message)`", reason.map { "`\($0)`" } ?? "",
                remedy.map { "`\($0)`" } ?? "",
            ])
        }
        try GeneratedPart(name: "log-lines").hold(table(["occasion", "level", "line", "`reason`", "`remedy`"], rows))
    }
}
