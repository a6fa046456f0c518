import CCage
import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage

/// What a cage on this host keeps a program from, by trial.
///
/// The launcher starts a program that tries what the cage forbids. A layer counts as active only if the attempt has failed.
public struct CageInspection: Sendable, Equatable {
    /// One promise of a cage.
    public enum Layer: String, Sendable, CaseIterable {
        /// The program reads no other recording, and writes to no other folder.
        case files
        /// The program can signal and trace no process outside, and sees none.
        case processes
        /// The bundled programs reach no network, and a site's own stage only if it may.
        case network
        /// The program cannot make the system calls that no stage needs.
        case calls
        /// The number of processes is limited.
        case count
        /// The program does not run as root.
        case account
    }

    /// Whether a layer is active.
    public struct State: Sendable, Equatable {
        /// The layer.
        public let layer: Layer
        /// True if every attempt to get past the layer has failed.
        public let isActive: Bool
        /// The mechanisms that the layer rests on here, or why it is missing.
        public let reason: String
    }

    /// The layers, in the order of ``Layer``.
    public let layers: [State]
    /// The mechanisms that are in force in every cage of this process.
    public let mechanisms: Set<CageMechanism>

    /// Why the trial did not run, or nil if it did.
    public let failure: CageReport.Failure?

    /// True if a layer is active.
    public func isActive(_ layer: Layer) -> Bool { layers.contains { $0.layer == layer && $0.isActive } }

    /// True if a stage is kept from other recordings.
    public var keepsRecordingsApart: Bool { isActive(.files) }

    /// True if the view has no `/proc`, and Landlock keeps the files apart as well.
    private var hasBlindView: Bool {
        mechanisms.isSuperset(of: [.mountNamespace, .landlock]) && !mechanisms.contains(.proc)
    }

    /// The attempts to change a file by a descriptor that was opened for reading: the names that the inspector prints.
    private static let changes = ["mode", "owner", "times", "attribute", "no attribute", "flags", "project"]

    /// `SOCK_RAW`.
    private static let rawSocket = 3

    /// The number of processes that the trial allows.
    private static let processes = 32

    /// Finds the strongest cage of this host.
    ///
    /// A mechanism may fail half-way, for example in a container that has user namespaces and forbids mounts. The trial then
    /// goes on without it. It also goes on without a view that has no `/proc`, if Landlock can take its place: few programs
    /// work without one.
    ///
    /// - Parameters:
    ///   - cage: The cage to begin with.
    ///   - folder: A folder of this process, for the files of the trial.
    /// - Returns: The cage to use, and what it keeps a program from.
    /// - Throws: ``CageFault`` or `SubprocessError` when nothing can be started at all; an error of the file system.
    public static func strongest(
        from cage: Cage = Cage(), in folder: String
    ) async throws -> (cage: Cage, inspection: CageInspection) {
        var cage = cage
        var refused: [CageMechanism: Int32] = [:]
        while true {
            let inspection = try await CageInspection(of: cage, in: folder, refused: refused)
            if inspection.hasBlindView {
                refused[.mountNamespace] = EPERM
                refused[.proc] = EPERM
                cage.used.subtract([.mountNamespace, .proc])
                continue
            }
            guard case .cage(let mechanism?, let errno) = inspection.failure, cage.used.contains(mechanism) else {
                return (cage, inspection)
            }
            refused[mechanism] = errno
            cage.used.remove(mechanism)
            if mechanism == .account { cage.account = nil }
        }
    }

