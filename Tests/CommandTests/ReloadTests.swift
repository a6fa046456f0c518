import Domain
import Foundation
import PostgresTestSupport
import TestSupport
import Testing

/// SIGHUP: what a running server reads again.
@Suite(.deadline) struct ReloadTests {
    private static func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-reload-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }

    private static func write(_ text: String, to file: URL) throws {
        try Data(text.utf8).write(to: file)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o600], ofItemAtPath: file.path(percentEncoded: false))
    }

    @Test("SIGHUP reads the key of the tokens again; a bad file changes nothing, and the log says so")
    func key() async throws {
        try await withDatabase { database in
            try await Self.withFolder { folder in
                let file = folder.appending(path: "key")
                _ = try await database.addUser(.admin, email: "a@test.example")
                let other = Program.secret + " another"
                let old = try await Program.serving(database).lines("token", "--email", "a@test.example")[0]
                let new = try await Program.serving(database, ["JWT_SECRET": other])
                    .lines("token", "--email", "a@test.example")[0]
                try Self.write(Program.secret, to: file)
                var program = Program.serving(database, ["JWT_SECRET_FILE": file.path(percentEncoded: false)])
                program.environment["JWT_SECRET"] = nil
                let (_, end) = try await program.serve(["--no-worker"]) { server in
                    func status(_ token: String) async throws -> Int {
                        try await server.get("/api/auth/me", token: token).status
                    }
                    #expect(try await status(old) == 200)
                    #expect(try await status(new) == 401)
                    try Self.write("short", to: file)
                    kill(server.processID, SIGHUP)
                    try Self.write(other, to: file)
                    try await eventually("the new key counts") {
                        kill(server.processID, SIGHUP)
                        return try await status(new) == 200
                    }
                    #expect(try await status(old) == 401)
                    try Self.write("short", to: file)
                    kill(server.processID, SIGHUP)
                    #expect(try await status(new) == 200)
                    server.terminate()
                }
                #expect(end.status == 0)
                #expect(end.log.contains("read again"))
            }
        }
    }

    @Test("SIGHUP reads the level of the log again")
    func level() async throws {
        try await withDatabase { database in
            try await Self.withFolder { folder in
                let file = folder.appending(path: "level")
                try Self.write("info\n", to: file)
                let program = Program.serving(
                    database, ["LOG_LEVEL_FILE": file.path(percentEncoded: false), "LOG_LEVEL": "error"])
                let (_, end) = try await program.serve(["--no-worker"]) { server in
                    try Self.write("debug", to: file)
                    kill(server.processID, SIGHUP)
                    try await eventually("a request at the new level") {
                        try await server.get("/health/ready").status == 200
                    }
                    server.terminate()
                }
                #expect(end.status == 0)
                #expect(end.log.contains("\"setting\":\"LOG_LEVEL_FILE\""))
            }
        }
    }

    @Test("A bad LOG_LEVEL_FILE stops the start")
    func badLevel() async throws {
        for path in ["/nowhere/level", "/dev/null"] {
            let run = try await Program(environment: ["LOG_LEVEL_FILE": path]).run("serve")
            #expect(run.status == 78)
            #expect(run.errorOutput.contains("LOG_LEVEL_FILE"))
        }
    }
}
