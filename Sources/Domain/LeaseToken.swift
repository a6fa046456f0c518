/// The secret that proves a claim of a session.
///
/// The database makes it, returns it once, and keeps its hash. A worker sends it with its reports and results.
public struct LeaseToken: Hashable, Sendable, CustomStringConvertible, CustomReflectable {
    /// The secret.
    public let text: String

    /// A lease as a worker or a client presents it; any text, since only the database knows the good ones.
    public init(_ text: String) { self.text = text }

    /// A fixed word: the secret must not reach a log.
    public var description: String { "a lease" }

    /// The same word: a dump must not show the secret either.
    public var customMirror: Mirror { Mirror(self, children: []) }
}
