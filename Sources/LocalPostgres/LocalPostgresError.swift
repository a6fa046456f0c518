/// An error of a private PostgreSQL cluster.
///
/// `description` names the error and, where there is one, the remedy.
public struct LocalPostgresError: Error, CustomStringConvertible, Sendable {
    /// The kinds of error.
    public enum Code: Hashable, Sendable {
        /// No server programs of PostgreSQL were found.
        case notInstalled
        /// Another server uses the data directory.
        case alreadyRunning
        /// A directory could not be made, given to the server's account, or read.
        case directory
        /// `initdb` failed.
        case initialisation
        /// The server ended before it was ready, or was not ready in time.
        case start
        /// The server did not stop in time.
        case stop
    }

    /// The kind of the error.
    public let code: Code

    /// One line about the error, then the last lines of the server's log where they help.
    public let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
