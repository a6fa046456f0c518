import Domain
import Testing

@testable import Progress

extension HubWorld {
    /// Performs actions as the hub does.
    ///
    /// - Parameter epoch: That of the database snapshot from which they come.
    mutating func perform(_ actions: [HubAction], epoch: Int64?) {
        for action in actions {
            switch action {
            case .deliver(let delivery): deliver(delivery, epoch: epoch)
            case .update(let id, let progress): update(id, progress)
            case .finish(let id): finish(id)
            case .answer(let id, let result): answer(id, result)
            case .foundByPoll(let count):
                check(manner != .late || count == 0, "the poll is not needed when hints are only late")
            }
        }
    }

    private mutating func deliver(_ delivery: Delivery, epoch: Int64?) {
        let exceptions = delivery.watchers.compactMap { watcher in
            take(delivery, at: watcher, epoch: epoch).map { (watcher, $0) }
        }
        check(machine.delivered(delivery, exceptions).isEmpty, "nothing is told instead")
    }

    /// What a client's socket does with a message.
    private mutating func take(_ delivery: Delivery, at id: WatcherID, epoch: Int64?) -> DeliveryException? {
        guard let index = clients.firstIndex(where: { $0.id == id }) else {
            check(departed.contains(id), "a message is for somebody")
            return .gone
        }
        check(clients[index].stage == .attached, "a message is for one who has a socket and has not been told the last")
        if delivery.message.isLast {
            if case .state = delivery.message, clients[index].isBlocked { return .refused }
            receive(delivery, index, epoch: epoch)
            clients[index].stage = .ended
            return nil
        }
        if clients[index].isBlocked { return .refused }
        switch isSettling ? 100 : Int.random(in: 0..<100, using: &random) {
        case 0..<5:
            departed.append(clients.remove(at: index).id)
            return .gone
        case 5..<15:
            clients[index].isBlocked = true
            return .refused
        case 15..<30:
            clients[index].isBlocked = true
            receive(delivery, index, epoch: epoch)
            return .full
        default:
            receive(delivery, index, epoch: epoch)
            return nil
        }
    }

    /// Holds what a client is given against what it is promised.
    private mutating func receive(_ delivery: Delivery, _ index: Int, epoch: Int64?) {
        let client = clients[index]
        switch delivery.message {
        case .state(let progress, let after):
            let transitions = rows[client.right.session]?.transitions ?? after.map(\.version)
            let version = progress.version
            check(progress.sessionID == client.right.session, "a watcher is told of its own session")
            check(delivery.previous == client.last, "the hub knows what a watcher was given")
            check(version > client.last, "versions strictly rise")
            check(epoch.map { had(client.right, at: $0) } == true, "nothing from a snapshot without the right")
            check(epoch == machine.epoch, "nothing from a snapshot since which rights are known to have changed")
            guard client.last > 0 else {
                // It was given nothing yet, and begins here.
                check(after.isEmpty, "a beginning is the state as it stands")
                clients[index].snapshot?.version = version
                clients[index].last = version
                return
            }
            check(
                after.map(\.version) == transitions.filter { $0 > client.last && $0 < version },
                "each transition between, once and in order")
            clients[index].transitions += transitions.filter { $0 > client.last && $0 <= version }
            clients[index].last = version
        case .caseload: check(false, "a watcher of one session is told of no other")
        case .degraded, .recovered:
            let isTrouble = delivery.message == .degraded
            check(client.knowsTrouble != isTrouble, "trouble is told once, and its end once")
            check(machine.isDegraded == isTrouble, "what is told of trouble is true")
            clients[index].knowsTrouble = isTrouble
        case .revoked(let session):
            check(session == client.right.session, "a watcher is told of its own session")
            let since = client.snapshot?.epoch ?? 1
            check((since...self.epoch).contains { !had(client.right, at: $0) }, "revoked only when the right has ended")
        case .expired, .reconnect: break
        }
    }

    /// Checks that the hub counts those who are there.
    mutating func checkBooks() {
        let watching = clients.filter(\.isWatching)
        let local = localSubscribers.filter { !$0.isEnded }
        check(
            machine.admission.total == watching.count + clients.count { $0.stage == .ended },
            "each who watches takes a place, and whose end is still on its way, and nobody else")
        check(machine.begunCount == watching.count + local.count, "who has begun is counted")
        check(
            Set(machine.watchedSessions)
                == Set(clients.filter { $0.stage != .ended }.map(\.right.session)).union(local.map(\.session)),
            "what somebody watches is watched, and nothing else")
    }

    /// Checks where everybody is once all is settled.
    mutating func checkTheEnd() {
        checkBooks()
        for client in clients {
            guard let row = rows[client.right.session], had(client.right, at: epoch), let snapshot = client.snapshot
            else {
                check(false, "whose right has ended is told so")
                continue
            }
            check(client.last == row.version, "everybody has the newest state: \(client.last) of \(row.version)")
            check(
                client.transitions == row.transitions.filter { $0 > snapshot.version },
                "every transition after the snapshot")
            check(!client.knowsTrouble, "the end of the trouble is told")
        }
        for subscriber in localSubscribers where !subscriber.isEnded {
            check(
                rows[subscriber.session]?.version == subscriber.last,
                "every local subscriber has the newest state, or has ended")
        }
        // Everybody leaves.
        for client in clients { machine.closed(client.id) }
        for subscriber in localSubscribers { machine.closed(subscriber.id) }
        check(machine.watchedSessions.isEmpty, "no session is left behind")
        check(machine.admission.total == 0, "no place is left taken")
        check(machine.table.freeCount == machine.table.count, "every slot is free")
    }
}
