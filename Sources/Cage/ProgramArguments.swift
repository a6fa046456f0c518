import CCage

/// The arguments of this program.
///
/// `CommandLine.arguments` reads `/proc/self/cmdline`, and is empty in a cage whose view has no `/proc`.
public enum ProgramArguments {
    /// The arguments, the name of the program first.
    public static var all: [String] {
        (0..<cage_argument_count()).map { index in unsafe String(cString: cage_argument(index)) }
    }
}
