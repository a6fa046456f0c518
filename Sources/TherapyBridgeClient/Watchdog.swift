/// Nothing came for as long as the watchdog waits.
struct Silence: Error {}

extension TherapyBridge {
    /// Runs `work`, and cancels it if it takes too long.
    ///
    /// - Parameters:
    ///   - limit: The longest time, or nil for ``Options/watchdog``.
    ///   - remind: Called at half of the time.
    ///   - work: Has to end soon after its cancellation.
    /// - Returns: What `work` returns.
    /// - Throws: ``Silence``; the errors of `work`.
    func watched<Value: Sendable>(
        limit: Duration? = nil, remind: (@Sendable () -> Void)? = nil,
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let clock = options.clock
        let limit = limit ?? options.watchdog
        return try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask(operation: work)
            group.addTask {
                if let remind {
                    try await clock.sleep(for: limit / 2)
                    remind()
                    try await clock.sleep(for: limit / 2)
                } else {
                    try await clock.sleep(for: limit)
                }
                throw Silence()
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw CancellationError() }
            return value
        }
    }
}

extension Clock where Duration == Swift.Duration {
    /// Starts to measure.
    ///
    /// - Returns: A closure that says how much time has passed since.
    func stopwatch() -> () -> Duration {
        let begin = now
        return { begin.duration(to: now) }
    }
}
