import Domain
import Testing

@testable import Progress

extension HubWorld {
    // MARK: - Reads on their way

    /// What was asked, and once the database was reached, its answer.
    struct ReadingFlight {
        let asked: Reading
        var answer: (news: [SessionReading], missing: [SessionID], epoch: Int64)?
    }

    struct CatchUpFlight {
        let asked: [CatchUpRequest]
        var answer: (answers: [SessionReading?], epoch: Int64)?
    }

    struct SweepFlight {
        let asked: [CatchUpRequest]
        var answer: (lost: Set<Int>, epoch: Int64)?
    }

    mutating func startReads() {
        for lane in HubStateMachine.Lane.allCases {
            guard let reading = machine.nextReading(lane) else { continue }
            check(readings[lane.rawValue] == nil, "one reading of a lane at a time")
            check(Set(reading.sessions).count == reading.sessions.count, "a session is read once in a reading")
            check(reading.sessions.count <= 2, "a reading has its limit")
            readings[lane.rawValue] = ReadingFlight(asked: reading)
        }
        if let requests = machine.nextCatchUp() {
            check(catchUp == nil, "one catch-up at a time")
            catchUp = CatchUpFlight(asked: requests)
        }
        if let requests = machine.nextSweep() {
            check(sweep == nil, "one sweep at a time")
            sweep = SweepFlight(asked: requests)
        }
    }

    /// The database answers, each read with what it finds at this moment; while nothing settles only some of them.
    mutating func answerReads() {
        for lane in readings.indices where isSettling || chance(50) { answer(lane) }
        if isSettling || chance(50) { answerCatchUp() }
        if isSettling || chance(50) { answerSweep() }
    }

    private mutating func answer(_ lane: Int) {
        guard let flight = readings[lane], flight.answer == nil else { return }
        var (news, missing): ([SessionReading], [SessionID]) = ([], [])
        for (session, known) in zip(flight.asked.sessions, flight.asked.versions) {
            if let found = read(session, after: known) {
                if found.progress.version > known { news.append(found) }
            } else {
                missing.append(session)
            }
        }
        readings[lane] = ReadingFlight(asked: flight.asked, answer: (news, missing, epoch))
    }

    private mutating func answerCatchUp() {
        guard let flight = catchUp, flight.answer == nil else { return }
        let answers = flight.asked.map { request in
            had(Right(user: request.principal, session: request.session), at: epoch)
                ? read(request.session, after: request.version) : nil
        }
        catchUp = CatchUpFlight(asked: flight.asked, answer: (answers, epoch))
    }

    private mutating func answerSweep() {
        guard let flight = sweep, flight.answer == nil else { return }
        let lost = flight.asked.indices.filter { index in
            let request = flight.asked[index]
            return rows[request.session] == nil
                || !had(Right(user: request.principal, session: request.session), at: epoch)
        }
        sweep = SweepFlight(asked: flight.asked, answer: (Set(lost), epoch))
    }

    /// Answers come back, or are lost on the way.
    mutating func landReads() {
        for lane in HubStateMachine.Lane.allCases where isSettling || chance(50) { land(lane) }
        if isSettling || chance(50) { landCatchUp() }
        if isSettling || chance(50) { landSweep() }
    }

    private mutating func land(_ lane: HubStateMachine.Lane) {
        guard let (news, missing, epoch) = readings[lane.rawValue]?.answer else { return }
        readings[lane.rawValue] = nil
        if isLost() { return fail { $0.failed(lane) } }
        let outcome = machine.completed(lane, news, missing: missing, epoch: epoch)
        send(outcome.deliveries, epoch: epoch)
        for (listener, progress) in outcome.listeners { give(progress, to: listener) }
        for listener in outcome.endedListeners { end(listener) }
        for session in outcome.pauses { pauses.append((session, time + Self.pause)) }
    }

    private mutating func landCatchUp() {
        guard let (answers, epoch) = catchUp?.answer else { return }
        catchUp = nil
        if isLost() { return fail { $0.failedCatchUp() } }
        let deliveries = machine.completedCatchUp(
            answers.map { $0.map(CatchUpAnswer.reading) ?? .refused }, epoch: epoch)
        send(deliveries, epoch: epoch)
    }

    private mutating func landSweep() {
        guard let (lost, epoch) = sweep?.answer else { return }
        sweep = nil
        if isLost() { return fail { $0.failedSweep() } }
        let deliveries = machine.completedSweep(lost: lost, epoch: epoch)
        send(deliveries, epoch: epoch)
    }

    private mutating func isLost() -> Bool { !isSettling && chance(15) }

    private mutating func fail(_ tell: (inout HubStateMachine) -> Void) {
        tell(&machine)
        if let delivery = machine.degraded() { send([delivery], epoch: nil) }
    }

    // MARK: - Hints

    mutating func deliverHint() {
        if !isSettling, chance(5) {
            // Anybody may send anything.
            machine.hint(pick(sessions), version: .random(in: -5...200, using: &random))
        }
        guard !hints.isEmpty else { return }
        let (session, version) = hints.remove(at: Int.random(in: hints.indices, using: &random))
        machine.hint(session, version: version)
    }

    mutating func deliverRightsHint() {
        guard rightsHints > 0 else { return }
        rightsHints -= 1
        machine.rightsChanged()
    }

    mutating func endPauses() {
        let ended = pauses.filter { $0.end <= time }
        pauses.removeAll { $0.end <= time }
        for (session, _) in ended where machine.pauseEnded(session) { pauses.append((session, time + Self.pause)) }
    }

    mutating func pollNowAndThen() {
        guard chance(20) else { return }
        switch manner {
        case .lossless: break
        case .lossy: if chance(50) { _ = machine.poll() } else { machine.resync() }
        case .late:
            while !hints.isEmpty { deliverHint() }
            let found = machine.poll()
            check(found == 0, "the poll is not needed when hints are only late")
        }
    }

    /// What has no consequence, or should have none.
    mutating func disturb() {
        machine.checkRights(share: 0.2)
        guard !departed.isEmpty else { return }
        let stale = pick(departed)
        check(machine.ready(stale) == nil, "who is gone is told nothing")
        check(!machine.end(stale), "who is gone cannot end")
        let exception = pick([DeliveryException.gone, .full, .refused])
        check(
            machine.note(exception, of: stale, in: Delivery(.degraded, to: [stale])) == nil,
            "who is gone is told nothing")
        machine.release(stale)
    }
}
