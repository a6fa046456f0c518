import Domain
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// The commands `user`, `assign` and `unassign`.
@Suite(.deadline) struct AccountTests {
    @Test("`user add` prints only the new id, and makes the account as asked", arguments: Role.allCases)
    func add(role: Role) async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let printed = try await program.lines(
                "user", "add", "--email", " Ann@Test.Example ", "--name", "Ann Ámann", "--role", role.rawValue)
            let id = try #require(printed.first.flatMap { UserID($0) })
            #expect(printed == ["\(id)"])
            #expect(
                try await program.lines("user", "list") == ["\(id)\t\(role)\tactive\tann@test.example\tAnn Ámann"])
        }
    }

    @Test("Passwords come from standard input; `set-password` replaces the password and ends the sign-ins")
    func passwords() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            _ = try await program.lines(
                "user", "add", "--email", "ann@test.example", "--name", "Ann", "--role", "patient", "--password-stdin",
                input: "first password of Ann\nsecond line\n")
            try await withServer(over: database) { server async throws in
                func login(_ password: String) async throws -> TestResponse {
                    try await server.post(
                        "/api/auth/login", #"{"email": "ann@test.example", "password": "\#(password)"}"#)
                }
                let first = try await login("first password of Ann")
                #expect(first.status == 200)
                let token = try first.json()["access_token"] as? String
                let refreshToken = try #require(try first.json()["refresh_token"] as? String)
                #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 200)

                let change = try await program.run(
                    "user", "set-password", "--email", "ann@test.example", input: "second password of Ann\n")
                #expect(change.status == 0)
                #expect(change.output == "")
                #expect(try await login("first password of Ann").status == 401)
                #expect(try await login("second password of Ann").status == 200)
                #expect(try await server.request(.GET, "/api/auth/me", token: token).status == 401)
                let refresh = try await server.post("/api/auth/refresh", #"{"refresh_token":"\#(refreshToken)"}"#)
                #expect(refresh.status == 401)
            }
        }
    }

    @Test("A deactivated account gets 403, and its earlier tokens get 401 once it is activated")
    func deactivate() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let user = try await database.addUser(.patient, email: "ann@test.example")
            try await withServer(over: database) { server async throws in
                let token = try await server.token(user)
                for (command, state, status) in [("deactivate", "inactive", 403), ("activate", "active", 401)] {
                    let run = try await program.run("user", command, "--email", "ANN@test.example")
                    #expect(run.status == 0)
                    #expect(run.output == "")
                    #expect(try await program.lines("user", "list")[0].contains("\t\(state)\t"))
                    #expect(try await server.request(.GET, "/api/sessions", token: token).status == status)
                }
                let new = try await server.token(user)
                #expect(try await server.request(.GET, "/api/sessions", token: new).status == 200)
            }
        }
    }

    @Test("`assign` begins an assignment and may be repeated; `unassign` ends it")
    func assign() async throws {
        try await withDatabase { database in
            let program = Program.serving(database)
            let people = ["--therapist", "t@test.example", "--patient", "p@test.example"]
            _ = try await database.addUser(.therapist, email: "t@test.example")
            _ = try await database.addUser(.patient, email: "p@test.example")
            for (command, isActive) in [("assign", true), ("assign", true), ("unassign", false), ("assign", true)] {
                let run = try await runProgram(builtProgram, [command] + people, environment: program.environment)
                #expect(run.status == 0, "\(run.errorOutput)")
                #expect(run.output == "", "\(run.errorOutput)")
                let rows = try await database.query("SELECT is_active FROM app.therapist_patients")
                #expect(try rows.map { try $0.decode(0, as: Bool.self) } == [isActive])
            }
        }
    }

    @Test(
        "An impossible command gives status 1, one line on standard error, and no standard output",
        arguments: [
            (["user", "add", "--email", "ann@test.example", "--name", "Other", "--role", "patient"], ""),
            (["user", "add", "--email", "nonsense", "--name", "A", "--role", "patient"], ""),
            (["user", "add", "--email", "new@test.example", "--name", "", "--role", "patient"], ""),
            (
                ["user", "add", "--email", "new@test.example", "--name", "A", "--role", "patient", "--password-stdin"],
                ""
            ),
            (
                ["user", "add", "--email", "new@test.example", "--name", "A", "--role", "patient", "--password-stdin"],
                "x\n"
            ),
            (
                [
                    "user", "add", "--email", "newcomer@a.example", "--name", "A", "--role", "patient",
                    "--password-stdin",
                ],
                "a newcomer in town\n"
            ),
            (["user", "set-password", "--email", "ann@test.example"], "password123\n"),
            (["user", "deactivate", "--email", "nobody@test.example"], ""),
            (["user", "activate", "--email", "nobody@test.example"], ""),
            (["user", "set-password", "--email", "nobody@test.example"], "a long enough password\n"),
            (["user", "set-password", "--email", "ann@test.example"], "\n"),
            (["assign", "--therapist", "ann@test.example", "--patient", "ann@test.example"], ""),
            (["assign", "--therapist", "nobody@test.example", "--patient", "ann@test.example"], ""),
            (["unassign", "--therapist", "bob@test.example", "--patient", "ann@test.example"], ""),
            (["token", "--email", "nobody@test.example"], ""),
            (["token", "--email", "off@test.example"], ""),
        ])
    func impossible(command: [String], input: String) async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.patient, email: "ann@test.example")
            _ = try await database.addUser(.therapist, email: "bob@test.example")
            _ = try await database.addUser(.patient, email: "off@test.example", isActive: false)
            let run = try await runProgram(
                builtProgram, command, environment: Program.serving(database).environment, input: input)
            #expect(run.status == 1)
            #expect(run.output == "")
            #expect(run.errorLines.count == 1, "\(run.errorOutput)")
            #expect(try await database.query("SELECT FROM app.users").count == 3)
        }
    }
}
