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

    private func reopening(_ request: FollowerRequest) -> Reopening {
        var answer = Reopening(caseload: caseload(of: request.principal, known: request.patients))
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
        let since: FeedPosition
        let sessions: [SessionID]
        var answer: FeedChanges?
    }

    struct ReadFlight {
        enum Answer {
            case caseload(Reopening)
            case sessions(ProgressChanges)
        }

        let asked: FollowerRead
        var answer: Answer?
    }

    struct EpochFlight { var answer: Int64? }

    mutating func startReads() {
        if let reading = machine.nextReading(.hints) {
            check(reading.sessions.isEmpty, "nobody watches a single session")
            epochRead = EpochFlight()
        }
        check(machine.nextSweep() == nil, "followers are asked about by reading their caseload")
        if let (since, sessions) = machine.nextFeed() {
            check(sessions.count <= 2, "a read of the feed has its limit")
            feeds.append(FeedFlight(since: since, sessions: sessions))
        }
        while let read = machine.nextFollowerRead() {
            reads.append(ReadFlight(asked: read))
            check(reads.count <= HubStateMachine.followerReads, "not too many reads for followers")
            guard case .sessions(let request) = read else { continue }
            check(request.sessions.count <= 2, "a catch-up has its limit")
        }
    }

    /// The database answers, each read with what it finds at this moment; while nothing settles only some of them.
    mutating func answerReads() {
        if isSettling || chance(50), epochRead != nil, epochRead?.answer == nil {
            epochRead = EpochFlight(answer: epoch)
        }
        for index in feeds.indices where feeds[index].answer == nil && (isSettling || chance(50)) {
            feeds[index].answer = feed(since: feeds[index].since, also: feeds[index].sessions)
        }
        for index in reads.indices where reads[index].answer == nil && (isSettling || chance(50)) {
            switch reads[index].asked {
            case .caseload(let request): reads[index].answer = .caseload(reopening(request))
            case .sessions(let request): reads[index].answer = .sessions(changes(for: request))
            }
        }
    }

    /// Answers come back, or are lost on the way.
    mutating func landReads() {
        if let answer = epochRead?.answer {
            epochRead = nil
            if isLost() {
                fail { $0.failed(.hints) }
            } else {
                send(machine.completed(.hints, [], missing: [], epoch: answer).deliveries, epoch: answer)
            }
        }
        if let index = feeds.indices.filter({ feeds[$0].answer != nil }).randomElement(using: &random) {
            land(feeds.remove(at: index))
        }
        if let index = reads.indices.filter({ reads[$0].answer != nil }).randomElement(using: &random) {
            land(reads.remove(at: index))
        }
    }

    private mutating func land(_ flight: FeedFlight) {
        guard let answer = flight.answer else { return }
        if isLost() { return fail { $0.failedFeed() } }
        let outcome = machine.completedFeed(answer)
        send(outcome.deliveries, epoch: answer.rightsEpoch)
        for session in outcome.pauses { pauses.append((session, time + Self.pause)) }
    }

    private mutating func land(_ flight: ReadFlight) {
        if isLost() { return fail { $0.failed(flight.asked) } }
        switch (flight.asked, flight.answer) {
        case (.caseload(let request), .caseload(var answer)):
            // History may come from a later snapshot.
            let newer = Reopening.newer(in: answer.caseload, for: request)
            for (session, version) in newer {
                answer.transitions[session] = rows[session].map { transitions(of: $0, after: version) } ?? []
            }
            send(machine.completedReopening(request, answer), epoch: answer.caseload.rightsEpoch)
        case (.sessions(let request), .sessions(let changes)):
            send(machine.completedCatchUp(request, changes), epoch: changes.rightsEpoch)
        default: check(false, "a read is answered as it asked")
        }
    }

    private mutating func isLost() -> Bool { !isSettling && chance(15) }

    private mutating func fail(_ tell: (inout HubStateMachine) -> Void) {
        tell(&machine)
        if let delivery = machine.degraded() { send([delivery], epoch: nil) }
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

    mutating func endPauses() {
        let ended = pauses.filter { $0.end <= time }
        pauses.removeAll { $0.end <= time }
        for (session, _) in ended where machine.pauseEnded(session) { pauses.append((session, time + Self.pause)) }
    }
}
