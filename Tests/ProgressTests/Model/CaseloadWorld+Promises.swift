import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    /// Performs actions as the hub does.
    ///
    /// - Parameter epoch: That of the database snapshot from which they come.
    mutating func perform(_ actions: [HubAction], epoch: Int64?) {
        for action in actions {
            switch action {
            case .deliver(let delivery):
                let exceptions = delivery.watchers.compactMap { watcher in
                    take(delivery, at: watcher, epoch: epoch).map { (watcher, $0) }
                }
                perform(machine.delivered(delivery, exceptions), epoch: nil)
            case .foundByPoll: continue
            case .update, .finish, .answer: check(false, "nobody watches a single session")
            }
        }
    }

    /// What a client's socket does with a message.
    private mutating func take(_ delivery: Delivery, at id: WatcherID, epoch: Int64?) -> DeliveryException? {
        guard let index = clients.firstIndex(where: { $0.id == id && $0.stage != .away }) else { return .gone }
        check(clients[index].stage == .attached, "a message is for one who has a socket and has not been told the last")
        switch delivery.message {
        case .revoked:
            let since = clients[index].caseload?.rightsEpoch ?? 1
            let user = clients[index].user
            check((since...self.epoch).contains { rights[Int($0) - 1][user] == nil }, "revoked only without a right")
            clients[index].stage = .ended
            return nil
        case .reconnect:
            // It comes back with the position that it has.
            machine.closed(id)
            clients[index].stage = .away
            return nil
        case .degraded, .recovered:
            if clients[index].isBlocked { return .refused }
            let isTrouble = delivery.message == .degraded
            check(clients[index].knowsTrouble != isTrouble, "trouble is told once, and its end once")
            clients[index].knowsTrouble = isTrouble
            return nil
        case .caseload(let events, let before, let after):
            if clients[index].isBlocked { return .refused }
            check(!events.isEmpty, "no message says nothing")
            checkRight(events, index, epoch: epoch)
            if !isSettling, chance(8) {
                // The connection breaks in the middle of it.
                let part = Array(events.prefix(Int.random(in: 0..<events.count, using: &random)))
                receive(part, before: before?.id, after: before?.id, index)
                clients[index].stage = .away
                return .gone
            }
            receive(events, before: before?.id, after: after?.id, index)
            guard !isSettling, chance(15) else { return nil }
            clients[index].isBlocked = true
            return .full
        case .state, .expired:
            check(false, "a follower is told of caseloads")
            return nil
        }
    }

    private mutating func checkRight(_ events: [CaseloadEvent], _ index: Int, epoch: Int64?) {
        let user = clients[index].user
        for event in events {
            guard let progress = event.progress, let patient = patient(of: progress.sessionID) else { continue }
            check(epoch.map { may(user, see: patient, at: $0) } == true, "nothing from a snapshot without the right")
            check(epoch == machine.epoch, "nothing from a snapshot since which rights are known to have changed")
        }
    }

    func patient(of session: SessionID) -> UserID? {
        rows[session]?.patient ?? deleted.first { $0.session == session }?.patient
    }

    /// A client gets some events, and holds them against what it is promised.
    mutating func receive(_ events: [CaseloadEvent], before: String?, after: String?, _ index: Int) {
        for (number, event) in events.enumerated() {
            if let id = number == events.count - 1 ? after : before { clients[index].lastEventID = id }
            if case .removed(let session) = event {
                clients[index].shown[session] = nil
                clients[index].display[session] = nil
            }
            guard let progress = event.progress else { continue }
            let session = progress.sessionID
            if clients[index].stage == .attached { checkOrder(event, progress, clients[index]) }
            if let last = clients[index].shown[session] {
                check(progress.version > last.version, "versions strictly rise: \(event) after \(last)")
            }
            clients[index].shown[session] = Client.Shown(version: progress.version, status: progress.status)
            clients[index].told[session, default: []].insert(progress.version)
            clients[index].display[session] = progress.version
        }
    }

    private mutating func checkOrder(_ event: CaseloadEvent, _ progress: SessionProgress, _ client: Client) {
        let session = progress.sessionID
        let last = client.shown[session]
        let isRetried = last?.status == .failed && progress.status == .pending
        let isNamed = if case .added = event { true } else { false }
        check(isNamed == (last == nil || isRetried), "what begins is added, and nothing else: \(event)")
        guard let row = rows[session] else { return }
        if let last {
            check(
                !row.transitions.contains { $0.version > last.version && $0.version < progress.version },
                "every transition between, in order")
        } else if let caseload = client.caseload, caseload.scope.contains(row.patient) {
            let done = row.transitions.first { $0.status == .processed }
            check(
                done.map { caseload.position.shows($0.transaction) } != true || hasChangedRights(client, row.patient),
                "nobody is told of what was done before it came")
        }
    }

    private func hasChangedRights(_ client: Client, _ patient: UserID) -> Bool {
        !((client.caseload?.rightsEpoch ?? 1)...epoch).allSatisfy { may(client.user, see: patient, at: $0) }
    }

    // MARK: - The end

    /// Checks where everybody is once all is settled.
    mutating func checkTheEnd() {
        for client in clients {
            check(client.stage == .attached, "everybody follows, or has been told why not: \(client.stage)")
            check(rights[rights.count - 1][client.user] != nil, "whose right has ended is told so")
            check(!client.knowsTrouble, "the end of the trouble is told")
            for (session, row) in rows where may(client.user, see: row.patient, at: epoch) {
                checkTold(session, row, to: client)
                guard row.status != .processed else { continue }
                check(
                    client.shown[session]?.version == row.version, "everybody has the newest state of what is not done")
            }
            for session in client.display.keys {
                check(rows[session] != nil, "of what is deleted, everybody to whom it was shown is told")
                guard let patient = rows[session]?.patient else { continue }
                check(may(client.user, see: patient, at: epoch), "what is taken away is taken from the display")
            }
        }
        check(machine.followers.areCurrent, "nobody is left behind")
        for client in clients { machine.closed(client.id) }
        check(machine.followers.isEmpty, "no follower is left behind")
        check(machine.followers.feed.sessionCount == 0, "no session is left behind")
        check(!machine.followers.feed.isRunning, "with the last follower the feed ends")
        check(machine.admission.total == 0, "no place is left taken")
        check(machine.table.freeCount == machine.table.count, "every slot is free")
    }

    /// Whoever had the right all the time was told every transition, over one connection or another.
    private mutating func checkTold(_ session: SessionID, _ row: Row, to client: Client) {
        guard let start = client.start,
            (start.epoch...epoch).allSatisfy({ may(client.user, see: row.patient, at: $0) })
        else { return }
        for transition in row.transitions where !start.position.shows(transition.transaction) {
            check(
                client.told[session]?.contains(transition.version) == true,
                "every transition is told: \(transition.version) of \(session)")
        }
    }
}

extension CaseloadEvent {
    var progress: SessionProgress? {
        switch self {
        case .state(let progress), .passed(let progress), .added(let progress): progress
        case .removed, .ready: nil
        }
    }
}
