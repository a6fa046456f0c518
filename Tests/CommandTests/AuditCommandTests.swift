import Domain
import Foundation
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
            #expect(lines.allSatisfy { $0.split(separator: "\t").count == 10 })
            #expect(lines[0].contains("\tallowed\tsession.add\t-\t\(session)\t\(patient)\t-\t-\tpostgres\t-"))
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
            #expect(record.count == 12)
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
