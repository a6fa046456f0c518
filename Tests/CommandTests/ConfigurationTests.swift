import Domain
import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// A missing or bad setting gives status 78, and one line with the name of the setting and the remedy.
@Suite(.serialized, .deadline) struct ConfigurationTests {
    /// Good settings for a database that does not run.
    ///
    /// The program reads the settings before it connects.
    private static let good = ["DATABASE_URL": "host=/nowhere dbname=x", "JWT_SECRET": Program.secret]

    /// A setting with a bad value.
    struct Bad: Sendable, CustomTestStringConvertible {
        var name: String
        var value: String
        var testDescription: String { "\(name)=\(value)" }
    }

    private static let bad: [Bad] = [
        ("DATABASE_URL", ["nonsense", "host=x hocus=pocus", "postgres://[::1", ""]),
        ("DATABASE_LISTEN_URL", ["nonsense"]),
        ("DATABASE_POOLER", ["session", "on", "OFF"]),
        ("DATABASE_POOL_SIZE", ["0", "-1", "eight", "1.5", "99999999999999999999"]),
        ("HOST", ["no such host", "http://127.0.0.1"]),
        ("PORT", ["-1", "65536", "http", "80.5"]),
        ("PUBLIC_URL", ["bridge.example.org", "ftp://bridge.example.org", "http://", "not a url"]),
        ("JWT_SECRET", ["", "short", String(repeating: "x", count: 31)]),
        ("JWT_ACCESS_TTL", ["0", "-5", "soon"]),
        ("JWT_REFRESH_TTL", ["0", "-5", "never"]),
        ("JWT_REFRESH_GRACE", ["-1", "301", "soon"]), ("SIGN_IN_MAX_AGE", ["0", "-1", "never"]),
        ("SIGN_INS_PER_USER", ["0", "-1", "1.5", "many"]), ("LOGIN_MAX_PER_ACCOUNT", ["-1", "x"]),
        ("LOGIN_MAX_PER_ADDRESS", ["-1", "x"]),
        ("JWT_PREVIOUS_SECRETS", ["short", "\(Program.secret),short", "\(Program.secret),"]),
        ("LOGIN_MAX_FAILURES_PER_ACCOUNT", ["-1", "few"]),
        ("LOGIN_MAX_FAILURES_PER_ADDRESS", ["-1", "few"]),
        ("LOGIN_FAILURE_PERIOD", ["0", "-1", "15min"]),
        ("TRUSTED_PROXIES", ["proxy.example.org", "10.0.0.0/33", "10.0.0.0/8/8", "10.0.0.0/", "::1/129", "10.0.0/8"]),
        (
            "SSE_CORS_ORIGIN",
            ["*", "null", "bridge.example.org", "https://a.example/path", "https://a.example,ftp://b"]
        ),
        ("SSE_CORS_ORIGIN", ["none, https://a.example"]),
        ("JWT_SECRET_FILE", ["/nowhere/key"]),
        ("SSE_HEARTBEAT_INTERVAL", ["0", "-1", "often", "nan", "inf"]),
        ("SSE_UPDATE_INTERVAL", ["0", "-1", "often"]),
        ("SSE_MAX_STREAMS", ["-1", "many"]),
        ("SSE_MAX_STREAMS_PER_USER", ["-1", "many"]),
        ("SSE_MAX_LIFETIME", ["0", "-1", "long"]),
        ("UPLOAD_MAX_BYTES", ["0", "-1", "500MB"]), ("UPLOAD_BODY_TIMEOUT", ["0", "-1", "2m"]),
        ("UPLOAD_RESUME_TTL", ["0", "0.5", "1d"]),
        ("METRICS_PORT", ["0", "-1", "65536", "on", "9464.0", "8000"]),
        ("PIPELINE_STAGE_MEMORY", ["-1", "1GiB"]), ("PIPELINE_STAGE_NETWORK", ["no", "OFF"]),
        ("PIPELINE_STAGE_WRITES", ["/a,,/b", ","]), ("PIPELINE_CAGE", ["on", "Required"]),
        ("WEBHOOK_PRIVATE_TARGETS", ["yes", "ON"]),
        ("LOG_LEVEL", ["loud", "INFO"]),
        ("LOG_FORMAT", ["xml"]),
        ("SHUTDOWN_TIMEOUT", ["-1", "soon"]),
    ].flatMap { (name, values) in values.map { Bad(name: name, value: $0) } }

