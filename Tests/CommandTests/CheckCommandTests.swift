import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The command `check`.
@Suite(.deadline) struct CheckCommandTests {
    /// Lends a running server, and the token of an account with the role, and ends the server.
    private static func serve(
        _ database: TestDatabase, to role: Role,
        _ body: @escaping @Sendable (RunningServer, String) async throws -> Void
    ) async throws {
        _ = try await database.addUser(role, email: "a@test.example")
        let program = Program.serving(database)
        let token = try await program.lines("token", "--email", "a@test.example")[0]
        let (_, end) = try await program.serve(["--no-worker"]) { server in
            try await body(server, token)
            server.terminate()
        }
        #expect(end.status == 0)
    }

    @Test("It prints the times, exits by the limit, and leaves no probe behind")
    func measures() async throws {
        try await withDatabase { database in
            try await Self.serve(database, to: .admin) { server, token in
                async let good = Program().run("check", "--url", server.baseURL, "--token", token, "--p99-ms", "60000")
                async let bad = Program().run(
                    "check", "--url", server.baseURL + "/", "--token", "-", "--p99-ms", "0.000001", input: token + "\n")
                let (within, over) = try await (good, bad)
                #expect(within.status == 0, "\(within.errorOutput)")
                let line = /commit-to-wire: p50 [0-9]+\.[0-9] ms, p95 [0-9]+\.[0-9] ms, p99 [0-9]+\.[0-9] ms/
                #expect(try within.lines.count == 1 && line.wholeMatch(in: within.lines[0]) != nil, "\(within.lines)")
                #expect(within.errorOutput == "")
                #expect(over.status == 1)
                #expect(over.lines.count == 1)
                #expect(over.errorOutput.hasSuffix(" ms is over --p99-ms\n"), "\(over.errorOutput)")
            }
            #expect(try await database.query("SELECT FROM app.therapy_sessions").isEmpty)
            #expect(try await database.query("SELECT FROM app.users WHERE is_probe").isEmpty)
        }
    }

    @Test("A refusal says in one line what to mend")
    func refusals() async throws {
        try await withDatabase { database in
            try await Self.serve(database, to: .therapist) { server, token in
                let therapist = try await Program().run("check", "--url", server.baseURL, "--token", token)
                #expect(therapist.status == 1)
                #expect(
                    therapist.errorOutput
                        == "therapybridge: the token is of no administrator: only they may probe a server\n")
                let forged = try await Program().run("check", "--url", server.baseURL, "--token", "forged")
                #expect(forged.status == 1)
                #expect(forged.errorOutput.hasPrefix("therapybridge: the server does not accept the token: "))
                let elsewhere = try await Program().run("check", "--url", server.baseURL + "/other", "--token", token)
                #expect(elsewhere.status == 1)
                #expect(elsewhere.errorOutput.hasPrefix("therapybridge: the server has no probes: "))
            }
        }
        let nobody = try await Program().run("check", "--url", "http://127.0.0.1:1", "--token", "t")
        #expect(nobody.status == 1)
        #expect(nobody.errorOutput == "therapybridge: the server cannot be reached: look at --url\n")
    }

    @Test(
        "Wrong usage has status 64",
        arguments: [
            [], ["--url", "http://127.0.0.1:1"], ["--url", "bridge.example.org", "--token", "t"],
            ["--url", "ftp://bridge.example.org", "--token", "t"], ["--url", "https://", "--token", "t"],
            ["--url", "http://127.0.0.1:1", "--token", ""],
            ["--url", "http://127.0.0.1:1", "--token", "t", "--p99-ms", "0"],
            ["--url", "http://127.0.0.1:1", "--token", "t", "--p99-ms", "fast"],
        ])
    func usage(_ arguments: [String]) async throws {
        let run = try await runProgram(builtProgram, ["check"] + arguments, environment: [:], input: "")
        #expect(run.status == 64, "\(run.errorOutput)")
    }
}
