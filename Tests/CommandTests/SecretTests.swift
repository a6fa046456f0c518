import Domain
import Foundation
import Glibc
import LocalPostgres
import PostgresTestSupport
import Subprocess
import SystemPackage
import TestSupport
import Testing

/// The secrets of a running program: `JWT_SECRET_FILE`, the environment and core dumps.
@Suite(.deadline) struct SecretTests {
    @Test("The key may be in a file, with or without a line end", arguments: ["", "\n", "\r\n"])
    func file(end: String) async throws {
        try await withDatabase { database in
            try await withSecretFile(Program.secret + end) { path in
                let user = try await database.addUser(.admin, email: "a@test.example")
                // The same key by the other setting.
                let token = try await Program.serving(database).lines("token", "--email", "a@test.example")[0]
                var program = Program.serving(database, ["JWT_SECRET_FILE": path])
                program.environment["JWT_SECRET"] = nil
                #expect(try await program.lines("token", "--email", "a@test.example").count == 1)
                let (_, end) = try await program.serve { server in
                    let answer = try await server.get("/api/auth/me", token: token)
                    #expect(answer.status == 200)
                    #expect(answer.body.contains(user.description))
                    server.terminate()
                }
                #expect(end.status == 0)
            }
        }
    }

    @Test("A file that others may read, a short or missing one, and both settings together give status 78")
    func badFile() async throws {
        var program = Program(environment: ["DATABASE_URL": "host=/nowhere dbname=x"])
        try await withSecretFile(Program.secret, mode: 0o640) { path in
            program.environment["JWT_SECRET_FILE"] = path
            try await expectRefused(program, "others may read")
        }
        try await withSecretFile("short\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n") { path in
            program.environment["JWT_SECRET_FILE"] = path
            try await expectRefused(program, "at least 32")
        }
        for path in ["/nowhere/key", "/dev/null", "/"] {
            program.environment["JWT_SECRET_FILE"] = path
            try await expectRefused(program, path == "/nowhere/key" ? "cannot be read" : "is not a regular file")
        }
        try await withSecretFile(Program.secret) { path in
            program.environment["JWT_SECRET_FILE"] = path
            program.environment["JWT_SECRET"] = Program.secret
            try await expectRefused(program, "together with JWT_SECRET")
        }
    }

    @Test("`serve` and `work` wipe the secrets from their environment", arguments: ["serve", "work"])
    func environment(command: String) async throws {
        let words = ["an earlier secret of tests alone and long enough", "hush-hush-database", "hush-hush-password"]
        let (listeningSocket, port) = try listenOnLoopback()
        defer { close(listeningSocket) }
        let url = "host=127.0.0.1 port=\(port) dbname=x user=x sslmode=disable gssencmode=disable"
        let settings = [
            "DATABASE_URL": "\(url) password=\(words[1])", "DATABASE_MIGRATE_URL": "\(url) password=\(words[1])",
            "DATABASE_LISTEN_URL": "\(url) password=\(words[1])", "JWT_SECRET": Program.secret,
            "JWT_PREVIOUS_SECRETS": words[0], "PGPASSWORD": words[2], "PORT": "0",
        ]
        try await withStarted(command, settings) { process in
            try await untilConnected(listeningSocket)
            let environment = try String(
                decoding: Data(contentsOf: URL(filePath: "/proc/\(process)/environ")), as: UTF8.self)
            #expect(environment.contains("PATH="))
            for word in words + [Program.secret] { #expect(!environment.contains(word)) }
        }
    }

    /// The program runs as another user: the files of root's own processes always belong to root.
    @Test(
        "`serve` and `work` forbid core dumps and debuggers: their files in /proc belong to root",
        .enabled(
            if: anotherUserCanRun(builtProgram) && access("/usr/bin/setpriv", X_OK) == 0, "needs another Unix user"),
        arguments: ["serve", "work"])
    func dumps(command: String) async throws {
        let (listeningSocket, port) = try listenOnLoopback()
        defer { close(listeningSocket) }
        let settings = [
            "DATABASE_URL": "host=127.0.0.1 port=\(port) dbname=x user=x sslmode=disable gssencmode=disable",
            "JWT_SECRET": Program.secret, "PORT": "0",
        ]
        try await withStarted(command, settings, user: 65_534) { process in
            try await untilConnected(listeningSocket)
            var status = stat()
            try #require(stat("/proc/\(process)/environ", &status) == 0)
            #expect(status.st_uid == 0)
        }
    }

    // MARK: - Parts

    private func expectRefused(
        _ program: Program, _ words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let run = try await program.run("serve")
        #expect(run.status == 78, sourceLocation: sourceLocation)
        #expect(run.errorLines.count == 1, "\(run.errorOutput)", sourceLocation: sourceLocation)
        let line = run.errorLines.last ?? ""
        #expect(line.hasPrefix("therapybridge: JWT_SECRET_FILE: "), "\(line)", sourceLocation: sourceLocation)
        #expect(line.contains(words), "\(line)", sourceLocation: sourceLocation)
    }

    private func withSecretFile(
        _ text: String, mode: Int = 0o600, _ body: (String) async throws -> Void
    ) async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-secret-\(UUID())")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(text.utf8).write(to: file)
        let path = file.path(percentEncoded: false)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        try await body(path)
    }

    /// Starts a command whose database accepts a connection and never answers, and ends it after `body`.
    private func withStarted(
        _ command: String, _ settings: [String: String], user: uid_t? = nil,
        _ body: @escaping @Sendable (pid_t) async throws -> Void
    ) async throws {
        let words =
            user.map { ["/usr/bin/setpriv", "--reuid", "\($0)", "--clear-groups", builtProgram, command] }
            ?? [builtProgram, command]
        _ = try await Subprocess.run(
            .path(FilePath(words[0])), arguments: Arguments(Array(words.dropFirst())),
            environment: .custom(programEnvironment(settings)), input: .none, output: .discarded, error: .discarded
        ) { execution in
            defer { try? execution.send(signal: .kill) }
            try await body(execution.processIdentifier.value)
        }
    }

    /// Waits until the program connects to its database.
    ///
    /// The program has then read its settings.
    private func untilConnected(_ listeningSocket: CInt) async throws {
        try await eventually("a connection to the database") {
            var entry = pollfd(fd: listeningSocket, events: Int16(POLLIN), revents: 0)
            return poll(&entry, 1, 0) == 1
        }
    }
}
