import Foundation
import PostgresTestSupport
import TestSupport
import Testing

/// `therapybridge cage` and `PIPELINE_CAGE` on hosts with and without the kernel's layers, as root and as an ordinary user.
@Suite("The command cage", .deadline) struct CageCommandTests {
    /// A host that seems to lack parts of the kernel, and who runs the program on it.
    struct Host: Sendable, CustomTestStringConvertible {
        /// What `without-layers` takes away.
        var lacks: [String]
        var isRoot: Bool

        var testDescription: String {
            "\(isRoot ? "root" : "a user") \(lacks.isEmpty ? "with all" : "without " + lacks.joined(separator: " and "))"
        }

        static let all = [[], ["landlock"], ["namespaces"], ["mounts"], ["landlock", "namespaces"]].flatMap { lacks in
            callers.map { Host(lacks: lacks, isRoot: $0) }
        }

        /// Whether root runs the program: as root and as a user if this process can do both.
        private static var callers: [Bool] {
            guard geteuid() == 0 else { return [false] }
            return anotherUserCanRun(builtProgram) ? [true, false] : [true]
        }

        /// Whether a stage can be kept from other recordings.
        ///
        /// Without mounts, Landlock does it.
        var keepsRecordingsApart: Bool { !lacks.contains("landlock") || !lacks.contains("namespaces") }

        /// Runs a command of the program on this host.
        func run(
            _ command: String, program: String = builtProgram, _ settings: [String: String]
        ) async throws -> ProgramRun {
            let tools = URL(filePath: builtProgram).deletingLastPathComponent()
            var words = [tools.appending(path: "without-layers").path(percentEncoded: false)]
            words += lacks + ["--", program, command]
            if geteuid() == 0, !isRoot {
                words = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + words
            }
            return try await runProgram(words[0], Array(words.dropFirst()), environment: settings)
        }
    }

