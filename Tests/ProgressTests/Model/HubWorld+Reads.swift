import Domain
import Store
import Testing

@testable import Progress

extension HubWorld {
    // MARK: - Reads under way

    /// A reading, and its answer once the database has read.
    struct ReadingFlight {
        let read: SessionRead
        var answer: (answer: SessionReadAnswer, epoch: Int64)?
    }

    struct CatchUpFlight {
        let requests: [WatcherRequest]
        var answer: (answers: [SessionReading?], epoch: Int64)?
    }

    struct SweepFlight {
        let requests: [WatcherRequest]
        var answer: (lost: Set<Int>, epoch: Int64)?
    }

    /// A read for pending subscriptions.
    struct SubscriptionFlight {
        let pending: [PendingSubscription]
        var answers: (authorizations: [SessionAuthorization], epoch: Int64)?
    }

    mutating func startReads() {
        startRightsRead()
        for lane in SessionReads.Lane.allCases {
            guard case .sessions(lane, let read)? = machine.nextRead(.sessions(lane)) else { continue }
            check(readings[lane.rawValue] == nil, "one reading of a lane at a time")
            check(Set(read.sessions).count == read.sessions.count, "a reading contains a session once")
            check(read.sessions.count <= 2, "a reading has its limit")
            readings[lane.rawValue] = ReadingFlight(read: read)
        }
        if case .watchers(.catchUp(let requests))? = machine.nextRead(.watchers(.catchUps)) {
            check(catchUp == nil, "one catch-up at a time")
            check(Set(requests.map(\.watcher)).count == requests.count, "a catch-up contains a watcher once")
            catchUp = CatchUpFlight(requests: requests)
        }
        if case .watchers(.sweep(let requests))? = machine.nextRead(.watchers(.sweep)) {
            check(sweep == nil, "one sweep at a time")
            sweep = SweepFlight(requests: requests)
        }
        while case .subscriptions(.sessions(let pending))? = machine.nextRead(.subscriptions(.sessions)) {
            subscriptions.append(SubscriptionFlight(pending: pending))
            check(pending.count <= 3, "a statement has its limit of subscriptions")
            check(subscriptions.count <= 2, "the number of statements under way has a limit")
        }
    }

    mutating func answerReads() {
        answerRightsRead()
        for lane in readings.indices where isSettling || chance(50) { answer(lane) }
        if isSettling || chance(50) { answerCatchUp() }
        if isSettling || chance(50) { answerSweep() }
        for index in subscriptions.indices where isSettling || chance(50) { answerSubscriptions(index) }
    }

    private mutating func answer(_ lane: Int) {
        guard let flight = readings[lane], flight.answer == nil else { return }
        var (news, missing): ([SessionReading], [SessionID]) = ([], [])
        for (session, known) in zip(flight.read.sessions, flight.read.versions) {
            if let found = read(session, after: known) {
                if found.progress.version > known { news.append(found) }
            } else {
                missing.append(session)
            }
        }
        let answer = SessionReadAnswer(
            news: news, missing: missing, rights: rightsNews(since: flight.read.rightsSince))
        readings[lane] = ReadingFlight(read: flight.read, answer: (answer, epoch))
    }

    private mutating func answerCatchUp() {
        guard let flight = catchUp, flight.answer == nil else { return }
        let answers = flight.requests.map { request in
            had(Right(user: request.principal, session: request.session), at: epoch)
                ? read(request.session, after: request.version) : nil
        }
        catchUp = CatchUpFlight(requests: flight.requests, answer: (answers, epoch))
    }

    private mutating func answerSweep() {
        guard let flight = sweep, flight.answer == nil else { return }
        let lost = flight.requests.indices.filter { index in
            let request = flight.requests[index]
            return rows[request.session] == nil
                || !had(Right(user: request.principal, session: request.session), at: epoch)
        }
        sweep = SweepFlight(requests: flight.requests, answer: (Set(lost), epoch))
    }

    private mutating func answerSubscriptions(_ index: Int) {
        guard subscriptions[index].answers == nil else { return }
        let authorizations = subscriptions[index].pending.map { subscription in
            let right = Right(user: subscription.request.principal, session: subscription.request.session)
            guard had(right, at: epoch), let found = read(right.session, after: 0) else {
                return SessionAuthorization(verdict: .noSession, progress: nil)
            }
            return SessionAuthorization(verdict: FakeReader.permitted, progress: found.progress)
        }
        subscriptions[index].answers = (authorizations, epoch)
    }

    mutating func landReads() {
        for lane in SessionReads.Lane.allCases where isSettling || chance(50) { land(lane) }
        if isSettling || chance(50) { landCatchUp() }
        if isSettling || chance(50) { landSweep() }
        if isSettling || chance(50) { landSubscriptions() }
        if isSettling || chance(50) { landRightsRead() }
    }

    private mutating func land(_ lane: SessionReads.Lane) {
        guard let flight = readings[lane.rawValue], let (answer, epoch) = flight.answer else { return }
        readings[lane.rawValue] = nil
        land(.sessions(lane, flight.read), .sessions(lane, answer), epoch: epoch)
    }

    private mutating func landCatchUp() {
        guard let flight = catchUp, let (answers, epoch) = flight.answer else { return }
        catchUp = nil
        land(
            .watchers(.catchUp(flight.requests)),
            .watchers(.catchUp(answers.map { $0.map(CatchUpAnswer.reading) ?? .refused })), epoch: epoch)
    }

    private mutating func landSweep() {
        guard let flight = sweep, let (lost, epoch) = flight.answer else { return }
        sweep = nil
        land(.watchers(.sweep(flight.requests)), .watchers(.sweep(lost: lost)), epoch: epoch)
    }

    private mutating func landSubscriptions() {
        let landed = subscriptions.indices.filter { subscriptions[$0].answers != nil }
        guard !landed.isEmpty else { return }
        let flight = subscriptions.remove(at: pick(landed))
        guard let (authorizations, epoch) = flight.answers else { return }
        land(
            .subscriptions(.sessions(flight.pending)), .subscriptions(.sessions(flight.pending, authorizations)),
            epoch: epoch)
    }

    // MARK: - Hints

    mutating func deliverOrForgeHint() {
        if !isSettling, chance(5) {
            // Any role of the database can send any hint.
            machine.hint(pick(sessions), version: .random(in: -5...200, using: &history.random), at: now)
        }
        deliverHint()
    }

    mutating func pollNowAndThen() {
        guard chance(20) else { return }
        switch history.delivery {
        case .lossless: break
        case .lossy: if chance(50) { poll() } else { machine.resync(at: now) }
        case .late:
            while !history.hints.isEmpty { deliverOrForgeHint() }
            poll()
        }
    }

    /// Events that must have no effect: on watchers that have left, and a regular check.
    mutating func disturb() {
        machine.regularCheckIsDue(share: 0.2)
        if chance(10) { pruneRights() }
        guard !departed.isEmpty else { return }
        let stale = pick(departed)
        check(machine.unblocked(stale).isEmpty, "a watcher that has left gets no message")
        check(!machine.ended(stale), "a watcher that has left cannot end")
        let exception = pick([DeliveryException.gone, .full, .refused])
        check(
            machine.delivered(Delivery(.degraded, to: [stale]), [(stale, exception)]).isEmpty,
            "a watcher that has left gets no message")
        machine.closed(stale)
        machine.abandoned(stale)
    }
}
