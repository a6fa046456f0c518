/// Learns how long the statements of a pool and the waits for its connections take.
///
/// The pool calls it where a statement or a wait ends, on any thread. It must not block.
public protocol PostgresObserver: Sendable {
    /// A statement has ended, with or without success.
    ///
    /// - Parameters:
    ///   - sql: The text, without the values of its parameters.
    ///   - duration: The time until its answer was there.
    func ran(_ sql: String, for duration: Duration)

    /// A caller has got a connection, or has given up.
    ///
    /// - Parameter duration: The time that it waited. It is short if a connection was idle.
    func waited(for duration: Duration)
}
