/// A statement did not return what it always returns.
enum StoreError: Error {
    /// A statement that always returns a row returned no row.
    case noRow
}

/// The acting user does not see the row that the same transaction has just written.
///
/// The sign-in has ended, or the account has lost its right, while the transaction was under way.
public struct SignInEnded: Error {}

/// A row has a value that this release does not know.
///
/// A newer release has added a status or a role to the database and uses it. The server answers `unavailable`, and only
/// for this row: a server of the newer release can read it.
public struct UnreadableRow: Error, Hashable, CustomStringConvertible {
    /// A value that a newer release may extend.
    public enum Content: String, Sendable {
        /// The status of a session, or of one of its transitions.
        case status
        /// The role of an account.
        case role
    }

    /// The value that this release does not know.
    public var content: Content

    /// An error for one value.
    public init(_ content: Content) { self.content = content }

    /// One line that is safe to show and to log.
    public var description: String { "a row has a \(content.rawValue) that this release does not know" }
}
