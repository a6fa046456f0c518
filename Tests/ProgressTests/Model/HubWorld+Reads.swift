import Domain
import Store
import Testing

@testable import Progress

extension HubWorld {
    // MARK: - Reads on their way

    /// What was asked, and once the database was reached, its answer.
    struct ReadingFlight {
        let asked: SessionRead
        var answer: (news: [SessionReading], missing: [SessionID], epoch: Int64)?
    }

    struct CatchUpFlight {
        let asked: [WatcherRequest]
        var answer: (answers: [SessionReading?], epoch: Int64)?
    }

    struct SweepFlight {
        let asked: [WatcherRequest]
        var answer: (lost: Set<Int>, epoch: Int64)?
    }

    /// The snapshots of openers.
    struct OpeningFlight {
        let asked: [SessionOpener]
        var answers: [SessionAuthorization]?
    }

    mutating func startReads() {
        for lane in SessionReads.Lane.allCases {
            guard case .sessions(lane, let read)? = machine.nextRead(.sessions(lane)) else { continue }
            check(readings[lane.rawValue] == nil, "one reading of a lane at a time")
            check(Set(read.sessions).count == read.sessions.count, "a session is read once in a reading")
            check(read.sessions.count <= 2, "a reading has its limit")
            readings[lane.rawValue] = ReadingFlight(asked: read)
        }
        if case .catchUp(let requests)? = machine.nextRead(.catchUps) {
            check(catchUp == nil, "one catch-up at a time")
            check(Set(requests.map(\.watcher)).count == requests.count, "a watcher is caught up once in a catch-up")
            catchUp = CatchUpFlight(asked: requests)
        }
        if case .sweep(let requests)? = machine.nextRead(.rights) {
            check(sweep == nil, "one sweep at a time")
            sweep = SweepFlight(asked: requests)
        }
        while case .openings(.sessions(let openers))? = machine.nextRead(.openings(.sessions)) {
            openings.append(OpeningFlight(asked: openers))
            check(openers.count <= 3, "a statement lets in no more than its limit")
            check(openings.count <= 2, "no more statements than may be are under way")
        }
    }

    /// The database answers, each read with what it finds at this moment; while nothing settles only some of them.
    mutating func answerReads() {
        for lane in readings.indices where isSettling || chance(50) { answer(lane) }
        if isSettling || chance(50) { answerCatchUp() }
        if isSettling || chance(50) { answerSweep() }
        for index in openings.indices where isSettling || chance(50) { answerOpening(index) }
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

    private mutating func answerOpening(_ index: Int) {
        guard openings[index].answers == nil else { return }
        openings[index].answers = openings[index].asked.map { opener in
            let right = Right(user: opener.request.principal, session: opener.request.session)
            guard had(right, at: epoch), let found = read(right.session, after: 0) else {
                return SessionAuthorization(verdict: .noSession, progress: nil, rightsEpoch: epoch)
            }
            return SessionAuthorization(
                verdict: FakeReader.admitted, progress: found.progress, rightsEpoch: epoch)
        }
    }

    /// Answers come back, or are lost on the way.
    mutating func landReads() {
        for lane in SessionReads.Lane.allCases where isSettling || chance(50) { land(lane) }
        if isSettling || chance(50) { landCatchUp() }
        if isSettling || chance(50) { landSweep() }
        if isSettling || chance(50) { landOpening() }
    }

    private mutating func land(_ lane: SessionReads.Lane) {
        guard let flight = readings[lane.rawValue], let (news, missing, epoch) = flight.answer else { return }
        readings[lane.rawValue] = nil
        land(
            .sessions(lane, flight.asked),
            .sessions(lane, SessionReadAnswer(news: news, missing: missing, epoch: epoch)))
    }

    private mutating func landCatchUp() {
        guard let flight = catchUp, let (answers, epoch) = flight.answer else { return }
        catchUp = nil
        land(.catchUp(flight.asked), .catchUp(answers.map { $0.map(CatchUpAnswer.reading) ?? .refused }, epoch: epoch))
    }

    private mutating func landSweep() {
        guard let flight = sweep, let (lost, epoch) = flight.answer else { return }
        sweep = nil
        land(.sweep(flight.asked), .sweep(lost: lost, epoch: epoch))
    }

    private mutating func landOpening() {
        let landed = openings.indices.filter { openings[$0].answers != nil }
        guard !landed.isEmpty else { return }
        let flight = openings.remove(at: pick(landed))
        land(.openings(.sessions(flight.asked)), .openings(.sessions(flight.asked, flight.answers ?? [])))
    }

    private mutating func land(_ read: HubRead, _ answer: HubAnswer) {
        guard isSettling || !chance(15) else { return fail(read) }
        perform(machine.completed(answer, at: now), epoch: answer.epoch)
    }

    private mutating func fail(_ read: HubRead) {
        // Mostly it may be made again at once: nothing else happens while reads wait.
        let isAtOnce = chance(80)
        let actions = machine.failed(
            read, FakeReader.Down(), isCutShort: false, jitter: isAtOnce ? 0 : 0.2, at: now)
        perform(actions, epoch: nil)
        if isAtOnce { passTime() }
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

    mutating func passTime() { machine.timeIs(now) }

    mutating func pollNowAndThen() {
        guard chance(20) else { return }
        switch manner {
        case .lossless: break
        case .lossy: if chance(50) { poll() } else { machine.resync() }
        case .late:
            while !hints.isEmpty { deliverHint() }
            poll()
        }
    }

    /// The poll finds out that something was committed.
    mutating func poll() {
        polls += 1
        perform(machine.completed(.snapshot("\(polls)"), at: now), epoch: nil)
    }

    /// What has no consequence, or should have none.
    mutating func disturb() {
        machine.regularCheckIsDue(share: 0.2)
        guard !departed.isEmpty else { return }
        let stale = pick(departed)
        check(machine.unblocked(stale).isEmpty, "who is gone is told nothing")
        check(!machine.ended(stale), "who is gone cannot end")
        let exception = pick([DeliveryException.gone, .full, .refused])
        check(
            machine.delivered(Delivery(.degraded, to: [stale]), [(stale, exception)]).isEmpty,
            "who is gone is told nothing")
        machine.closed(stale)
        machine.abandoned(stale)
    }
}
