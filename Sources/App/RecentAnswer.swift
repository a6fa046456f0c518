import Polling

/// An answer that is asked for again only after a while, whoever asks how often.
///
/// Callers at the same time share one question. Any number of callers therefore costs one question in each ``lifetime``.
actor RecentAnswer<Answer: Sendable> {
    /// For how long an answer counts.
    private let lifetime: Duration
    private let clock: any MonotonicClock
    private let ask: @Sendable () async -> Answer
    private var last: (answer: Answer, at: ContinuousClock.Instant)?
    private var question: Task<Answer, Never>?

    /// Remembers nothing yet.
    ///
    /// - Parameters:
    ///   - lifetime: For how long an answer counts, from the moment at which it came.
    ///   - clock: Measures the lifetime.
    ///   - ask: Finds the answer.
    init(lifetime: Duration, clock: any MonotonicClock, _ ask: @escaping @Sendable () async -> Answer) {
        self.lifetime = lifetime
        self.clock = clock
        self.ask = ask
    }

    /// The last answer if it is recent, else a new one.
    func value() async -> Answer {
        if let question { return await question.value }
        if let last, clock.now - last.at < lifetime { return last.answer }
        // Not structured: several callers wait for it, and the first one may go away.
        let question = Task { await self.ask() }
        self.question = question
        let answer = await question.value
        last = (answer, clock.now)
        self.question = nil
        return answer
    }
}
