import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    // MARK: - The answers of the database

    func progress(_ session: SessionID, _ row: Row) -> SessionProgress {
        sample(session, version: row.version, status: row.status)
    }

    func transitions(of row: Row, after version: Int64) -> [StatusTransition] {
        row.transitions.filter { $0.version > version }.map { transition($0.version, status: $0.status) }
    }

    private func feed(_ read: Feed.Read) -> FeedChanges {
        let (position, sessions) = (read.since, read.sessions)
        var changes = FeedChanges(rights: rightsNews(since: read.rightsSince))
        for (session, row) in rows {
            let news = row.transitions.filter { !position.shows($0.transaction) }
            guard !news.isEmpty || sessions.contains(session) else { continue }
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
            return Caseload(refusal: .notSignedIn, scope: .patients([]), position: position)
        }
        var caseload = Caseload(scope: scope, position: position)
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
        let listed = answer.caseload.sessions.map(\.progress.sessionID)
        let unlisted = Set(request.versions.keys).union(request.sessions).subtracting(listed)
        answer.lost += unlisted.filter { session in rows[session].map { !present.contains($0.patient) } ?? false }
        return answer
    }

    private func changes(for request: FollowerRequest) -> ProgressChanges {
        var changes = ProgressChanges(rights: rightsNews(since: request.rightsSince))
        for session in request.sessions {
            let version = request.versions[session] ?? 0
            guard let row = rows[session] else {
                changes.missing.append(session)
                continue
            }
            guard row.version > version else { continue }
            guard request.patients?.contains(row.patient) ?? true else {
                changes.moved.append(session)
                continue
            }
            changes.changed.append((progress(session, row), transitions(of: row, after: version)))
        }
        return changes
    }

    // MARK: - Reads under way

    struct FeedFlight {
        let read: Feed.Read
        var answer: FeedChanges?
    }

    struct ReadFlight {
        let read: FollowerRead
        var answer: FollowerAnswer?
        /// The epoch of its database snapshot.
        var epoch: Int64?
    }

    mutating func startReads() {
        startRightsRead()
        check(machine.nextRead(.sessions(.hints)) == nil, "no watcher has a single session")
        check(machine.nextRead(.sessions(.poll)) == nil, "no watcher has a single session")
        check(machine.nextRead(.watchers(.sweep)) == nil, "the check of a follower is a read of its caseload")
        if case .watchers(.followers(.feed(let read)))? = machine.nextRead(.watchers(.followers(.feed))) {
            check(read.sessions.count <= 2, "a read of the feed has its limit")
            check(feeds.isEmpty, "one read of the feed at a time")
            feeds.append(FeedFlight(read: read))
        }
        while case .watchers(.followers(.single(let read)))? = machine.nextRead(.watchers(.followers(.single))) {
            reads.append(ReadFlight(read: read))
            check(reads.count <= Followers.readsAtATime, "the number of reads for followers has a limit")
            guard case .sessions(let request) = read else { continue }
            check(request.sessions.count <= 2, "a catch-up has its limit")
        }
        startSubscriptions()
    }

    mutating func answerReads() {
        answerRightsRead()
        for index in feeds.indices where feeds[index].answer == nil && (isSettling || chance(50)) {
            feeds[index].answer = feed(feeds[index].read)
        }
        for index in reads.indices where reads[index].answer == nil && (isSettling || chance(50)) {
            reads[index].epoch = epoch
            switch reads[index].read {
            case .caseload(let request): reads[index].answer = .caseload(request, refresh(request))
            case .sessions(let request): reads[index].answer = .sessions(request, changes(for: request))
            }
        }
    }

    mutating func landReads() {
        landRightsRead()
        if let index = feeds.indices.filter({ feeds[$0].answer != nil }).randomElement(using: &history.random) {
            let flight = feeds.remove(at: index)
            if let answer = flight.answer {
                land(
                    .watchers(.followers(.feed(flight.read))), .watchers(.followers(.feed(answer))),
                    epoch: epoch(at: answer.position.snapshot))
            }
        }
        if let index = reads.indices.filter({ reads[$0].answer != nil }).randomElement(using: &history.random) {
            let flight = reads.remove(at: index)
            if let answer = flight.answer {
                land(
                    .watchers(.followers(.single(flight.read))),
                    .watchers(.followers(.single(withTransitions(answer)))), epoch: flight.epoch)
            }
        }
    }

    /// Adds the transitions, which may come from a later database snapshot.
    private func withTransitions(_ answer: FollowerAnswer) -> FollowerAnswer {
        guard case .caseload(let request, var refresh) = answer else { return answer }
        for (session, version) in CaseloadRefresh.newer(in: refresh.caseload, for: request) {
            refresh.transitions[session] = rows[session].map { transitions(of: $0, after: version) } ?? []
        }
        return .caseload(request, refresh)
    }
}
