import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The lists of patients and therapists, and the assignments of a therapist.
@Suite(.deadline) struct PeopleListTests {
    private func page(
        _ clinic: Clinic, _ path: String, as caller: Clinic.Caller, _ query: String = ""
    ) async throws -> (items: [[String: any Sendable]], cursor: String?) {
        let response = try await clinic.request(.GET, "\(path)?\(query)", as: caller)
        try #require(response.status == 200, "\(path) \(query): \(response.text)")
        let json = try response.json()
        #expect(Set(json.keys) == ["items", "next_cursor"])
        let items = try #require(json["items"] as? [[String: any Sendable]])
        for item in items { #expect(Set(item.keys) == ["id", "email", "full_name", "role"]) }
        return (items, json["next_cursor"] as? String)
    }

    private func names(
        _ clinic: Clinic, _ path: String, as caller: Clinic.Caller, _ query: String = ""
    ) async throws -> [String] {
        try await page(clinic, path, as: caller, query).items.compactMap { $0["full_name"] as? String }
    }

    private func ids(_ clinic: Clinic, _ path: String, as caller: Clinic.Caller) async throws -> Set<String> {
        Set(try await page(clinic, path, as: caller).items.compactMap { $0["id"] as? String })
    }

    @Test("A patient lists the therapists with an active assignment, an administrator all, and nobody else any")
    func therapists() async throws {
        try await withClinic { clinic in
            func id(_ caller: Clinic.Caller) -> String { clinic.id(caller).description }
            let path = "/api/therapists"
            let inactive = try await clinic.database.addUser(.therapist, isActive: false)
            try await clinic.database.assign(inactive, to: clinic.id(.patient))
            #expect(try await ids(clinic, path, as: .patient) == [id(.therapist)])
            #expect(try await ids(clinic, path, as: .otherPatient) == [])
            #expect(
                try await ids(clinic, path, as: .admin)
                    == [id(.therapist), id(.stranger), id(.former), id(.nominal), inactive.description])
            for caller in [Clinic.Caller.therapist, .stranger, .pipeline] {
                expectProblem(try await clinic.request(.GET, path, as: caller), 403, "forbidden", "\(caller)")
            }
            // A change of assignments counts from its commit.
            try await clinic.database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            try await clinic.database.assign(clinic.id(.stranger), to: clinic.id(.otherPatient))
            #expect(try await ids(clinic, path, as: .patient) == [])
            #expect(try await ids(clinic, path, as: .otherPatient) == [id(.stranger)])
        }
    }

    @Test(
        "A list of people is sorted by name, searched by name and address, and paged without gaps",
        arguments: [Role.patient, .therapist])
    func pages(role: Role) async throws {
        try await withClinic { clinic in
            let path = role == .patient ? "/api/patients" : "/api/therapists"
            let caller: Clinic.Caller = role == .patient ? .therapist : .patient
            let database = clinic.database
            func add(_ name: String, assigned: Bool = true) async throws {
                let id = try await database.addUser(role)
                try await database.query("UPDATE app.users SET full_name = \(name) WHERE id = \(id.rawValue)")
                guard assigned else { return }
                if role == .patient {
                    try await database.assign(clinic.id(.therapist), to: id)
                } else {
                    try await database.assign(id, to: clinic.id(.patient))
                }
            }
            let expected = ["Ann 100%", "Ann 100%", "ann_b", "Björn", "C\\D", "Test Person", "Zoë"]
            for name in ["Zoë", "ann_b", "Ann 100%", "C\\D", "Björn", "Ann 100%"] { try await add(name) }
            try await add("Anonymous", assigned: false)
            #expect(try await names(clinic, path, as: caller) == expected)
            for limit in 1...8 {
                var paged: [String] = []
                var query = "limit=\(limit)"
                for turn in 0..<20 {
                    let next = try await page(clinic, path, as: caller, query)
                    #expect(next.items.count <= limit)
                    paged += next.items.compactMap { $0["full_name"] as? String }
                    // A person that is added before the page moves nothing.
                    if limit == 2, turn == 2 { try await add("Aaron") }
                    guard let cursor = next.cursor else { break }
                    query = "limit=\(limit)&cursor=\(cursor)"
                }
                #expect(paged == (limit > 2 ? ["Aaron"] : []) + expected, "limit \(limit)")
            }
            for (text, found) in [
                ("%25", ["Ann 100%", "Ann 100%"]), ("_B", ["ann_b"]), ("%5C", ["C\\D"]), ("zo%C3%8B", ["Zoë"]),
                ("nobody", []), ("BJO%CC%88RN", ["Björn"]), ("anonymous", []),
                ("\(role)@clinic", ["Test Person"]),
            ] {
                #expect(try await names(clinic, path, as: caller, "q=\(text)") == found, "\(text)")
            }
            #expect(try await names(clinic, path, as: .admin, "q=anonymous") == ["Anonymous"])
            #expect(try await names(clinic, path, as: caller, "q=") == ["Aaron"] + expected)

            for (query, name) in [
                ("limit=0", "limit"), ("limit=201", "limit"), ("cursor=x", "cursor"),
                ("cursor=\(UserID.random())", "cursor"), ("q=%00", "q"), ("role=admin", "role"),
                ("q=" + String(repeating: "x", count: 201), "q"), ("limit=1&limit=2", "limit"),
            ] {
                let response = try await clinic.request(.GET, "\(path)?\(query)", as: caller)
                expectProblem(response, 422, "invalid-value", detail: name, "\(query)")
            }
        }
    }