    @Test("A bad value stops `serve` with status 78; the message names the setting and shows no secret", arguments: bad)
    func badValue(bad: Bad) async throws {
        var settings = Self.good
        settings[bad.name] = bad.value
        let run = try await Program(environment: settings).run("serve")
        expectWrongSetting(run, naming: bad.name)
        if bad.name == "JWT_SECRET" && bad.value.count > 5 { #expect(!run.errorOutput.contains(bad.value)) }
    }

    @Test("An identity provider needs all three settings and an existing file")
    func identityProvider() async throws {
        let provider = [
            "JWT_JWKS_FILE": "/nowhere/keys.json", "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "tb",
        ]
        for missing in provider.keys {
            var settings = Self.good.merging(provider) { _, new in new }
            settings[missing] = nil
            expectWrongSetting(try await Program(environment: settings).run("serve"), naming: missing)
        }
        let settings = Self.good.merging(provider) { _, new in new }
        expectWrongSetting(try await Program(environment: settings).run("serve"), naming: "JWT_JWKS_FILE")
    }

    @Test("`serve` refuses an identity provider that the database does not know, and names the mend")
    func unregisteredProvider() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-keys-\(UUID().uuidString)")
        try ProviderForge().jwks().write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let provider = [
            "JWT_JWKS_FILE": file.path(percentEncoded: false), "JWT_ISSUER": ProviderForge.issuer,
            "JWT_AUDIENCE": ProviderForge.audience,
        ]
        try await withDatabase { database in
            let run = try await Program.serving(database, provider).run("serve")
            expectWrongSetting(run, naming: "JWT_ISSUER")
            #expect(run.errorOutput.contains("INSERT INTO app.identity_providers"))

            try await database.query("INSERT INTO app.identity_providers (issuer) VALUES (\(ProviderForge.issuer))")
            let (_, end) = try await Program.serving(database, provider).serve { $0.terminate() }
            #expect(end.status == 0)
        }
    }

    @Test(
        "`serve` and `work` name a missing required setting", arguments: ["serve", "work"],
        ["DATABASE_URL", "JWT_SECRET"])
    func missing(command: String, name: String) async throws {
        var settings = Self.good
        settings[name] = nil
        expectWrongSetting(try await Program(environment: settings).run(command), naming: name)
    }

    @Test(
        "An operator's command needs a good DATABASE_MIGRATE_URL",
        arguments: [
            ["migrate", "up"], ["migrate", "up", "--dry-run"], ["migrate", "roles"], ["migrate", "adopt"],
            ["migrate", "status"], ["migrate", "validate"],
            ["user", "add", "--email", "a@b.example", "--name", "A", "--role", "admin"], ["user", "list"],
            ["user", "deactivate", "--email", "a@b.example"], ["user", "activate", "--email", "a@b.example"],
            ["assign", "--therapist", "a@b.example", "--patient", "c@d.example"],
            ["unassign", "--therapist", "a@b.example", "--patient", "c@d.example"],
            ["token", "--email", "a@b.example"],
        ], [nil, "nonsense"])
    func operators(command: [String], url: String?) async throws {
        var settings = Self.good
        settings["DATABASE_MIGRATE_URL"] = url
        let run = try await runProgram(builtProgram, command, environment: settings)
        expectWrongSetting(run, naming: "DATABASE_MIGRATE_URL")
    }

    @Test("`token` needs the server's secret")
    func tokenSecret() async throws {
        try await withDatabase { database in
            _ = try await database.addUser(.admin, email: "admin@test.example")
            var program = Program.serving(database)
            program.environment["JWT_SECRET"] = nil
            expectWrongSetting(try await program.run("token", "--email", "admin@test.example"), naming: "JWT_SECRET")
        }
    }