    /// Tries a cage.
    ///
    /// - Parameters:
    ///   - cage: The cage to try.
    ///   - folder: A folder of this process, for the files of the trial.
    ///   - refused: Mechanisms that an earlier trial has found unusable, with the number of the error.
    /// - Throws: ``CageFault`` or `SubprocessError` when nothing can be started at all; an error of the file system.
    public init(
        of cage: Cage = Cage(), in folder: String, refused: [CageMechanism: Int32] = [:]
    ) async throws {
        let own = "\(folder)/own"
        let hidden = "\(folder)/hidden"
        let beside = "\(folder)/beside"
        for path in [own, hidden, beside] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o777])
            // The mode of a new folder passes through the umask.
            try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: path)
        }
        let secret = "\(hidden)/recording"
        // A file that the program may read, and that belongs to its user.
        let library = "\(beside)/library"
        for path in [secret, library] {
            try Data("a recording".utf8).write(to: URL(filePath: path))
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        }
        if let account = cage.account { _ = unsafe chown(library, account.user, account.group) }

        var budget = CageBudget.bundled(processorTime: .seconds(60))
        budget.processes = Self.processes
        var command = CagedCommand(
            "/proc/self/exe",
            [
                CAGE_INSPECTOR, "read", secret, "write", hidden, "write", "/tmp", "change", library, "connect", "9",
                "pair", "\(Self.rawSocket)", "memory", "4096", "rings", "", "signal", "\(getpid())", "trace",
                "\(getppid())", "others", "", "children", "\(Self.processes * 4)",
            ], budget: budget)
        let program = CageView.resolved("/proc/self/exe")
        command.program = program
        command.view = .host(hiding: [hidden])
        command.view.readable += CageView.system(programs: [program]).readable
        command.view.writable = [own]
        command.directory = own

        let launch = try cage.launch(command)
        let outcome = try await run(
            launch.configuration, input: launch.input, output: .string(limit: 65_536), error: .discarded
        ) { _ in launch.start() }
        var report = launch.report()
        report.refused.merge(refused) { new, _ in new }
        self.init(answers: outcome.standardOutput, report: report, runsAsRoot: geteuid() == 0)
    }

    /// Judges what the trial has printed.
    ///
    /// - Parameters:
    ///   - answers: The lines of the inspector: the name of an attempt, a tab, and what came of it.
    ///   - report: What the launcher has reported.
    ///   - runsAsRoot: True if this process runs as root.
    init(answers: String, report: CageReport, runsAsRoot: Bool) {
        mechanisms = Set(report.active.keys)
        failure = report.failure
        let lines = answers.split(separator: "\n").map { $0.split(separator: "\t", maxSplits: 1).map(String.init) }
        func outcomes(of attempt: String) -> [String] {
            lines.filter { $0.count == 2 && $0[0] == attempt }.map { $0[1] }
        }
        /// True if the attempt was made and never succeeded.
        func fails(_ attempt: String) -> Bool {
            let all = outcomes(of: attempt)
            return !all.isEmpty && !all.contains("ok")
        }
        func state(_ layer: Layer, _ isActive: Bool, by mechanisms: [CageMechanism]) -> State {
            State(
                layer: layer, isActive: isActive,
                reason: isActive ? report.basis(mechanisms) : report.absence(of: mechanisms))
        }
        let seesOthers = outcomes(of: "others").first.flatMap(Int.init) ?? .max
        let children = outcomes(of: "children").first.flatMap(Int.init) ?? .max
        let user = outcomes(of: "user").first
        layers = [
            state(
                .files, fails("read") && fails("write") && Self.changes.allSatisfy(fails),
                by: [.mountNamespace, .landlock]),
            state(
                .processes, fails("signal") && fails("trace") && seesOthers == 0,
                by: [.processNamespace, .proc, .landlock, .seccomp]),
            state(.network, fails("connect"), by: [.networkNamespace, .seccomp]),
            state(
                .calls,
                report.active[.seccomp] != nil
                    && ["trace", "pair", "memory", "secret memory", "rings"].allSatisfy(fails),
                by: [.seccomp]),
            state(.count, children < Self.processes, by: [.userNamespace]),
            State(
                layer: .account, isActive: user != nil && user != "0",
                reason: user.map { "stages run as user \($0)" + (runsAsRoot ? ", the worker as root" : "") }
                    ?? "the trial did not run: \(report.failure.map { "\($0)" } ?? "no answer")"),
        ]
    }
}

extension CageReport {
    /// The mechanisms of a list that are in force, as text.
    fileprivate func basis(_ mechanisms: [CageMechanism]) -> String {
        mechanisms.compactMap { mechanism in
            active[mechanism].map { $0 == 0 ? mechanism.rawValue : "\(mechanism.rawValue) version \($0)" }
        }.joined(separator: ", ")
    }

    /// Why the mechanisms of a list are not in force, as text.
    fileprivate func absence(of mechanisms: [CageMechanism]) -> String {
        let reasons = mechanisms.map { mechanism in
            if let error = refused[mechanism] { return "\(mechanism.rawValue): \(Errno(rawValue: error))" }
            if active[mechanism] != nil { return "\(mechanism.rawValue) is not enough" }
            return "no \(mechanism.rawValue)"
        }
        return reasons.joined(separator: "; ")
    }
}