    @Test("An administrator lists the assignments of a therapist, with the times of those that have ended")
    func assignments() async throws {
        try await withClinic { clinic in
            func items(_ caller: Clinic.Caller) async throws -> [[String: any Sendable]] {
                let path = "/api/therapists/\(clinic.id(caller))/patients"
                let response = try await clinic.request(.GET, path, as: .admin)
                try #require(response.status == 200, "\(response.text)")
                let json = try response.json()
                #expect(Set(json.keys) == ["items"])
                return try #require(json["items"] as? [[String: any Sendable]])
            }
            let patient = clinic.id(.patient).description
            let active = try #require(try await items(.therapist).first)
            #expect(Set(active.keys) == ["patient", "is_active", "started_at", "ended_at"])
            #expect((active["patient"] as? [String: any Sendable])?["id"] as? String == patient)
            #expect(
                Set((active["patient"] as? [String: any Sendable] ?? [:]).keys) == ["id", "email", "full_name", "role"])
            #expect(active["is_active"] as? Bool == true)
            #expect(active["ended_at"] is NSNull)
            let ended = try #require(try await items(.former).first)
            #expect(ended["is_active"] as? Bool == false)
            #expect(ended["ended_at"] is String)
            #expect(try await items(.stranger).isEmpty)
            // The assignments of a former therapist stay.
            try await clinic.database.query(
                "UPDATE app.users SET role = 'pipeline' WHERE id = \(clinic.id(.former).rawValue)")
            #expect(try await items(.former).count == 1)

            func get(_ id: String, as caller: Clinic.Caller = .admin) async throws -> TestResponse {
                try await clinic.request(.GET, "/api/therapists/\(id)/patients", as: caller)
            }
            expectProblem(try await get(UserID.random().description), 404, "not-found")
            expectProblem(try await get(patient), 422, "invalid-value", detail: "therapist_id: ")
            expectProblem(try await get("x"), 422, "invalid-value", detail: "therapist_id: ")
            for caller in [Clinic.Caller.therapist, .patient, .pipeline] {
                expectProblem(try await get(clinic.id(.therapist).description, as: caller), 403, "forbidden")
            }
        }
    }

    @Test("Every list refuses a parameter that it does not have")
    func unknownParameters() async throws {
        try await withClinic { clinic in
            let session = "/api/sessions/\(clinic.session)"
            for path in [
                "/api/sessions", "/api/patients", "/api/therapists", "/api/users", "/api/audit", "/api/auth/sign-ins",
                "/api/therapists/\(clinic.id(.therapist))/patients", "/api/users/\(clinic.id(.patient))/sign-ins",
                "\(session)/events", "\(session)/history",
            ] {
                #expect(try await clinic.request(.GET, path, as: .admin).status == 200, "\(path)")
                let response = try await clinic.request(.GET, "\(path)?nope=1", as: .admin)
                expectProblem(response, 422, "invalid-value", detail: "nope", "\(path)")
                #expect(
                    response.text.contains(#"{"code":"unknown","field":"nope"}"#)
                        || response.text.contains(#"{"field":"nope","code":"unknown"}"#))
            }
        }
    }
}
