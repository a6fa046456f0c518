import Synchronization

/// Waits for a condition without a signal: the state of another process or of the database's server.
///
/// If there is a signal, use ``within(_:limit:fileID:line:_:)``.
///
/// - Parameters:
///   - what: What is waited for, for the error.
///   - limit: How long to wait.
///   - fileID: The caller's file, for the error.
///   - line: The caller's line, for the error.
///   - condition: Is tried again and again until it is true.
/// - Throws: ``DidNotHappen``, or what `condition` throws.
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
/// The operation runs in the present task. It may therefore use values that cannot be sent to another task, such as an
/// iterator.
///
/// - Parameters:
///   - what: What is waited for, for the error.
///   - limit: How long the operation may take.
///   - fileID: The caller's file, for the error.
///   - line: The caller's line, for the error.
///   - operation: The operation, which ends soon after its cancellation.
/// - Returns: What the operation returns.
/// - Throws: ``DidNotHappen``, or what `operation` throws.
public nonisolated(nonsending) func within<Value>(
    _ what: String, limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line,
    _ operation: () async throws -> Value
) async throws -> Value {
    let watch = Watch(withUnsafeCurrentTask { $0 })
    // Not structured: a child task could not use the values of this task, nor cancel this task alone.
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
/// Unchecked because of the reference to the task. It is used under the lock only, and until `stop()` only. The task
/// itself calls `stop()`, thus it is alive until then. Any task may call `cancel`.
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

    /// Cancels the task if the operation is still under way, because the deadline has come.
    ///
    /// The lock is held, so that the task cannot end before. No cancellation handler calls back here.
    func expire() {
        lock.withLock { _ in
            guard case .running(let task) = state else { return }
            state = .expired
            task?.cancel()
        }
    }

    /// Records that the operation has ended.
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
    /// Waits until the stream has yielded so many times.
    ///
    /// - Parameters:
    ///   - count: How many times.
    ///   - fileID: The caller's file, for the error.
    ///   - line: The caller's line, for the error.
    /// - Throws: ``DidNotHappen``
    public func wait(
        for count: Int, fileID: String = #fileID, line: Int = #line
    ) async throws {
        try await within("\(count) calls", fileID: fileID, line: line) {
            for await _ in prefix(count) {}
        }
    }
}