    /// Lends a work folder that belongs to the user of the host.
    private func withWork<Result>(_ host: Host, _ body: (String) async throws -> Result) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-cage-\(UUID().uuidString)")
        let path = folder.path(percentEncoded: false)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: path) }
        if geteuid() == 0, !host.isRoot { chown(path, 65_534, 65_534) }
        return try await body(path)
    }

    @Test("Each layer is listed with what it rests on, and only what was tried is called active", arguments: Host.all)
    func layers(host: Host) async throws {
        try await withWork(host) { work in
            let run = try await host.run("cage", ["PIPELINE_WORK_DIR": work])
            #expect(run.status == 0, "\(run.errorOutput)")
            let rows = run.lines.map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
            #expect(rows.map(\.first) == ["files", "processes", "network", "calls", "count", "account"])
            #expect(rows.allSatisfy { $0.count == 3 && ["active", "missing"].contains($0[1]) && !$0[2].isEmpty })
            let states = Dictionary(uniqueKeysWithValues: rows.map { ($0[0], ($0[1], $0[2])) })
            #expect((states["files"]?.0 == "active") == host.keepsRecordingsApart, "\(run.output)")
            #expect(states["network"]?.0 == "active")
            #expect(states["calls"]?.0 == "active")
            #expect(states["account"]?.0 == "active")
            // The kernel counts processes by user namespace alone.
            #expect((states["count"]?.0 == "active") == !host.lacks.contains("namespaces"), "\(run.output)")
            // Of other users' processes, a stage of root sees the names unless /proc is hidden.
            #expect((states["processes"]?.0 == "active") == host.keepsRecordingsApart, "\(run.output)")
            if host.lacks.contains("landlock") { #expect(states["files"]?.1.contains("Landlock version") == false) }
            #expect(try FileManager.default.contentsOfDirectory(atPath: work).isEmpty)
        }
    }

    @Test(
        "Stages of root execute the program in a folder that is closed to others, as /root is",
        .enabled(if: geteuid() == 0, "needs root"), arguments: [[], ["namespaces"], ["landlock", "namespaces"]])
    func closedFolder(lacks: [String]) async throws {
        let host = Host(lacks: lacks, isRoot: true)
        try await withWork(host) { work in
            let closed = work + "/closed"
            try FileManager.default.createDirectory(
                atPath: closed, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
            let program = closed + "/therapybridge"
            try FileManager.default.copyItem(atPath: builtProgram, toPath: program)
            let run = try await host.run("cage", program: program, ["PIPELINE_WORK_DIR": work])
            #expect(run.lines.contains { $0.hasPrefix("account\tactive\t") }, "\(run.output)")
        }
    }

    @Test("PIPELINE_CAGE=required starts no worker on a host without the layer, and says why", arguments: Host.all)
    func required(host: Host) async throws {
        try await withWork(host) { work in
            let settings = ["PIPELINE_WORK_DIR": work, "PIPELINE_CAGE": "required"]
            #expect(try await host.run("cage", settings).status == (host.keepsRecordingsApart ? 0 : 1))
            // Only the user of the tests reaches the socket of their database.
            guard !host.keepsRecordingsApart, host.isRoot == (geteuid() == 0) else { return }
            try await withDatabase { database in
                let serving = Program.serving(database, settings.merging(["LOG_LEVEL": "critical"]) { $1 }).environment
                let uploads = ["UPLOAD_DIR": work + "/uploads"]
                for command in ["work", "serve"] {
                    let run = try await host.run(command, serving.merging(uploads) { $1 })
                    #expect(run.status == 78, "\(run.errorOutput)")
                    #expect(run.errorLines.count == 1)
                    #expect(run.errorOutput.contains("PIPELINE_CAGE"))
                    #expect(run.errorOutput.contains("Landlock"))
                    #expect(
                        run.errorOutput.contains(
                            "use a kernel with Landlock or user namespaces, or set it to auto"))
                }
            }
        }
    }

    @Test(
        "A variable that belongs to the server or to the loader is not handed to a stage",
        arguments: [
            "JWT_SECRET", "DATABASE_URL", "DATABASE_MIGRATE_URL", "LOG_LEVEL", "UPLOAD_KEY_FILE", "PIPELINE_CAGE",
            "PGPASSWORD",
            "LD_PRELOAD", "TB_SESSION_ID", "HF_HOME,JWT_SECRET", "HF HOME", "HF_HOME,", "A=B",
        ])
    func variables(names: String) async throws {
        let settings = [
            "DATABASE_URL": "dbname=x", "JWT_SECRET": Program.secret, "PIPELINE_STAGE_ENV": names,
            "LOG_LEVEL": "critical",
        ]
        let run = try await Program(environment: settings).run("work")
        #expect(run.status == 78)
        #expect(run.errorLines.count == 1)
        #expect(run.errorOutput.contains("PIPELINE_STAGE_ENV"))
    }

    @Test(
        "A folder that would open recordings, other stages or secrets is refused",
        arguments: ["uploads", "uploads/below", ".", "work", "work/below", "keys", "missing", "link"])
    func writes(name: String) async throws {
        try await withWork(Host(lacks: [], isRoot: true)) { folder in
            for path in ["uploads/below", "work/below", "keys"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder)/\(path)", withIntermediateDirectories: true)
            }
            try FileManager.default.createSymbolicLink(
                atPath: "\(folder)/link", withDestinationPath: "\(folder)/uploads")
            let key = "\(folder)/keys/key"
            try Data(String(repeating: "ab", count: 32).utf8).write(to: URL(filePath: key))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: key)
            try await withDatabase { database in
                let settings = [
                    "UPLOAD_DIR": "\(folder)/uploads", "PIPELINE_WORK_DIR": "\(folder)/work", "UPLOAD_KEY_FILE": key,
                    "PIPELINE_STAGE_WRITES": "\(folder)/\(name)",
                    "LOG_LEVEL": "critical",
                ]
                let run = try await Program.serving(database, settings).run("work")
                #expect(run.status == 78, "\(run.errorOutput)")
                #expect(run.errorLines.count == 1)
                #expect(run.errorOutput.contains("PIPELINE_STAGE_WRITES"))
            }
        }
    }

    /// Only root can mount.
    ///
    /// The mount is gone with the test.
    @Test("A second mount of the recordings is refused as they are", .enabled(if: geteuid() == 0))
    func writesToSecondMount() async throws {
        try await withWork(Host(lacks: [], isRoot: true)) { folder in
            for path in ["uploads", "work", "second"] {
                try FileManager.default.createDirectory(
                    atPath: "\(folder)/\(path)", withIntermediateDirectories: true)
            }
            // MS_BIND of mount(2), and MNT_DETACH of umount2(2).
            try #require(mount("\(folder)/uploads", "\(folder)/second", nil, 4_096, nil) == 0)
            defer { umount2("\(folder)/second", 2) }
            try await withDatabase { database in
                let settings = [
                    "UPLOAD_DIR": "\(folder)/uploads", "PIPELINE_WORK_DIR": "\(folder)/work",
                    "PIPELINE_STAGE_WRITES": "\(folder)/second", "LOG_LEVEL": "critical",
                ]
                let run = try await Program.serving(database, settings).run("work")
                #expect(run.status == 78, "\(run.errorOutput)")
                #expect(run.errorOutput.contains("PIPELINE_STAGE_WRITES"))
            }
        }
    }
}
