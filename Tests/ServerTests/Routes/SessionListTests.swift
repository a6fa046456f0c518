import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct SessionListTests {
    /// The ids on a page, and the cursor of the next page.
    private func page(
        _ clinic: Clinic, as caller: Clinic.Caller, _ query: String = ""
    ) async throws -> (ids: [String], cursor: String?) {
        let response = try await clinic.request(.GET, "/api/sessions\(query)", as: caller)
        #expect(response.status == 200, "\(query)")
        let json = try response.json()
        let isFirst = !query.contains("cursor=")
        #expect(Set(json.keys) == Set(["items", "next_cursor"] + (isFirst ? ["counts"] : [])), "\(query)")
        let items = try #require(json["items"] as? [[String: any Sendable]])
        return (items.compactMap { $0["id"] as? String }, json["next_cursor"] as? String)
    }

    @Test("The list shows each caller the sessions that the caller may see")
    func whoSeesWhat() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let other = try await database.addSession(of: clinic.id(.otherPatient), therapist: clinic.id(.therapist))
            let (mine, all) = ([clinic.session.description], [other.description, clinic.session.description])
            let expected: [Clinic.Caller: [String]] = [
                .patient: mine, .otherPatient: [other.description], .therapist: mine, .stranger: [], .former: [],
                .nominal: [],
                .admin: all, .pipeline: [],
            ]
            for (caller, ids) in expected {
                #expect(try await page(clinic, as: caller).ids == ids, "\(caller)")
                #expect(try await page(clinic, as: caller).cursor == nil)
            }
            // A change of assignments counts from its commit.
            try await database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            try await database.assign(clinic.id(.stranger), to: clinic.id(.otherPatient))
            #expect(try await page(clinic, as: .therapist).ids == [])
            #expect(try await page(clinic, as: .stranger).ids == [other.description])
        }
    }

    @Test("An entry of the list is the session object")
    func item() async throws {
        try await withClinic { clinic in
            let list = try await clinic.request(.GET, "/api/sessions", as: .patient).json()
            let item = try #require((list["items"] as? [[String: any Sendable]])?.first)
            let session = try await clinic.request(.GET, of: "", as: .patient).json()
            #expect(item as NSDictionary == session as NSDictionary)
            #expect(
                Set(session.keys) == [
                    "id", "patient_id", "patient_name", "therapist_id", "therapist_name", "session_date", "filename",
                    "bytes", "duration_seconds", "language", "created_at", "progress",
                ])
            #expect(session["id"] as? String == clinic.session.description)
            #expect(session["patient_id"] as? String == clinic.id(.patient).description)
            #expect(session["therapist_id"] as? String == clinic.id(.nominal).description)
            for name in ["patient_name", "therapist_name"] { #expect(session[name] as? String == "Test Person") }
            for name in ["filename", "bytes", "duration_seconds", "language"] {
                #expect(session[name] is NSNull, "\(name)")
            }
            let status = try await clinic.request(.GET, of: "/status", as: .patient).json()
            #expect(session["progress"] as? NSDictionary == status as NSDictionary)
        }
    }

    @Test("The list can be filtered by status and patient, within the caller's rights")
    func filters() async throws {
        try await withClinic { clinic in
            let database = clinic.database
            let failed = try await database.addSession(of: clinic.id(.patient))
            try await database.report(failed, .failed, 0, error: "broken")
            let other = try await database.addSession(of: clinic.id(.otherPatient))
            let patient = clinic.id(.patient)
            let (pending, broken) = (clinic.session.description, failed.description)
            #expect(try await page(clinic, as: .admin, "?status=failed").ids == [broken])
            #expect(try await page(clinic, as: .admin, "?status=pending").ids == [other.description, pending])
            #expect(try await page(clinic, as: .admin, "?status=processed").ids == [])
            #expect(try await page(clinic, as: .admin, "?patient_id=\(patient)").ids == [broken, pending])
            #expect(try await page(clinic, as: .admin, "?patient_id=\(patient)&status=pending").ids == [pending])
            #expect(try await page(clinic, as: .admin, "?patient_id=\(UserID.random())").ids == [])
            for (caller, stranger) in [(Clinic.Caller.therapist, clinic.id(.otherPatient)), (.otherPatient, patient)] {
                let path = "/api/sessions?patient_id=\(stranger)"
                let response = try await clinic.request(.GET, path, as: caller)
                #expect(response.status == 403, "\(caller)")
            }
        }
    }

    @Test(
        "An invalid parameter gets 422 with its name",
        arguments: [
            ("limit", ["0", "-1", "201", "x", "", "1.5", "99999999999999999999"]),
            ("status", ["done", "PENDING", "", "failed,", ",", "failed,done", "failed,%20pending"]),
            ("patient_id", ["1", "x", ""]),
            (
                "cursor",
                [
                    "x", "", "_", ".", "created_at.", "created_at.1_x", "1_550e8400-e29b-41d4-a716-446655440000",
                    "created_at.x_550e8400-e29b-41d4-a716-446655440000",
                    "created_at.1_550e8400-e29b-41d4-a716-446655440000_1",
                    "created_at.1_550e8400-e29b-41d4-a716-446655440000.1",
                    "updated_at.1_550e8400-e29b-41d4-a716-446655440000",
                    // A cursor of the other order.
                    "session_date.1_550e8400-e29b-41d4-a716-446655440000",
                ]
            ),
            ("sort", ["", "status", "-created_at"]), ("from", ["", "yesterday", "2026-13-01T00:00:00Z"]), ("to", ["x"]),
            ("q", ["%00", String(repeating: "x", count: 201)]),
        ])
    func refuses(_ name: String, _ values: [String]) async throws {
        try await withClinic { clinic in
            for value in values {
                let response = try await clinic.request(.GET, "/api/sessions?\(name)=\(value)", as: .admin)
                expectProblem(response, 422, "invalid-value", detail: "\(name): ", "\(value)")
            }
        }
    }

    @Test("Pages have no gaps and no repeats while sessions are added, even with equal times")
    func paging() async throws {
        try await withClinic { clinic in
            // Twenty sessions, four of them with the same microsecond.
            try await clinic.database.query(
                """
                INSERT INTO app.therapy_sessions (patient_id, created_at)
                SELECT \(clinic.id(.patient).rawValue), timestamptz '2026-01-01' + make_interval(secs => n / 4)
                FROM generate_series(0, 19) n
                """)
            let expected = try await clinic.database.query(
                "SELECT id FROM app.therapy_sessions ORDER BY created_at DESC, id DESC"
            ).map { SessionID(rawValue: try $0.decode("id", as: UUID.self)).description }
            #expect(expected.count == 21)
            #expect(try await page(clinic, as: .therapist).ids == expected)
            for limit in [1, 3, 7, 20, 21, 200] {
                var seen: [String] = []
                var query = "?limit=\(limit)"
                // A bound, so that a cursor that does not advance fails the test instead of running forever.
                for _ in 0..<50 {
                    let (ids, cursor) = try await page(clinic, as: .therapist, query)
                    #expect(ids.count <= limit)
                    seen += ids
                    // A session that is added now comes before all others and moves no page.
                    _ = try await clinic.database.addSession(of: clinic.id(.patient))
                    guard let cursor else { break }
                    query = "?limit=\(limit)&cursor=\(cursor)"
                }
                #expect(seen.suffix(21) == expected[...], "limit \(limit)")
                #expect(Set(seen).count == seen.count)
                try await clinic.database.query(
                    "DELETE FROM app.therapy_sessions WHERE created_at > timestamptz '2026-01-02' AND therapist_id IS NULL"
                )
            }
        }
    }

    @Test("A cursor still works after its session is deleted")
    func cursorOfDeleted() async throws {
        try await withClinic { clinic in
            let older = try await clinic.database.addSession(of: clinic.id(.patient))
            let newer = try await clinic.database.addSession(of: clinic.id(.patient))
            let first = try await page(clinic, as: .patient, "?limit=2")
            #expect(first.ids == [newer.description, older.description])
            try await clinic.database.query("DELETE FROM app.therapy_sessions WHERE id = \(older.rawValue)")
            let cursor = try #require(first.cursor)
            let second = try await page(clinic, as: .patient, "?limit=2&cursor=\(cursor)")
            #expect(second.ids == [clinic.session.description])
            #expect(second.cursor == nil)
        }
    }
}
