import Polling
import Synchronization

/// A continuation that several parties may resume.
///
/// The first one counts.
final class OneShot<Value: Sendable>: Sendable {
    private enum State {
        case waiting
        case armed(CheckedContinuation<Value, any Error>)
        case early(Result<Value, any Error>)
        case done
    }

    private let state = Mutex(State.waiting)

    /// Waits for the first `resume`, which may have come before.
    func value() async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let early = state.withLock { state -> Result<Value, any Error>? in
                if case .early(let result) = state {
                    state = .done
                    return result
                }
                state = .armed(continuation)
                return nil
            }
            if let early { continuation.resume(with: early) }
        }
    }

    /// Resumes the waiter.
    ///
    /// - Parameter result: What the waiter gets.
    /// - Returns: Whether this was the first call.
    @discardableResult
    func resume(with result: Result<Value, any Error>) -> Bool {
        let (continuation, isFirst) = state.withLock { state -> (CheckedContinuation<Value, any Error>?, Bool) in
            switch state {
            case .waiting:
                state = .early(result)
                return (nil, true)
            case .armed(let continuation):
                state = .done
                return (continuation, true)
            case .early, .done:
                return (nil, false)
            }
        }
        continuation?.resume(with: result)
        return isFirst
    }

    /// Waits until the first `resume`, a moment, or the cancellation of the task.
    ///
    /// - Parameters:
    ///   - deadline: The moment; nil for none.
    ///   - poller: The poller whose deadlines count.
    ///   - what: What is waited for, for the error's message.
    /// - Returns: The value that `resume` brought.
    /// - Throws: `PostgresError` with code `deadlineExceeded` or `cancelled`, or the error that `resume` brought.
    func value(until deadline: ContinuousClock.Instant?, on poller: Poller, _ what: String) async throws -> Value {
        let timer = deadline.map { deadline in
            poller.schedule(at: deadline) {
                self.resume(with: .failure(PostgresError(.deadlineExceeded, "\(what) took too long")))
            }
        }
        defer { if let timer { poller.cancelDeadline(timer) } }
        return try await withTaskCancellationHandler {
            try await value()
        } onCancel: {
            resume(with: .failure(PostgresError(.cancelled, "\(what) was cancelled")))
        }
    }
}
