import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The command `audit`.
@Suite(.deadline) struct AuditCommandTests {
    @Test("`audit` prints the matching records, the newest first, as lines or as JSON")
    func audit() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let therapist = try await database.addUser(.therapist, email: "thea@test.example")
            let patient = try await database.addUser(.patient, email: "paul@test.example")
            try await database.assign(therapist, to: patient)
            let session = try await database.addSession(of: patient)

            let lines = try await program.lines("audit")
            #expect(
                lines.map { $0.split(separator: "\t")[2] } == [
                    "session.add", "assignment.begin", "user.add", "user.add",
                ])
            #expect(lines.allSatisfy { $0.split(separator: "\t").count == 13 })
            #expect(lines[0].contains("\tallowed\tsession.add\t-\t\(session)\t\(patient)\t-\t-\tpostgres\t-"))
            #expect(lines[0].hasSuffix("\t-\t-\t-"), "neither an address nor repeats")
            #expect(try await program.lines("audit", "--limit", "1") == [lines[0]])
            #expect(try await program.lines("audit", "--patient", "paul@test.example").count == 3)
            #expect(try await program.lines("audit", "--action", "user.add").count == 2)
            #expect(try await program.lines("audit", "--session", session.description) == [lines[0]])
            #expect(try await program.lines("audit", "--user", "thea@test.example") == [])
            #expect(try await program.lines("audit", "--refused") == [])
            #expect(try await program.lines("audit", "--to", "2020-01-01") == [])
            #expect(try await program.lines("audit", "--from", "2020-01-01T00:00:00Z") == lines)

            let json = try await program.lines("audit", "--json", "--limit", "1")
            let record = try #require(
                try JSONSerialization.jsonObject(with: Data(json[0].utf8)) as? [String: Any])
            #expect(record["action"] as? String == "session.add")
            #expect(record["session_id"] as? String == session.description)
            #expect(record["user_id"] is NSNull)
            #expect(record.count == 15)
        }
    }

    @Test("`audit` shows the address, the number of repeats and the time of the last one")
    func repeats() async throws {
        try await withDatabase { database in
            try await database.query(
                """
                INSERT INTO app.audit_log (at, action, address, repeats, until)
                VALUES ('2026-11-22T09:30:00Z', 'status.read', '2001:db8:0:7::/64', 19, '2026-11-22T09:38:00.5Z'),
                       ('2026-11-22T09:29:00Z', 'status.read', '192.0.2.1', NULL, NULL)
                """)
            let lines = try await Program.serving(database).lines("audit", "--action", "status.read")
            #expect(
                lines.map { $0.split(separator: "\t").suffix(3) } == [
                    ["2001:db8:0:7::/64", "19", "2026-11-22T09:38:00.500000Z"], ["192.0.2.1", "-", "-"],
                ])
        }
    }

    /// Lends a server at which an administrator has listed the sessions five times.
    ///
    /// - Returns: The administrator, and how the server ended.
    private func withRepeats(
        over database: TestDatabase, _ body: @escaping @Sendable (RunningServer) async throws -> Void
    ) async throws -> (user: UserID, end: ServerEnd) {
        let program = Program.serving(database)
        let user = try await database.addUser(.admin, email: "a@test.example")
        let token = try await program.lines("token", "--email", "a@test.example")[0]
        let (_, end) = try await program.serve { server in
            for _ in 0..<5 {
                let answer = try await server.get("/api/sessions", token: token)
                #expect(answer.status == 200)
            }
            try await body(server)
        }
        return (user, end)
    }

    @Test("The server records the repeats that it has counted when it gets SIGTERM")
    func shutdown() async throws {
        try await withDatabase { database in
            let (user, end) = try await withRepeats(over: database) { server in
                let records = try await database.audit("action = 'sessions.list'")
                #expect(records.map(\.repeats) == [nil])
                server.terminate()
            }
            #expect(end.status == 0)
            let records = try await database.audit("action = 'sessions.list'")
            #expect(Set(records.map(\.repeats)) == [nil, 4])
            #expect(records.allSatisfy { $0.user == user && $0.address == "127.0.0.1" })
        }
    }

    @Test("A server that gets SIGKILL loses the repeats that it has counted, and never the first access")
    func crash() async throws {
        try await withDatabase { database in
            let (user, end) = try await withRepeats(over: database) { kill($0.processID, SIGKILL) }
            #expect(end.status == nil, "a signal has ended the program")
            let records = try await database.audit("action = 'sessions.list'")
            #expect(records.map(\.repeats) == [nil])
            #expect(records.map(\.user) == [user])
        }
    }

    @Test("`audit` names a bad option and an unknown account")
    func wrong() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            for (option, value) in [
                ("--session", "x"), ("--from", "yesterday"), ("--to", "1"), ("--limit", "0"), ("--action", "none"),
            ] {
                let run = try await program.run("audit", option, value)
                #expect(run.status == 64, "\(option): \(run.errorOutput)")
                #expect(run.errorOutput.contains(option), "\(option): \(run.errorOutput)")
            }
            let run = try await program.run("audit", "--user", "nobody@test.example")
            #expect(run.status == 1)
            #expect(run.errorOutput.contains("nobody@test.example"))
        }
    }
}
