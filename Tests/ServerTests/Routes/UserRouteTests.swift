import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct UserRouteTests {
    private static let members: Set<String> = ["id", "email", "full_name", "role", "is_active", "created_at"]

    private func patch(_ clinic: Clinic, _ id: UserID, _ json: String) async throws -> TestResponse {
        try await clinic.request(
            .PATCH, "/api/users/\(id)", as: .admin, headers: ["Content-Type": "application/json"], body: json)
    }

    /// The addresses on a page, and the cursor of the next page.
    private func page(_ clinic: Clinic, _ query: String) async throws -> (addresses: [String], cursor: String?) {
        let response = try await clinic.request(.GET, "/api/users\(query)", as: .admin)
        #expect(response.status == 200, "\(query)")
        let json = try response.json()
        #expect(Set(json.keys) == ["items", "next_cursor"])
        let items = try #require(json["items"] as? [[String: any Sendable]])
        for item in items { #expect(Set(item.keys) == Self.members) }
        return (items.compactMap { $0["email"] as? String }, json["next_cursor"] as? String)
    }

    @Test("An administrator adds an account that can sign in")
    func make() async throws {
        try await withClinic { clinic in
            let response = try await clinic.post(
                "/api/users",
                #"{"email":" New@Clinic.Example ","full_name":" Änne Neu ","role":"therapist","password":"long enough"}"#,
                as: .admin)
            #expect(response.status == 201)
            let user = try response.json()
            #expect(Set(user.keys) == Self.members)
            let id = try #require(user["id"] as? String)
            #expect(response.headers["Location"] == ["/api/users/\(id)"])
            #expect(user["email"] as? String == "new@clinic.example")
            #expect(user["full_name"] as? String == "Änne Neu")
            #expect(user["role"] as? String == "therapist")
            #expect(user["is_active"] as? Bool == true)
            let shown = try await clinic.request(.GET, "/api/users/\(id)", as: .admin)
            #expect(try shown.json() as NSDictionary == user as NSDictionary)
            let login = #"{"email":"new@clinic.example","password":"long enough"}"#
            #expect(try await clinic.post("/api/auth/login", login, as: nil).status == 200)
            // An account without a password cannot sign in.
            let bare = #"{"email":"bare@clinic.example","full_name":"B","role":"pipeline"}"#
            #expect(try await clinic.post("/api/users", bare, as: .admin).status == 201)
            let attempt = #"{"email":"bare@clinic.example","password":""}"#
            #expect(try await clinic.post("/api/auth/login", attempt, as: nil).status == 401)
        }
    }

    @Test("An invalid account gets 422 with the name of the member")
    func refusals() async throws {
        try await withClinic { clinic in
            func body(_ changes: [String: any Sendable]) throws -> String {
                let good: [String: any Sendable] = ["email": "n@clinic.example", "full_name": "N", "role": "patient"]
                let members = good.merging(changes) { _, new in new }.filter { !($0.value is Void) }
                return String(decoding: try JSONSerialization.data(withJSONObject: members), as: UTF8.self)
            }
            let cases: [([String: any Sendable], String)] = [
                (["email": ()], "email"), (["email": "nobody"], "email"), (["email": NSNull()], "email"),
                (["email": 7], "email"), (["email": String(repeating: "x", count: 250) + "@y.de"], "email"),
                // 130 characters, but 260 scalars. The database counts scalars.
                (["email": String(repeating: "e\u{301}", count: 130) + "\u{323}@y.de"], "email"),
                (["full_name": ()], "full_name"), (["full_name": " "], "full_name"),
                (["full_name": "a\u{0}b"], "full_name"), (["full_name": "a\nb"], "full_name"),
                (["full_name": String(repeating: "x\u{323}\u{301}", count: 67)], "full_name"),
                (["role": ()], "role"), (["role": "owner"], "role"), (["password": "short"], "password"),
                (["password": 7], "password"), (["passwrod": "long enough"], "passwrod"),
                (["is_active": false], "is_active"),
            ]
            for (changes, name) in cases {
                let response = try await clinic.post("/api/users", try body(changes), as: .admin)
                expectProblem(response, 422, "invalid-value", detail: name, "\(changes)")
            }
            let taken = try body(["email": "THERAPIST@clinic.example"])
            expectProblem(
                try await clinic.post("/api/users", taken, as: .admin), 409, "conflict", detail: "address")
            expectProblem(try await clinic.post("/api/users", "[]", as: .admin), 422, "invalid-value")
            expectProblem(try await clinic.post("/api/users", "{", as: .admin), 400, "malformed-request")
            #expect(try await page(clinic, "?limit=200").addresses.count == Clinic.Caller.allCases.count)
        }
    }

    @Test("The list of accounts is sorted by address, filtered and paged, and holds no hash")
    func list() async throws {
        try await withClinic { clinic in
            // A new hash would end the administrator's sign-in.
            try await clinic.database.query(
                "UPDATE app.users SET password_hash = '$scrypt$secret' WHERE id <> \(clinic.id(.admin).rawValue)")
            let all = Clinic.Caller.allCases.map { "\($0.rawValue.lowercased())@clinic.example" }
            let whole = try await page(clinic, "")
            #expect(Set(whole.addresses.map { $0.lowercased() }) == Set(all))
            #expect(whole.cursor == nil)
            var (paged, cursor) = try await page(clinic, "?limit=3")
            #expect(paged.count == 3)
            // An account that is added before the page moves nothing.
            _ = try await clinic.database.addUser(.patient, email: "a@clinic.example")
            while let next = cursor {
                let more = try await page(clinic, "?limit=3&cursor=\(next)")
                paged += more.addresses
                cursor = more.cursor
            }
            #expect(paged == whole.addresses)

            _ = try await clinic.database.addUser(.admin, email: "100%_@clinic.example", isActive: false)
            #expect(try await page(clinic, "?role=pipeline").addresses == ["pipeline@clinic.example"])
            #expect(try await page(clinic, "?is_active=false").addresses == ["100%_@clinic.example"])
            #expect(try await page(clinic, "?is_active=true&role=admin").addresses == ["admin@clinic.example"])
            #expect(try await page(clinic, "?q=PIPE").addresses == ["pipeline@clinic.example"])
            #expect(try await page(clinic, "?q=%25_").addresses == ["100%_@clinic.example"])
            #expect(try await page(clinic, "?q=test%20person&role=pipeline").addresses.count == 1)
            #expect(try await page(clinic, "?q=nobody").addresses == [])
            let text = try await clinic.request(.GET, "/api/users?limit=200", as: .admin).text
            #expect(!text.contains("scrypt"))
            #expect(!text.contains("password"))

            for (query, name) in [
                ("limit=0", "limit"), ("limit=201", "limit"), ("limit=x", "limit"), ("role=owner", "role"),
                ("is_active=1", "is_active"), ("cursor=x", "cursor"), ("cursor=\(UserID.random())", "cursor"),
                ("q=%00", "q"), ("q=" + String(repeating: "x", count: 201), "q"),
            ] {
                let response = try await clinic.request(.GET, "/api/users?\(query)", as: .admin)
                expectProblem(response, 422, "invalid-value", detail: name, "\(query)")
            }
        }
    }

    @Test("Name, role and activity can be changed each alone, and nothing else")
    func change() async throws {
        try await withClinic { clinic in
            let id = clinic.id(.stranger)
            let before = try await clinic.request(.GET, "/api/users/\(id)", as: .admin).json()
            for members in [
                [#""full_name":"Other""#], [#""role":"pipeline""#], [#""is_active":false"#],
                [#""is_active":true"#, #""role":"therapist""#],
            ] {
                let response = try await patch(clinic, id, "{\(members.joined(separator: ","))}")
                #expect(response.status == 200)
                for member in members { #expect(response.text.contains(member), "\(response.text)") }
            }
            var expected = before
            expected["full_name"] = "Other"
            let after = try await clinic.request(.GET, "/api/users/\(id)", as: .admin).json()
            #expect(after as NSDictionary == expected as NSDictionary)

            for (body, name) in [
                ("{}", "at least one"), (#"{"email":"x@y.z"}"#, "email"), (#"{"password":"short"}"#, "password"),
                (#"{"password":null}"#, "password"), (#"{"password":"stranger@clinic.example"}"#, "password"),
                (#"{"id":"\#(id)"}"#, "id"), (#"{"role":null}"#, "role"), (#"{"role":"owner"}"#, "role"),
                (#"{"is_active":"no"}"#, "is_active"), (#"{"full_name":""}"#, "full_name"),
                (#"{"full_name":"A","rolle":"admin"}"#, "rolle"),
            ] {
                expectProblem(try await patch(clinic, id, body), 422, "invalid-value", detail: name, "\(body)")
            }
            expectProblem(try await patch(clinic, .random(), #"{"role":"admin"}"#), 404, "not-found")
            let unchanged = try await clinic.request(.GET, "/api/users/\(id)", as: .admin).json()
            #expect(unchanged as NSDictionary == expected as NSDictionary)
        }
    }

    @Test("A new password by an administrator ends all sign-ins of the account, and the old password is worth nothing")
    func password() async throws {
        try await withClinic { clinic in
            let added = try await clinic.post(
                "/api/users",
                #"{"email":"new@clinic.example","full_name":"N","role":"therapist","password":"first of all"}"#,
                as: .admin)
            let id = try #require((try added.json()["id"] as? String).flatMap { UserID($0) })
            func signIn(_ password: String) async throws -> TestResponse {
                try await clinic.post(
                    "/api/auth/login", #"{"email":"new@clinic.example","password":"\#(password)"}"#, as: nil)
            }
            let token = try #require(try await signIn("first of all").json()["access_token"] as? String)
            #expect(try await clinic.server.request(.GET, "/api/auth/me", token: token).status == 200)
            let changed = try await patch(clinic, id, #"{"password":"second of all","full_name":"Another"}"#)
            #expect(changed.status == 200)
            #expect(try changed.json()["full_name"] as? String == "Another")
            #expect(!changed.text.contains("password"))
            #expect(try await clinic.server.request(.GET, "/api/auth/me", token: token).status == 401)
            #expect(try await signIn("first of all").status == 401)
            #expect(try await signIn("second of all").status == 200)
            expectProblem(
                try await patch(clinic, .random(), #"{"password":"second of all"}"#), 404, "not-found")
        }
    }

    @Test("An administrator cannot deactivate or demote the own account")
    func lastAdministrator() async throws {
        try await withClinic { clinic in
            let own = clinic.id(.admin)
            for body in [#"{"is_active":false}"#, #"{"role":"therapist"}"#, #"{"full_name":"A","role":"patient"}"#] {
                expectProblem(try await patch(clinic, own, body), 409, "conflict", detail: "administrator")
            }
            #expect(try await patch(clinic, own, #"{"full_name":"A","role":"admin","is_active":true}"#).status == 200)
            // Two administrators deactivate each other at the same time. One of them stays.
            for _ in 0..<10 {
                let other = try await clinic.database.addUser(.admin)
                // A round ends the sign-ins of its loser.
                func change(_ user: UserID, by administrator: UserID, _ json: String) async throws -> Int {
                    try await clinic.server.request(
                        .PATCH, "/api/users/\(user)", token: try await clinic.server.token(administrator),
                        headers: ["Content-Type": "application/json"], body: Data(json.utf8)
                    ).status
                }
                async let first = change(other, by: own, #"{"is_active":false}"#)
                async let second = change(own, by: other, #"{"role":"therapist"}"#)
                let statuses = [try await first, try await second].sorted()
                // The loser may find its sign-in ended before, or the right gone after the wait for the lock.
                #expect(statuses == [200, 403] || statuses == [200, 401], "\(statuses)")
                try await clinic.database.query(
                    "UPDATE app.users SET role = 'admin', is_active = (id = \(own.rawValue)) WHERE role = 'admin' OR id = \(own.rawValue)"
                )
            }
        }
    }

    @Test(
        "Deactivating an account or changing its role ends its streams at once",
        arguments: [#"{"is_active":false}"#, #"{"role":"patient"}"#, #"{"role":"pipeline"}"#])
    func endsStreams(change: String) async throws {
        // Without the poll: the notification alone ends the stream.
        try await withServer(["SSE_UPDATE_INTERVAL": "3600"]) { server in
            let clinic = try await Clinic(server)
            let path = clinic.streamOfSession
            try await server.withStream(path, token: clinic.token(.therapist)) { reader in
                _ = try await reader.next("progress")
                #expect(try await patch(clinic, clinic.id(.therapist), change).status == 200)
                #expect(try await reader.rest().map(\.event) == ["revoked"])
            }
            let isRole = change.contains("role")
            // While the account is inactive, its tokens get 403. A new role has ended them.
            #expect(try await clinic.request(.GET, of: "/status", as: .therapist).status == (isRole ? 401 : 403))
            // The role comes back. The assignments of the role do not.
            let back = try await patch(clinic, clinic.id(.therapist), #"{"role":"therapist","is_active":true}"#)
            #expect(back.status == 200)
            #expect(try await clinic.request(.GET, of: "/status", as: .therapist).status == 401)
            let token = try await server.token(clinic.id(.therapist))
            let seen = try await server.request(.GET, "/api/sessions/\(clinic.session)/status", token: token).status
            #expect(seen == (isRole ? 403 : 200))
        }
    }
}
