import DequeModule
import Domain
import Logging
import Polling
import Store

extension ProgressHub {
    func completed(_ lane: HubStateMachine.Lane, _ changes: ProgressChanges) {
        succeeded()
        if !changes.unreadable.isEmpty {
            logger.error("rows of progress cannot be read", metadata: ["sessions": "\(changes.unreadable.count)"])
        }
        let news = changes.changed.map { SessionReading(progress: $0.progress, transitions: $0.transitions) }
        let outcome = machine.completed(lane, news, missing: changes.missing, epoch: changes.rightsEpoch)
        send(outcome.deliveries)
        for (listener, progress) in outcome.listeners { listeners[listener]?.yield(progress) }
        for listener in outcome.endedListeners { listeners[listener]?.finish() }
        readAfterPause(outcome.pauses)
        pump()
    }

    func completedCatchUp(_ openings: [SessionOpening]) {
        succeeded()
        let answers = openings.map { opening -> CatchUpAnswer in
            guard opening.permits(.see) else { return .refused }
            guard let progress = opening.progress else { return .unreadable }
            return .reading(SessionReading(progress: progress, transitions: opening.transitions))
        }
        send(machine.completedCatchUp(answers, epoch: openings.first?.rightsEpoch ?? 0))
        pump()
    }

    func completedSweep(lost: Set<Int>, epoch: Int64) {
        succeeded()
        send(machine.completedSweep(lost: lost, epoch: epoch))
        pump()
    }

    func completed(snapshot: String) {
        succeeded()
        if let recovery = machine.recovered() {
            send([recovery])
            machine.resync()
        }
        if snapshot != lastSnapshot {
            lastSnapshot = snapshot
            metrics.foundByPoll(machine.poll())
        }
        pump()
    }

    func failed(_ work: HubWork, _ error: any Error) {
        switch work {
        case .reading(let lane, _): machine.failed(lane)
        case .catchUp: machine.failedCatchUp()
        case .sweep: machine.failedSweep()
        case .snapshot: break
        case .feed: machine.failedFeed()
        case .follower(let read): machine.failed(read)
        case .following(let pending): return failed(pending, error)
        case .openings(let pending):
            openingsUnderWay -= 1
            for opening in pending {
                // A read that the end of the hub has cut short is no fault of the database.
                if Task.isCancelled {
                    turnAway(opening)
                } else {
                    machine.release(opening.watcher)
                    opening.continuation.resume(throwing: error)
                }
            }
            return pumpOpenings()
        }
        guard !isClosed, !Task.isCancelled else { return }
        if !machine.isDegraded {
            logger.warning("cannot read progress from the database", metadata: ["error": "\(error)"])
        }
        if let delivery = machine.degraded() { send([delivery]) }
        guard !isBackingOff else { return }
        isBackingOff = true
        poller.schedule(at: .now + backoff.next()) { [weak self] in self?.assumeIsolated { $0.tryAgain() } }
    }

    private func tryAgain() {
        isBackingOff = false
        pump()
    }

    func succeeded() {
        metrics.read()
        backoff.reset()
    }

    // MARK: - Pauses

    func readAfterPause(_ sessions: [SessionID]) {
        let due = ContinuousClock.now + Self.pauseAfterNews
        pauses.append(contentsOf: sessions.map { (due, $0) })
        schedulePauses()
    }

    private func schedulePauses() {
        guard !isPauseScheduled, let first = pauses.first else { return }
        isPauseScheduled = true
        poller.schedule(at: first.due) { [weak self] in self?.assumeIsolated { $0.endPauses() } }
    }

    private func endPauses() {
        isPauseScheduled = false
        let now = ContinuousClock.now
        var again: [SessionID] = []
        while let first = pauses.first, first.due <= now {
            pauses.removeFirst()
            if machine.pauseEnded(first.session) { again.append(first.session) }
        }
        if pauses.isEmpty { pauses = [] }
        readAfterPause(again)
        pump()
    }
}
