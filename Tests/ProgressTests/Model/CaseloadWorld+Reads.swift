import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    // MARK: - What the database finds

    func progress(_ session: SessionID, _ row: Row) -> SessionProgress {
        sample(session, version: row.version, status: row.status)
    }

    func transitions(of row: Row, after version: Int64) -> [StatusTransition] {
        row.transitions.filter { $0.version > version }.map { transition($0.version, status: $0.status) }
    }

    private func feed(since position: FeedPosition, also asked: [SessionID]) -> FeedChanges {
        var changes = FeedChanges(rightsEpoch: epoch, position: self.position)
        for (session, row) in rows {
            let news = row.transitions.filter { !position.shows($0.transaction) }
            guard !news.isEmpty || asked.contains(session) else { continue }
            changes.items.append(
                FeedChanges.Item(
                    patient: row.patient, progress: progress(session, row),
                    transitions: news.map { transition($0.version, status: $0.status) },
                    transaction: news.last?.transaction))
        }
        changes.deleted = deleted.filter { !position.shows($0.transaction) }.map { ($0.session, $0.patient) }
        return changes
    }

    func caseload(of user: Principal, known: Set<UserID>?) -> Caseload {
        guard let scope = rights[rights.count - 1][user] else {
            return Caseload(refusal: .notSignedIn, scope: .patients([]), rightsEpoch: epoch, position: position)
        }
        var caseload = Caseload(scope: scope, rightsEpoch: epoch, position: position)
        for (session, row) in rows.sorted(by: { $0.key < $1.key }) where scope.contains(row.patient) {
            let isNew = known.map { !$0.contains(row.patient) } ?? false
            guard row.status != .processed || isNew && scope != .everybody else { continue }
            caseload.sessions.append((row.patient, progress(session, row)))
        }
        return caseload
    }

    private func refresh(_ request: FollowerRequest) -> CaseloadRefresh {
        var answer = CaseloadRefresh(caseload: caseload(of: request.principal, known: request.patients))
        guard let known = request.patients, case .patients(let present) = answer.caseload.scope else { return answer }
        let lost = known.subtracting(present)
        answer.lost = rows.filter { _, row in
            let end = lostAt[Right(user: request.principal, patient: row.patient)]
            return lost.contains(row.patient) && end.map { row.created <= $0 } ?? false
        }.keys.sorted()
        answer.lost += deleted.filter { lost.contains($0.patient) }.map(\.session)
        return answer
    }

    private func changes(for request: FollowerRequest) -> ProgressChanges {
        var changes = ProgressChanges(rightsEpoch: epoch)
        for session in request.sessions {
            let version = request.versions[session] ?? 0
            guard let row = rows[session] else {
                changes.missing.append(session)
                continue
            }
            guard row.version > version else { continue }
            changes.changed.append((progress(session, row), transitions(of: row, after: version)))
        }
        return changes
    }

    // MARK: - Reads on their way

    struct FeedFlight {
        let asked: Feed.Read
        var answer: FeedChanges?
    }

    struct ReadFlight {
        let asked: FollowerRead
        var answer: FollowerAnswer?
    }

    struct EpochFlight { var answer: Int64? }

    mutating func startReads() {
        if case .sessions(_, let read)? = machine.nextRead(.sessions(.hints)) {
            check(read.sessions.isEmpty, "nobody watches a single session")
            epochRead = EpochFlight()
        }
        check(machine.nextRead(.sessions(.poll)) == nil, "nobody watches a single session")
        check(machine.nextRead(.rights) == nil, "followers are asked about by reading their caseload")
        if case .followers(.feed(let read))? = machine.nextRead(.followers(.feed)) {
            check(read.sessions.count <= 2, "a read of the feed has its limit")
            check(feeds.isEmpty, "one read of the feed at a time")
            feeds.append(FeedFlight(asked: read))
        }
        while case .followers(.single(let read))? = machine.nextRead(.followers(.single)) {
            reads.append(ReadFlight(asked: read))
            check(reads.count <= Followers.readsAtATime, "not too many reads for followers")
            guard case .sessions(let request) = read else { continue }
            check(request.sessions.count <= 2, "a catch-up has its limit")
        }
        startOpenings()
    }

    /// The database answers, each read with what it finds at this moment; while nothing settles only some of them.
    mutating func answerReads() {
        if isSettling || chance(50), epochRead != nil, epochRead?.answer == nil {
            epochRead = EpochFlight(answer: epoch)
        }
        for index in feeds.indices where feeds[index].answer == nil && (isSettling || chance(50)) {
            feeds[index].answer = feed(since: feeds[index].asked.since, also: feeds[index].asked.sessions)
        }
        for index in reads.indices where reads[index].answer == nil && (isSettling || chance(50)) {
            switch reads[index].asked {
            case .caseload(let request): reads[index].answer = .caseload(request, refresh(request))
            case .sessions(let request): reads[index].answer = .sessions(request, changes(for: request))
            }
        }
    }

    /// Answers come back, or are lost on the way.
    mutating func landReads() {
        if let answer = epochRead?.answer {
            epochRead = nil
            land(.sessions(.hints, SessionRead()), .sessions(.hints, SessionReadAnswer(epoch: answer)))
        }
        if let index = feeds.indices.filter({ feeds[$0].answer != nil }).randomElement(using: &random) {
            let flight = feeds.remove(at: index)
            if let answer = flight.answer {
                land(.followers(.feed(flight.asked)), .followers(.feed(answer)))
            }
        }
        if let index = reads.indices.filter({ reads[$0].answer != nil }).randomElement(using: &random) {
            let flight = reads.remove(at: index)
            if let answer = flight.answer {
                land(.followers(.single(flight.asked)), .followers(.single(withHistory(answer))))
            }
        }
    }

    /// History may come from a later snapshot.
    private func withHistory(_ answer: FollowerAnswer) -> FollowerAnswer {
        guard case .caseload(let request, var refresh) = answer else { return answer }
        for (session, version) in CaseloadRefresh.newer(in: refresh.caseload, for: request) {
            refresh.transitions[session] = rows[session].map { transitions(of: $0, after: version) } ?? []
        }
        return .caseload(request, refresh)
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
        guard let index = hints.indices.randomElement(using: &random) else { return }
        let (session, version) = hints.remove(at: index)
        machine.hint(session, version: version)
    }

    mutating func deliverRightsHint() {
        guard rightsHints > 0 else { return }
        rightsHints -= 1
        machine.rightsChanged()
    }

    mutating func passTime() { machine.timeIs(now) }

    /// The poll finds out that something was committed.
    mutating func poll() {
        polls += 1
        perform(machine.completed(.snapshot("\(polls)"), at: now), epoch: nil)
    }
}
