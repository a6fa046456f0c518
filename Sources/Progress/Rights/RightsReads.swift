import Store

/// When the hub reads the log of rights by itself, and not beside progress: at the start, after a hint, and a little later.
///
/// If several transactions change rights within 10 ms, only the first announces it. The hub therefore reads the log again
/// after a hint, until a read finds nothing new.
struct RightsReads {
    /// The times between two reads after a hint.
    ///
    /// A change starts them over.
    private static let delays: [Duration] = [.milliseconds(20), .milliseconds(100)]

    private var isWanted = true
    private var isUnderWay = false
    /// The index of the next delay.
    private var next = Self.delays.count
    /// The moment of the next read.
    private(set) var due: ContinuousClock.Instant?

    /// A hint says that rights have changed.
    ///
    /// Many hints in a short time cause one read.
    mutating func hint() {
        next = 0
        if due == nil, !isUnderWay { isWanted = true }
    }

    /// Changes may have been missed.
    mutating func want() { isWanted = true }

    mutating func timeIs(_ now: ContinuousClock.Instant) {
        guard let due, due <= now else { return }
        self.due = nil
        isWanted = true
    }

    /// Whether a read is wanted and none is under way.
    ///
    /// If it is, it begins.
    mutating func nextRead() -> Bool {
        guard isWanted, !isUnderWay else { return false }
        (isWanted, isUnderWay, due) = (false, true, nil)
        return true
    }

    /// The read succeeded.
    ///
    /// - Parameters:
    ///   - foundChanges: Whether it has found changes of rights.
    ///   - now: The present moment.
    mutating func completed(foundChanges: Bool, at now: ContinuousClock.Instant) {
        isUnderWay = false
        if foundChanges { next = 0 }
        guard next < Self.delays.count else { return }
        due = now + Self.delays[next]
        next += 1
    }

    /// The read failed: it is still wanted.
    mutating func failed() { (isWanted, isUnderWay) = (true, false) }
}

/// When the hub checks the rights of watchers although nothing shows a change: some watchers every second, and each watcher
/// once in 30 seconds.
struct RegularCheck {
    private static let interval = Duration.seconds(30)

    private var ticker = Ticker(every: .seconds(1))

    var due: ContinuousClock.Instant? { ticker.due }

    mutating func start(at now: ContinuousClock.Instant) { ticker.start(at: now) }
    mutating func stop() { ticker.stop() }

    /// The share of all watchers to check now, from 0 to 1; nil before the next second.
    mutating func share(at now: ContinuousClock.Instant) -> Double? {
        ticker.fires(at: now) ? ticker.interval / Self.interval : nil
    }
}
