/// What went wrong with a private PostgreSQL cluster.
///
/// `description` is one line that names the trouble and, where there is one, the mend.
public struct LocalPostgresError: Error, CustomStringConvertible, Sendable {
    /// The kind of trouble.
    public enum Code: Hashable, Sendable {
        /// No PostgreSQL server programs were found on this machine.
        case notInstalled
        /// Another server runs on the same data directory.
        case alreadyRunning
        /// A directory could not be made, owned or read.
        case directory
        /// `initdb` failed.
        case initialisation
        /// The server ended, or did not answer, before it was ready.
        case start
        /// The server did not stop in time.
        case stop
    }

    /// The kind of trouble.
    public let code: Code

    /// What happened, in one line, followed by the last lines of the server's log where they help.
    public let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
