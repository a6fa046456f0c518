/// Why no cage can be made around a program: a fault of the installation, never of the recording.
public struct CageFault: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: Sendable, Equatable {
        /// This process has no room for the channel to a launcher.
        case noChannel(errno: Int32)
        /// A view has more files and folders than a cage shows.
        case viewTooLarge
    }

    /// The kind of the fault.
    public let code: Code
    /// What an operator needs to mend it.
    ///
    /// It names folders of this host, and nothing of a session.
    public let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
