/// A program to run in a cage: the program, its arguments, and what it may use.
public struct CagedCommand: Sendable, Equatable {
    /// The program: a path, or a name to look up in `PATH`.
    public var program: String
    /// The arguments, without the name of the program.
    public var arguments: [String]
    /// What the program and its children may use.
    public var budget: CageBudget
    /// The whole environment of the program.
    public var environment: [String: String] = [:]
    /// The files that the program may read and write.
    public var view = CageView()
    /// True if the program may open sockets of IPv4 and IPv6.
    public var hasNetwork = false
    /// The working directory.
    ///
    /// If the program may not enter it, the root directory takes its place.
    public var directory = "/"
    /// The file that becomes standard input, or nil for an empty one.
    public var input: String?
    /// How long the program may run after SIGTERM, before SIGKILL.
    public var grace: Duration = .seconds(5)

    /// Describes a program.
    ///
    /// - Parameters:
    ///   - program: A path, or a name to look up in `PATH`.
    ///   - arguments: The arguments, without the name of the program.
    ///   - budget: What the program may use.
    public init(_ program: String, _ arguments: [String], budget: CageBudget) {
        self.program = program
        self.arguments = arguments
        self.budget = budget
    }
}
