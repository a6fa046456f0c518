/// What the programs in a cage may use.
///
/// The kernel enforces each limit for each process (setrlimit(2)). Only ``processes`` counts the whole cage.
public struct CageBudget: Sendable, Equatable {
    /// The processor time of one process, or nil for no limit.
    public var processorTime: Duration?
    /// The address space of one process in bytes, or nil for no limit.
    public var addressSpace: Int?
    /// The greatest size of a file that a process writes, in bytes.
    public var fileSize: Int
    /// The number of open descriptors of one process.
    public var descriptors: Int
    /// The number of processes and threads in the cage.
    ///
    /// It holds only where the kernel counts them by user namespace.
    public var processes: Int
    /// The stack of one thread in bytes, or nil for the limit of this process.
    public var stack: Int?

    /// Describes a budget.
    ///
    /// - Parameters:
    ///   - processorTime: The processor time of one process, or nil for no limit.
    ///   - addressSpace: The address space of one process in bytes, or nil for no limit.
    ///   - fileSize: The greatest size of a file that a process writes, in bytes.
    ///   - descriptors: The number of open descriptors of one process.
    ///   - processes: The number of processes and threads in the cage.
    ///   - stack: The stack of one thread in bytes, or nil for the limit of this process.
    public init(
        processorTime: Duration?, addressSpace: Int?, fileSize: Int, descriptors: Int, processes: Int, stack: Int?
    ) {
        self.processorTime = processorTime
        self.addressSpace = addressSpace
        self.fileSize = fileSize
        self.descriptors = descriptors
        self.processes = processes
        self.stack = stack
    }

    /// The address space of ffmpeg, ffprobe, the recognizer and the transcriber: 1 GiB.
    public static let bundledAddressSpace = 1 << 30

    /// The budget of the programs that TherapyBridge brings: ffmpeg, ffprobe and its own transcriber.
    ///
    /// - Parameter processorTime: The processor time of one process.
    /// - Returns: The budget.
    public static func bundled(processorTime: Duration?) -> CageBudget {
        // Each thread of a pool as wide as the machine reserves a stack. 64 stacks of the usual 8 MiB would be half of the
        // address space.
        CageBudget(
            processorTime: processorTime, addressSpace: bundledAddressSpace, fileSize: 256 << 20, descriptors: 256,
            processes: 512, stack: 1 << 20)
    }

    /// The budget of a site's own stage.
    ///
    /// - Parameters:
    ///   - processorTime: The processor time of one process.
    ///   - addressSpace: The address space of one process in bytes, or nil for no limit. A program that uses a graphics
    ///     processor reserves tens of gigabytes.
    /// - Returns: The budget.
    public static func site(processorTime: Duration?, addressSpace: Int?) -> CageBudget {
        CageBudget(
            processorTime: processorTime, addressSpace: addressSpace, fileSize: 16 << 30, descriptors: 4_096,
            processes: 4_096, stack: nil)
    }
}
