import Dispatch
import Glibc
import Polling

/// Asks whether a folder can be used, without waiting for a file system that does not answer.
///
/// A file system of the network can keep a thread for hours. At most one thread asks, and all callers wait for its answer.
actor FolderProbe {
    /// What is known of the folder.
    enum Answer {
        case usable
        /// The folder is missing, or this account may not write to it.
        case unusable
        /// The file system has not answered in time.
        case silent
    }

    private let clock: any MonotonicClock
    private let look: @Sendable () -> Bool
    private var waiters: [Int: CheckedContinuation<Answer, Never>] = [:]
    private var lastWaiter = 0
    private var isLooking = false

    /// Asks nothing yet.
    ///
    /// - Parameters:
    ///   - clock: Measures how long a caller waits.
    ///   - look: Returns whether the folder can be used, and may take any time.
    init(clock: any MonotonicClock, look: @escaping @Sendable () -> Bool) {
        self.clock = clock
        self.look = look
    }

    /// Asks about a folder that this account reads and writes.
    ///
    /// - Parameters:
    ///   - path: The folder.
    ///   - clock: Measures how long a caller waits.
    init(path: String, clock: any MonotonicClock) {
        self.init(clock: clock) { access(path, R_OK | W_OK | X_OK) == 0 }
    }

    /// Asks, or joins a question that is under way.
    ///
    /// - Parameter patience: How long to wait.
    /// - Returns: The answer.
    func answer(within patience: Duration) async -> Answer {
        lastWaiter += 1
        let id = lastWaiter
        begin()
        // Not structured: the answer usually comes first, and then ends this task.
        let timer = Task { [clock] in
            try await clock.sleep(for: patience)
            end(id, .silent)
        }
        defer { timer.cancel() }
        return await withCheckedContinuation { waiters[id] = $0 }
    }

    private func begin() {
        guard !isLooking else { return }
        isLooking = true
        DispatchQueue.global().async { [look] in
            let isUsable = look()
            // Not structured: the thread cannot wait for the actor.
            Task { await self.looked(isUsable) }
        }
    }

    private func looked(_ isUsable: Bool) {
        isLooking = false
        for id in waiters.keys { end(id, isUsable ? .usable : .unusable) }
    }

    private func end(_ id: Int, _ answer: Answer) { waiters.removeValue(forKey: id)?.resume(returning: answer) }
}
