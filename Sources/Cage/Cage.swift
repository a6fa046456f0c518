import CCage
import FoundationEssentials
import Glibc
public import Subprocess
import SystemPackage

/// How this process keeps programs in: as which Unix user, and by which mechanisms of the kernel.
///
/// A program does not start as a child of this process. The launcher does: this binary executed anew, with one thread and
/// an empty environment. The launcher sets the cage up, starts the program, and ends with all its descendants when the
/// program has ended, on SIGTERM, or when this process is gone.
public struct Cage: Sendable, Equatable {
    /// The user that launcher and program change to, or nil for the user of this process.
    public var account: CageAccount?
    /// The mechanisms that the launcher tries to use.
    public var used: Set<CageMechanism>
    /// The mechanisms without which a program does not start.
    public var required: Set<CageMechanism>
    /// The newest version of Landlock's interface that the launcher uses, or nil for the newest of this kernel.
    ///
    /// A newer kernel then keeps a program in as an older one does.
    public var landlockVersion: Int?
    /// The program that becomes the launcher, and its first arguments.
    ///
    /// Default: this program, also if its file was replaced.
    public var launcher = ["/proc/self/exe"]

    /// Describes a cage.
    ///
    /// - Parameters:
    ///   - account: The user that launcher and program change to, or nil for the user of this process.
    ///   - used: The mechanisms that the launcher tries to use.
    ///   - required: The mechanisms without which a program does not start.
    public init(
        account: CageAccount? = .ofStages(), used: Set<CageMechanism> = .all, required: Set<CageMechanism> = []
    ) {
        self.account = account
        self.used = used
        self.required = required
    }

    /// Prepares the launch of a program.
    ///
    /// - Parameter command: The program.
    /// - Returns: The launch, for one process.
    /// - Throws: ``CageFault`` when no channel can be made, or the view is too large.
    public func launch(_ command: CagedCommand) throws(CageFault) -> CageLaunch {
        try command.view.check()
        let program = Self.path(of: command.program, in: command.environment["PATH"])
        // A program with a network has no namespace for it.
        let required = required.subtracting(command.hasNetwork ? [.networkNamespace] : [])
        let plan = CagePlan(
            command, program: program, account: account, used: used.bits, required: required.bits,
            landlockVersion: landlockVersion)
        return try CageLaunch(plan, launcher: launcher, grace: command.grace)
    }

    /// Finds a program as a shell does: a name with a slash is a path, any other is looked up in `PATH`.
    ///
    /// - Parameters:
    ///   - name: The name of the program.
    ///   - path: The folders, separated by colons.
    /// - Returns: An absolute path. A program that is not found keeps a path that does not exist.
    public static func path(of name: String, in path: String?) -> String {
        if name.hasPrefix("/") { return name }
        let folder = FileManager.default.currentDirectoryPath
        if name.contains("/") { return "\(folder)/\(name)" }
        for entry in (path ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let file = entry.hasPrefix("/") ? "\(entry)/\(name)" : "\(folder)/\(entry)/\(name)"
            if FileManager.default.isExecutableFile(atPath: file) { return file }
        }
        return "/nonexistent/\(name)"
    }
}

/// The launch of one program: the process to start, and the channel that keeps it alive.
public final class CageLaunch: Sendable {
    /// How long the launcher may take after the grace of its program, until all descendants are gone.
    public static let endingTime = Duration.seconds(10)

    /// The process to start: the launcher.
    public let configuration: Configuration
    /// The launcher's end of the channel, which becomes its standard input and is then closed.
    public let input: FileDescriptorInput
    private let plan: CagePlan
    private let channel: Int32

    fileprivate init(_ plan: CagePlan, launcher: [String], grace: Duration) throws(CageFault) {
        var ends: [Int32] = [-1, -1]
        let error = unsafe ends.withUnsafeMutableBufferPointer { unsafe cage_channel($0.baseAddress!) }
        guard error == 0 else {
            throw CageFault(.noChannel(errno: error), "no channel to a launcher: \(Errno(rawValue: error))")
        }
        channel = ends[0]
        input = .fileDescriptor(FileDescriptor(rawValue: ends[1]), closeAfterSpawningProcess: true)
        self.plan = plan
        var options = PlatformOptions()
        options.createSession = true
        options.teardownSequence = [
            .gracefulShutDown(toProcessGroup: false, allowedDurationToNextStep: grace + Self.endingTime)
        ]
        configuration = Configuration(
            executable: .path(FilePath(launcher[0])),
            arguments: Arguments(
                executablePathOverride: "therapybridge", remainingValues: launcher.dropFirst() + [CAGE_LAUNCHER]),
            environment: .custom([:]),
            platformOptions: options)
    }

    /// The end of the channel ends the launcher and all its descendants.
    deinit { close(channel) }

    /// Sends the plan to the launcher.
    ///
    /// Call this once, when the launcher has started.
    ///
    /// A launcher that is gone is no error here: its exit status tells more.
    public func start() {
        // The launcher reads at once. The plan of thousands of paths is longer than the buffer of a socket, and this waits
        // for the launcher then.
        _ = unsafe plan.bytes.withUnsafeBufferPointer { unsafe cage_send(channel, $0.baseAddress!, $0.count) }
    }

    /// Ends the launcher and all its descendants at once.
    public func end() { shutdown(channel, Int32(SHUT_WR)) }

    /// Reads what the launcher has reported, when it has ended.
    ///
    /// - Returns: The reports.
    public func report() -> CageReport {
        var report = CageReport()
        var record = cage_report()
        let size = MemoryLayout<cage_report>.size
        while unsafe cage_receive(channel, &record, size) == size { report.add(record) }
        return report
    }
}
