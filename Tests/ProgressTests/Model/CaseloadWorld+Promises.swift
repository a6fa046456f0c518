import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    /// Performs actions as the hub does.
    ///
    /// - Parameters:
    ///   - actions: The actions.
    ///   - epoch: The epoch of the database snapshot that they come from.
    mutating func perform(_ actions: [HubAction], epoch: Int64?) {
        for action in actions {
            switch action {
            case .deliver(let delivery):
                let exceptions = delivery.watchers.compactMap { watcher in
                    take(delivery, at: watcher, epoch: epoch).map { (watcher, $0) }
                }
                perform(machine.delivered(delivery, exceptions), epoch: nil)
            case .foundByPoll: continue
            case .shown(let change): checkShown(change, streams: .all)
            case .resynced(let duration): checkResync(duration)
            case .update, .finish, .answer: check(false, "no watcher has a single session")
            }
        }
    }

    /// The socket of a client takes a message or refuses it.
    private mutating func take(_ delivery: Delivery, at id: WatcherID, epoch: Int64?) -> DeliveryException? {
        guard let index = clients.firstIndex(where: { $0.id == id && $0.stage != .away }) else { return .gone }
        check(clients[index].stage == .attached, "a message is for a client with a socket, before its last message")
        switch delivery.message {
        case .revoked:
            let since = clients[index].caseload.map { self.epoch(at: $0.position.snapshot) } ?? 1
            let user = clients[index].user
            check(
                (since...self.epoch).contains { rights[Int($0) - 1][user] == nil },
                "a stream is revoked only if the right has ended")
            clients[index].stage = .ended
            return nil
        case .reconnect:
            // The client reconnects with its position.
            machine.closed(id)
            clients[index].stage = .away
            return nil
        case .degraded, .recovered:
            if clients[index].isBlocked { return .refused }
            let isDegraded = delivery.message == .degraded
            check(clients[index].isDegraded != isDegraded, "degraded and recovered alternate")
            clients[index].isDegraded = isDegraded
            return nil
        case .caseload(let events, let before, let after):
            if clients[index].isBlocked { return .refused }
            check(!events.isEmpty, "no message is empty")
            checkRight(events, index, epoch: epoch)
            if !isSettling, chance(8) {
                // The connection breaks in the middle of the message.
                let part = Array(events.prefix(Int.random(in: 0..<events.count, using: &history.random)))
                receive(part, before: before?.id, after: before?.id, index)
                clients[index].stage = .away
                return .gone
            }
            receive(events, before: before?.id, after: after?.id, index)
            guard !isSettling, chance(15) else { return nil }
            clients[index].isBlocked = true
            return .full
        case .state, .expired:
            check(false, "a follower gets only caseloads")
            return nil
        }
    }

    private mutating func checkRight(_ events: [CaseloadEvent], _ index: Int, epoch: Int64?) {
        let user = clients[index].user
        for event in events {
            guard let progress = event.progress else { continue }
            check(
                epoch.map { may(user, see: progress.sessionID, at: max($0, knownEpoch)) } == true,
                "no state without the right, by all that the database snapshot shows and the hub knows")
        }
    }

    /// Checks that events keep the promises to their client.
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
            clients[index].received[session, default: []].insert(progress.version)
            clients[index].display[session] = progress.version
        }
    }

    private mutating func checkOrder(_ event: CaseloadEvent, _ progress: SessionProgress, _ client: Client) {
        let session = progress.sessionID
        let last = client.shown[session]
        let isRetried = last?.status == .failed && progress.status == .pending
        let isNamed = if case .added = event { true } else { false }
        check(isNamed == (last == nil || isRetried), "a session that begins is added, and no other: \(event)")
        guard let row = rows[session] else { return }
        if let last {
            check(
                !row.transitions.contains { $0.version > last.version && $0.version < progress.version },
                "every transition between, in order")
        } else if let caseload = client.caseload {
            let done = row.transitions.first { $0.status == .processed }
            check(
                done.map { caseload.position.shows($0.transaction) } != true || hasChangedRights(client, session),
                "a client does not get sessions that were processed before it began")
        }
    }

    private func hasChangedRights(_ client: Client, _ session: SessionID) -> Bool {
        let since = client.caseload.map { epoch(at: $0.position.snapshot) } ?? 1
        return !(since...epoch).allSatisfy { may(client.user, see: session, at: $0) }
    }

    // MARK: - The end

    mutating func checkTheEnd() {
        for client in clients {
            check(client.stage == .attached, "every client follows, or got its last message: \(client.stage)")
            check(rights[rights.count - 1][client.user] != nil, "a client without the right has been revoked")
            check(!client.isDegraded, "every client has got recovered")
            for (session, row) in rows where may(client.user, see: row.patient, at: epoch) {
                checkTransitions(of: session, row, at: client)
                guard row.status != .processed else { continue }
                check(
                    client.shown[session]?.version == row.version,
                    "every client has the newest state of what is not processed")
            }
            for session in client.display.keys {
                check(rows[session] != nil, "no display shows a deleted session")
                check(
                    rows[session] == nil || may(client.user, see: session, at: epoch),
                    "no display shows a session without the right")
            }
        }
        check(machine.watchers.followers.areCurrent, "every follower has everything")
        for client in clients { machine.closed(client.id) }
        check(machine.watchers.followers.isEmpty, "no follower is left behind")
        check(machine.watchers.followers.index.isEmpty, "no follower is left in the index")
        check(machine.watchers.followers.collected.count == 0, "without pending followers nothing is collected")
        check(machine.watchers.followers.feed.sessionCount == 0, "no session is left behind")
        check(!machine.watchers.followers.feed.isRunning, "with the last follower the feed ends")
        check(machine.admission.total == 0, "no stream is counted any more")
        check(machine.watchers.table.freeCount == machine.watchers.table.count, "every slot is free")
    }

    /// Checks that a client that had the right all the time got every transition, over one connection or another.
    ///
    /// A session that has moved to a patient who is new to the client begins with its present state.
    private mutating func checkTransitions(of session: SessionID, _ row: Row, at client: Client) {
        guard let start = client.start,
            (start.epoch...epoch).allSatisfy({ may(client.user, see: session, at: $0) }),
            owners[session]?.last.map({ $0.since <= start.epoch }) == true
        else { return }
        for transition in row.transitions where !start.position.shows(transition.transaction) {
            check(
                client.received[session]?.contains(transition.version) == true,
                "every transition arrives: \(transition.version) of \(session)")
        }
    }
}
