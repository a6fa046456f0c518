import CCage
import Cage
import Foundation
import Subprocess
import TestSupport
import Testing

/// As whom a test's cage is set up, and by which mechanisms.
struct CageCase: Sendable, CustomTestStringConvertible {
    /// Who runs the launcher.
    enum Caller: String, Sendable {
        /// Root, which changes to another user.
        case root
        /// A user without rights.
        case user
    }

    var caller: Caller
    var used: Set<CageMechanism>
    /// The newest version of Landlock to use, or nil.
    var landlockVersion: Int?

    var testDescription: String {
        let names = CageMechanism.allCases.filter(used.contains).map(\.rawValue).joined(separator: ", ")
        return "\(caller.rawValue) with \(used == .all ? "all mechanisms" : names.isEmpty ? "none" : names)"
            + (landlockVersion.map { " of version \($0)" } ?? "")
    }

    private static let namespaces: Set<CageMechanism> = [
        .userNamespace, .processNamespace, .mountNamespace, .networkNamespace, .proc,
    ]

    /// All mechanisms; Landlock off; namespaces off; both off, as root and as an ordinary user.
    ///
    /// A test process of an ordinary user cannot become root.
    static let all: [CageCase] = callers.flatMap { caller in
        [
            Set<CageMechanism>.all, Set.all.subtracting([.landlock]), Set.all.subtracting(namespaces),
            Set.all.subtracting(namespaces).subtracting([.landlock]),
        ].map { CageCase(caller: caller, used: $0) }
    }

    /// Landlock without namespaces, as each of its first versions.
    static let landlock: [CageCase] = callers.flatMap { caller in
        (1...6).map { CageCase(caller: caller, used: Set.all.subtracting(namespaces), landlockVersion: $0) }
    }

    /// A host on which no `/proc` of a cage can be mounted, with and without Landlock.
    static let withoutProc: [CageCase] = callers.flatMap { caller in
        [Set.all.subtracting([.proc]), Set.all.subtracting([.proc, .landlock])].map {
            CageCase(caller: caller, used: $0)
        }
    }

    private static var callers: [Caller] {
        guard geteuid() == 0 else { return [.user] }
        return anotherUserCanRun(CageView.resolved("/proc/self/exe")) ? [.root, .user] : [.root]
    }

    /// The cage of the case.
    var cage: Cage {
        var cage = Cage(account: caller == .root ? .ofStages() : nil, used: used)
        cage.landlockVersion = landlockVersion
        let program = CageView.resolved("/proc/self/exe")
        if caller == .user, geteuid() == 0 {
            // setpriv(1) becomes a user without rights and executes the launcher.
            cage.launcher = [
                "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", program,
            ]
        } else {
            cage.launcher = [program]
        }
        return cage
    }
}

/// A folder with a recording, secrets and the directory of a stage.
struct CageScene: Sendable {
    let url: URL

    /// Lends a scene.
    static func with<Result>(_ body: (CageScene) async throws -> Result) async throws -> Result {
        let url = FileManager.default.temporaryDirectory.appending(path: "tb-cage-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: url) }
        let scene = CageScene(url: url)
        for (name, mode) in [("", 0o755), ("uploads", 0o755), ("own", 0o777), ("beside", 0o777)] {
            let path = scene.path(name)
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        }
        // Everybody may read these files: only the cage keeps them from a stage.
        for name in ["uploads/mine", "uploads/other", "secret", "beside/library"] {
            try Data("the words of \(name)\n".utf8).write(to: url.appending(path: name))
            try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: scene.path(name))
        }
        return try await body(scene)
    }

    func path(_ name: String) -> String { CageView.resolved(url.path(percentEncoded: false)) + "/\(name)" }

    /// A site's own stage that runs a script, with the arguments `$1` the recording and `$2` this folder.
    func stage(_ script: String, budget: CageBudget = .site(processorTime: .seconds(60), addressSpace: nil))
        -> CagedCommand
    {
        var command = CagedCommand(
            "/bin/bash", ["-c", script, "bash", path("uploads/mine"), path("")], budget: budget)
        command.view = .host(hiding: [path("uploads"), path("secret")])
        command.view.readable.append(path("uploads/mine"))
        command.view.writable = [path("own")]
        command.environment = ["PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": path("own")]
        command.directory = path("own")
        command.grace = .milliseconds(300)
        return command
    }
}

extension CageScene {
    /// The inspector, which makes attempts and prints what came of each.
    ///
    /// - Parameters:
    ///   - attempts: Names and values, by turns.
    ///   - addressSpace: The limit of memory in bytes, or nil.
    /// - Returns: The command.
    func inspector(_ attempts: [String], addressSpace: Int? = nil) -> CagedCommand {
        let program = CageView.resolved("/proc/self/exe")
        var command = stage("", budget: .site(processorTime: .seconds(60), addressSpace: addressSpace))
        command.program = program
        command.arguments = [CAGE_INSPECTOR] + attempts
        command.view.readable.append(program)
        return command
    }

    /// A file that a stage may read, and that belongs to its user, with its path.
    func library() throws -> String {
        let path = path("beside/library")
        // A stage of root, and of the user that stands for one without rights.
        if geteuid() == 0 { try #require(chown(path, 65_534, 65_534) == 0) }
        return path
    }
}

/// What came of a program in a cage.
struct CageRun: Sendable {
    var status: TerminationStatus
    var output: String
    var errors: String
    var report: CageReport

    /// What came of all attempts of the inspector, by their names.
    ///
    /// If several attempts have one name, the last one counts.
    var allOutcomes: [String: String] {
        let rows = output.split(separator: "\n").map { $0.split(separator: "\t").map(String.init) }
        return Dictionary(rows.filter { $0.count == 2 }.map { ($0[0], $0[1]) }) { $1 }
    }

    /// What came of the inspector's attempts with a name: "ok", the name of an error, or "0" for a call without effect.
    func outcomes(of attempt: String) -> [String] {
        output.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: "\t").map(String.init)
            return fields.count == 2 && fields[0] == attempt ? fields[1] : nil
        }
    }
}

extension Cage {
    /// Runs a program to its end.
    func run(_ command: CagedCommand) async throws -> CageRun {
        try await run(command) { _, _ in }
    }

    /// Runs a program, and lends the launch and the number of the launcher's process.
    func run(
        _ command: CagedCommand, _ body: (CageLaunch, Int32) async throws -> Void
    ) async throws -> CageRun {
        let launch = try launch(command)
        let outcome = try await within("the end of a cage", limit: TestDeadline.test) {
            try await Subprocess.run(
                launch.configuration, input: launch.input, output: .string(limit: 1 << 20),
                error: .string(limit: 1 << 20)
            ) { execution in
                launch.start()
                try await body(launch, execution.processIdentifier.value)
            }
        }
        return CageRun(
            status: outcome.terminationStatus, output: outcome.standardOutput,
            errors: outcome.standardError, report: launch.report())
    }
}

/// The numbers of the processes whose environment has a text.
func processes(with marker: String) -> [Int32] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { Int32($0) }.filter { number in
        guard let bytes = FileManager.default.contents(atPath: "/proc/\(number)/environ") else { return false }
        return bytes.range(of: Data(marker.utf8)) != nil
    }
}
