import Synchronization

/// Waits for a condition that sends no signal of its own: the state of another process or of the database's server.
///
/// Where there is a signal to wait for, use ``within(_:limit:fileID:line:_:)``.
///
/// - Parameters:
///   - what: What is waited for, as the error says it.
///   - limit: How long to wait.
///   - condition: Is tried again and again until it is true.
/// - Throws: ``DidNotHappen``; what `condition` throws.
public nonisolated(nonsending) func eventually(
    _ what: String, limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line,
    _ condition: () async throws -> Bool
) async throws {
    try await within(what, limit: limit, fileID: fileID, line: line) {
        while try await !condition() { try await ContinuousClock().sleep(for: .milliseconds(10)) }
    }
}

/// Runs an operation that waits for a signal, and cancels it when it takes too long.
///
/// The operation runs in the present task, so that it may use what cannot be sent to another: an iterator, say.
///
/// - Parameters:
///   - what: What is waited for, as the error says it.
///   - limit: How long the operation may take.
///   - operation: Has to end soon after its cancellation.
/// - Throws: ``DidNotHappen``; what `operation` throws.
public nonisolated(nonsending) func within<Value>(
    _ what: String, limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line,
    _ operation: () async throws -> Value
) async throws -> Value {
    let watch = Watch(withUnsafeCurrentTask { $0 })
    // Not structured: a child task could not use what belongs to this one, nor cancel this one alone.
    let timer = Task {
        try await ContinuousClock().sleep(for: limit)
        watch.expire()
    }
    defer { timer.cancel() }
    let result: Result<Value, any Error>
    do {
        result = .success(try await operation())
    } catch {
        result = .failure(error)
    }
    guard watch.stop() else { throw DidNotHappen(what, after: limit, fileID: fileID, line: line) }
    return try result.get()
}

/// Decides whether an operation or its deadline came first, and cancels the operation's task in the second case.
///
/// Unchecked because of the reference to the task, which is only used under the lock, and only until `stop()`: the task
/// itself calls that, so it is alive until then. `cancel` may be called from any task.
private final class Watch: @unchecked Sendable {
    private enum State {
        /// The operation is under way. → stopped, expired
        case running(UnsafeCurrentTask?)
        /// The operation ended in time.
        case stopped
        /// The deadline came first.
        case expired
    }

    private let lock = Mutex(())
    private var state: State

    init(_ task: UnsafeCurrentTask?) { state = .running(task) }

    /// The deadline has come: cancels the task if the operation is still under way.
    ///
    /// Under the lock, so that the task cannot end before. No handler of a cancellation comes back here.
    func expire() {
        lock.withLock { _ in
            guard case .running(let task) = state else { return }
            state = .expired
            task?.cancel()
        }
    }

    /// The operation has ended.
    ///
    /// - Returns: Whether it was in time.
    func stop() -> Bool {
        lock.withLock { _ in
            guard case .running = state else { return false }
            state = .stopped
            return true
        }
    }
}

extension AsyncStream<Void> {
    /// Waits until the stream was called so many times.
    public func wait(
        for count: Int, fileID: String = #fileID, line: Int = #line
    ) async throws {
        try await within("\(count) calls", fileID: fileID, line: line) {
            for await _ in prefix(count) {}
        }
    }
}
