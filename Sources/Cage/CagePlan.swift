import CCage

/// The plan of a cage, as the launcher reads it (`CCage.h`).
struct CagePlan {
    private(set) var bytes: [UInt8] = []

    /// Encodes a command and what surrounds it.
    init(
        _ command: CagedCommand, program: String, account: CageAccount?, used: UInt64, required: UInt64,
        landlockVersion: Int?
    ) {
        add(CAGE_PROGRAM, program)
        for argument in [command.program] + command.arguments { add(CAGE_ARGUMENT, argument) }
        for (name, value) in command.environment.sorted(by: { $0.key < $1.key }) {
            add(CAGE_VARIABLE, "\(name)=\(value)")
        }
        add(CAGE_DIRECTORY, command.directory)
        if let input = command.input { add(CAGE_INPUT, input) }
        // A folder comes before what lies in it, so that the later one counts.
        let paths =
            command.view.readable.map { (CAGE_READABLE, $0) } + command.view.writable.map { (CAGE_WRITABLE, $0) }
            + command.view.devices.map { (CAGE_DEVICE, $0) }
        for (tag, path) in paths.sorted(by: { $0.1.utf8.count < $1.1.utf8.count }) { add(tag, path) }
        add(command.budget)
        number(CAGE_NETWORK, command.hasNetwork ? 1 : 0)
        number(CAGE_GRACE, UInt64(max(command.grace / .milliseconds(1), 0)))
        number(CAGE_USED, used)
        number(CAGE_REQUIRED, required)
        if let landlockVersion { number(CAGE_LANDLOCK_VERSION, UInt64(landlockVersion)) }
        if let account {
            number(CAGE_USER, UInt64(account.user))
            number(CAGE_USER_GROUP, UInt64(account.group))
            for group in account.groups {
                record(CAGE_GROUP, Self.bytes(of: UInt64(group)))
            }
        }
        record(CAGE_END, [])
    }

    private mutating func add(_ budget: CageBudget) {
        if let time = budget.processorTime {
            number(CAGE_PROCESSOR_SECONDS, UInt64(max(min(time / .seconds(1), 1e12).rounded(.up), 1)))
        }
        if let space = budget.addressSpace { number(CAGE_ADDRESS_SPACE, UInt64(space)) }
        number(CAGE_FILE_SIZE, UInt64(budget.fileSize))
        number(CAGE_DESCRIPTORS, UInt64(budget.descriptors))
        number(CAGE_PROCESSES, UInt64(budget.processes))
        if let stack = budget.stack { number(CAGE_STACK, UInt64(stack)) }
    }

    private mutating func add(_ tag: Int, _ text: String) { record(tag, Array(text.utf8)) }

    private mutating func number(_ which: Int, _ value: UInt64) {
        record(CAGE_NUMBER, [UInt8(which)] + Self.bytes(of: value))
    }

    private mutating func record(_ tag: Int, _ contents: [UInt8]) {
        bytes.append(UInt8(tag))
        bytes += Self.bytes(of: UInt32(contents.count))
        bytes += contents
    }

    /// The bytes of a number in the order of this machine.
    private static func bytes(of number: some FixedWidthInteger) -> [UInt8] {
        unsafe withUnsafeBytes(of: number) { unsafe Array($0) }
    }
}
