/// A condition did not come about in time.
public struct DidNotHappen: Error {
    /// The condition, in words.
    public let condition: String

    /// A condition that did not come about.
    public init(_ condition: String = "what the test waits for") { self.condition = condition }
}

/// Waits for a condition that sends no signal of its own: the state of another process or of the database's server.
///
/// Where there is a signal to wait on, wait on that.
///
/// - Parameters:
///   - what: The condition in words, for the error.
///   - limit: How long to wait.
///   - condition: The condition.
/// - Throws: ``DidNotHappen`` when it does not come about in time; what the condition throws.
public func eventually(
    _ what: String = "the condition of a test", within limit: Duration = .seconds(600),
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw DidNotHappen(what) }
        try await Task.sleep(for: .milliseconds(20))
    }
}

extension AsyncStream<Void> {
    /// Waits until it was called so many times.
    public func wait(for count: Int) async {
        for await _ in prefix(count) {}
    }
}