    @Test(
        "`serve` and `work` name the missing migrations and the command that applies them",
        arguments: ["serve", "work"])
    func schemaNotCurrent(command: String) async throws {
        try await withDatabase { database in
            try await database.query("DELETE FROM app.schema_migrations WHERE version = 6")
            let run = try await Program.serving(database).run(command)
            expectWrongSetting(run, naming: "0006_logs.sql")
            #expect(run.errorOutput.contains("therapybridge migrate up"))
            #expect(!run.errorOutput.contains("0005_"))
        }
    }

    @Test("On a bare database, `serve` names the migrations")
    func bareDatabase() async throws {
        try await withBareDatabase { database in
            // The server's role may not exist yet.
            let run = try await Program.serving(database, ["DATABASE_URL": database.url()]).run("serve")
            expectWrongSetting(run, naming: "0001_schema.sql, 0002_users.sql")
            #expect(run.errorOutput.contains("therapybridge migrate up"))
        }
    }

    @Test("`serve` starts on a schema with a newer migration")
    func newerSchema() async throws {
        try await withDatabase { database in
            try await database.query("INSERT INTO app.schema_migrations (version, name) VALUES (9999, 'of_the_future')")
            let (_, end) = try await Program.serving(database).serve { server in server.terminate() }
            #expect(end.status == 0)
        }
    }

    @Test("A role that may not read the ledger is a wrong DATABASE_URL")
    func wrongRole() async throws {
        try await withDatabase { database in
            let settings = ["DATABASE_URL": database.url("therapybridge_pipeline")]
            expectWrongSetting(try await Program.serving(database, settings).run("serve"), naming: "DATABASE_URL")
        }
    }

    @Test(
        "Settings that name something on the machine are checked after the schema",
        arguments: [
            ("HOST", "host.invalid"), ("HOST", "192.0.2.1"), ("UPLOAD_DIR", "/dev/null/uploads"),
            ("PIPELINE_TRANSCRIBE_COMMAND", "sh -c 'unfinished"),
            ("PIPELINE_NOTES_COMMAND", "sh -c \"unfinished"),
        ])
    func badOnTheMachine(name: String, value: String) async throws {
        try await withDatabase { database in
            let run = try await Program.serving(database, [name: value, "LOG_LEVEL": "critical"]).run("serve")
            expectWrongSetting(run, naming: name)
        }
    }

    @Test("`serve` and `work` refuse an UPLOAD_DIR that others may write to or replace", arguments: ["serve", "work"])
    func sharedUploads(command: String) async throws {
        let parent = FileManager.default.temporaryDirectory.appending(path: "tb-shared-\(UUID().uuidString.prefix(8))")
        let folder = parent.appending(path: "uploads").path(percentEncoded: false)
        defer { try? FileManager.default.removeItem(at: parent) }
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try await withDatabase { database in
            let program = Program.serving(database, ["UPLOAD_DIR": folder, "LOG_LEVEL": "critical"])
            for (path, words) in [
                (folder, "others may write to it"), (parent.path(percentEncoded: false), "others may replace it"),
            ] {
                try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: path)
                let run = try await program.run(command)
                expectWrongSetting(run, naming: "UPLOAD_DIR")
                #expect(run.errorOutput.contains(words), "\(run.errorOutput)")
                #expect(run.errorOutput.contains("chmod go-w"))
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
            }
        }
    }

    private func expectWrongSetting(
        _ run: ProgramRun, naming name: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(run.status == 78, "\(run.errorOutput)", sourceLocation: sourceLocation)
        #expect(run.output == "", sourceLocation: sourceLocation)
        #expect(run.errorLines.count == 1, "\(run.errorOutput)", sourceLocation: sourceLocation)
        let line = run.errorLines.last ?? ""
        #expect(line.hasPrefix("therapybridge: \(name)"), "\(line)", sourceLocation: sourceLocation)
        #expect(line.contains(/: [a-z].{10}/), "\(line)", sourceLocation: sourceLocation)
    }
}
