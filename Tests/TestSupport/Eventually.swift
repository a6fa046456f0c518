/// A condition did not come about in time.
public struct DidNotHappen: Error {}

/// Waits for a condition that sends no signal of its own: the state of another process or of the database's server.
///
/// Where there is a signal to wait on, wait on that.
public func eventually(within limit: Duration = .seconds(600), _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw DidNotHappen() }
        try await Task.sleep(for: .milliseconds(20))
    }
}

extension AsyncStream<Void> {
    /// Waits until it was called so many times.
    public func wait(for count: Int) async {
        for await _ in prefix(count) {}
    }
}
