import CCage

/// What the kernel offers to keep a program in.
public enum CageMechanism: String, Sendable, CaseIterable {
    /// The change from root to a Unix user without rights.
    case account
    /// Counts the processes of the cage alone, and lets an ordinary user make the other namespaces.
    case userNamespace = "user namespace"
    /// Process numbers of the cage's own. All its processes end with the first one.
    case processNamespace = "process namespace"
    /// A file system with nothing but the files of the cage's view.
    case mountNamespace = "mount namespace"
    /// A network without any interface.
    case networkNamespace = "network namespace"
    /// Rules for files, TCP and signals.
    case landlock = "Landlock"
    /// A filter of system calls.
    case seccomp
    /// A `/proc` with the processes of the cage alone.
    case proc = "/proc of the cage"

    /// The bit of the mechanism in a plan.
    var bit: UInt64 { 1 << UInt64(number) }

    /// The number of the mechanism in the launcher's reports.
    var number: Int {
        switch self {
        case .account: CAGE_ACCOUNT
        case .userNamespace: CAGE_USER_NAMESPACE
        case .processNamespace: CAGE_PROCESS_NAMESPACE
        case .mountNamespace: CAGE_MOUNT_NAMESPACE
        case .networkNamespace: CAGE_NETWORK_NAMESPACE
        case .landlock: CAGE_LANDLOCK
        case .seccomp: CAGE_SECCOMP
        case .proc: CAGE_PROC
        }
    }
}

extension Set<CageMechanism> {
    /// The bits of all mechanisms in the set.
    var bits: UInt64 { reduce(0) { $0 | $1.bit } }

    /// All mechanisms.
    public static var all: Set<CageMechanism> { Set(CageMechanism.allCases) }
}

/// What the launcher has reported: which mechanisms are in force, and what failed.
public struct CageReport: Sendable, Equatable {
    /// Why the launcher could not start a program.
    public enum Failure: Sendable, Equatable {
        /// The program is missing, or may not be executed.
        case program(errno: Int32)
        /// A required mechanism, or a step that each cage needs, failed.
        case cage(CageMechanism?, errno: Int32)
    }

    /// The mechanisms in force, with the version of their interface or 0.
    public var active: [CageMechanism: Int] = [:]
    /// The mechanisms that the kernel refused, with the number of the error.
    public var refused: [CageMechanism: Int32] = [:]
    /// Why the program did not start, or nil if it did.
    public var failure: Failure?

    /// A report without entries.
    public init() {}

    /// Adds one record of the launcher.
    mutating func add(_ record: cage_report) {
        let mechanism = CageMechanism.allCases.first { $0.number == Int(record.what) }
        switch (mechanism, Int(record.what)) {
        case (let mechanism?, _) where record.error == 0:
            active[mechanism] = Int(record.detail)
        case (let mechanism?, _):
            refused[mechanism] = record.error
        case (nil, CAGE_EXECUTION):
            failure = .program(errno: record.error)
        case (nil, CAGE_SETUP):
            let cause = CageMechanism.allCases.first { $0.number == Int(record.detail) }
            failure = .cage(cause, errno: record.error)
        default: break
        }
    }
}
