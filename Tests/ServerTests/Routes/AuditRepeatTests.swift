import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import TestTime
import Testing

/// Repeated accesses behind the routes.
@Suite(.deadline) struct AuditRepeatTests {
    @Test("Many HEAD requests of one patient leave one record at once, and one of their number after ten minutes")
    func flood() async throws {
        let clock = ManualClock()
        try await withServer(clock: clock) { server in
            let clinic = try await Clinic(server)
            let database = clinic.database
            for _ in 0..<20 {
                #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .patient).status == 200)
            }
            #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .otherPatient).status == 403)
            #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .otherPatient).status == 403)
            // HEAD is recorded as its GET.
            #expect(try await database.audit("action = 'stream.open'").map(\.isAllowed) == [true, false])

            try await clock.keepMoving(by: .seconds(20)) {
                try await eventually("the repeats are recorded") {
                    try await database.audit("repeats IS NOT NULL").count == 2
                }
            }
            let repeats = try await database.audit("repeats IS NOT NULL")
            #expect(Set(repeats.map(\.repeats)) == [19, 1])
            #expect(repeats.first { $0.repeats == 19 }?.user == clinic.id(.patient))
            #expect(repeats.first { $0.repeats == 19 }?.isAllowed == true)
            #expect(repeats.allSatisfy { $0.address == "127.0.0.1" && $0.session == clinic.session })

            // The next access is a first one again.
            #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .patient).status == 200)
            #expect(try await database.audit("action = 'stream.open' AND repeats IS NULL").count == 3)
        }
    }

    @Test("A repeated opening is authorized like the first one")
    func authorized() async throws {
        try await withClinic { clinic in
            for _ in 0..<2 {
                #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .therapist).status == 200)
                #expect(try await clinic.request(.HEAD, Clinic.streamOfAll, as: .therapist).status == 200)
                #expect(try await clinic.request(.GET, of: "/status", as: .therapist).status == 200)
            }
            try await clinic.database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            for _ in 0..<2 {
                #expect(try await clinic.request(.HEAD, clinic.streamOfSession, as: .therapist).status == 403)
                #expect(try await clinic.request(.GET, of: "/status", as: .therapist).status == 403)
            }
            // The outcome is part of the kind of access.
            let records = try await clinic.database.audit(
                "action IN ('stream.open', 'status.read') AND user_id = '\(clinic.id(.therapist))'")
            #expect(records.map(\.isAllowed) == [true, true, false, false])
        }
    }

    @Test("A forwarded address is recorded if a trusted proxy names it; of an IPv6 address the first 64 bits")
    func addresses() async throws {
        try await withClinic { clinic in
            for address in ["198.51.100.7", "2001:db8:0:7:1::2", "2001:db8:0:7:3::4", "2001:db8:0:8::2"] {
                for _ in 0..<2 {
                    let answer = try await clinic.request(
                        .GET, of: "/status", as: .patient, headers: ["X-Forwarded-For": "203.0.113.9, \(address)"])
                    #expect(answer.status == 200)
                }
            }
            let records = try await clinic.database.audit("action = 'status.read'")
            #expect(records.map(\.address) == ["198.51.100.7", "2001:db8:0:7::/64", "2001:db8:0:8::/64"])
            let listed = try await clinic.request(.GET, "/api/audit?action=status.read", as: .admin).json()
            let items = try #require(listed["items"] as? [[String: Any]])
            #expect(items.compactMap { $0["address"] as? String } == records.reversed().map(\.address))
            for item in items {
                #expect(item["repeats"] is NSNull)
                #expect(item["until"] is NSNull)
            }
        }
    }

    @Test("A running server adds a partition that is missing at its next round")
    func nextRound() async throws {
        let clock = ManualClock()
        try await withDatabase { database in
            let name = try await database.query(
                "SELECT 'app.audit_log_' || to_char(now() AT TIME ZONE 'UTC' + interval '2 months', 'YYYY_MM') AS name")[
                    0
                ]
                .decode("name", as: String.self)
            @Sendable func isThere() async throws -> Bool {
                try await database.query("SELECT to_regclass(\(name))::text AS name")[0]
                    .decode("name", as: String?.self) != nil
            }
            try await database.query("DROP TABLE \(unescaped: name)")
            try await withServer(over: database, clock: clock) { _ in
                // The first round is over with it: the partitions come before the rest, and in their order.
                try await eventually("the first round has added the partition") { try await isThere() }
                try await database.query("DROP TABLE \(unescaped: name)")
                try await clock.keepMoving(by: .seconds(60)) {
                    try await eventually("the next round has added the partition") { try await isThere() }
                }
            }
        }
    }

    @Test("The server adds the partitions of the months ahead at its start")
    func janitor() async throws {
        try await withDatabase { database in
            let name = try await database.query(
                "SELECT 'app.audit_log_' || to_char(now() AT TIME ZONE 'UTC' + interval '2 months', 'YYYY_MM') AS name")[
                    0
                ]
                .decode("name", as: String.self)
            try await database.query("DROP TABLE \(unescaped: name)")
            try await database.query("INSERT INTO app.audit_log (at, action) VALUES ('2001-02-03', 'test.old')")
            try await withServer(over: database) { _ in
                for table in [name, "app.audit_log_2001_02"] {
                    try await eventually("\(table) is there") {
                        try await database.query("SELECT to_regclass(\(table))::text AS name")[0]
                            .decode("name", as: String?.self) != nil
                    }
                }
            }
        }
    }
}
