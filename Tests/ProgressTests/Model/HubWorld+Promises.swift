import Domain
import Testing

@testable import Progress

extension HubWorld {
    /// Performs actions as the hub does.
    ///
    /// - Parameters:
    ///   - actions: The actions.
    ///   - epoch: The epoch of the database snapshot that they come from.
    mutating func perform(_ actions: [HubAction], epoch: Int64?) {
        for action in actions {
            switch action {
            case .deliver(let delivery): deliver(delivery, epoch: epoch)
            case .update(let id, let progress): update(id, progress)
            case .finish(let id): finish(id)
            case .answer(let id, let outcome): answer(id, outcome, epoch: epoch)
            case .foundByPoll(let count):
                check(history.delivery != .late || count == 0, "late hints do not count as lost")
            case .shown(let change): checkShown(change, streams: .session)
            case .resynced(let duration): checkResync(duration)
            }
        }
    }

    private mutating func deliver(_ delivery: Delivery, epoch: Int64?) {
        let exceptions = delivery.watchers.compactMap { watcher in
            take(delivery, at: watcher, epoch: epoch).map { (watcher, $0) }
        }
        check(machine.delivered(delivery, exceptions).isEmpty, "no other message follows")
    }

    /// The socket of a client takes a message or refuses it.
    private mutating func take(_ delivery: Delivery, at id: WatcherID, epoch: Int64?) -> DeliveryException? {
        guard let index = clients.firstIndex(where: { $0.id == id }) else {
            check(departed.contains(id), "a message has a client")
            return .gone
        }
        check(clients[index].stage == .attached, "a message is for a client with a socket, before its last message")
        if delivery.message.isLast {
            if case .state = delivery.message, clients[index].isBlocked { return .refused }
            receive(delivery, index, epoch: epoch)
            clients[index].stage = .ended
            return nil
        }
        if clients[index].isBlocked { return .refused }
        switch isSettling ? 100 : Int.random(in: 0..<100, using: &history.random) {
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

    /// Checks that a message keeps the promises to its client.
    private mutating func receive(_ delivery: Delivery, _ index: Int, epoch: Int64?) {
        let client = clients[index]
        switch delivery.message {
        case .state(let progress, let after):
            let transitions = rows[client.right.session]?.transitions ?? after.map(\.version)
            let version = progress.version
            check(progress.sessionID == client.right.session, "a watcher gets its own session")
            check(delivery.previousVersion == client.last, "the hub knows the version that a watcher has")
            check(version > client.last, "versions strictly rise")
            check(
                epoch.map { had(client.right, at: max($0, knownEpoch)) } == true,
                "no state without the right, by all that the database snapshot shows and the hub knows")
            guard client.last > 0 else {
                // It had no state before, and begins here.
                check(after.isEmpty, "the first state has no transitions before it")
                clients[index].snapshot?.version = version
                clients[index].last = version
                return
            }
            check(
                after.map(\.version) == transitions.filter { $0 > client.last && $0 < version },
                "every transition between, once and in order")
            clients[index].transitions += transitions.filter { $0 > client.last && $0 <= version }
            clients[index].last = version
        case .caseload: check(false, "a watcher of one session gets no caseload")
        case .degraded, .recovered:
            let isDegraded = delivery.message == .degraded
            check(client.isDegraded != isDegraded, "degraded and recovered alternate")
            check(machine.isDegraded == isDegraded, "degraded and recovered are true when sent")
            clients[index].isDegraded = isDegraded
        case .revoked(let session):
            check(session == client.right.session, "a watcher gets its own session")
            let since = client.snapshot?.epoch ?? 1
            check(
                (since...self.epoch).contains { !had(client.right, at: $0) },
                "a stream is revoked only if the right has ended")
        case .expired, .reconnect: break
        }
    }

    /// Checks the counts of the hub.
    mutating func checkBooks() {
        let watching = clients.filter(\.isWatching)
        let local = localSubscribers.filter { !$0.isEnded }
        check(
            machine.admission.total == watching.count + clients.count { $0.stage == .ended },
            "the count of streams includes each client with a watcher, until its socket is closed")
        check(machine.begunCount == watching.count + local.count, "the hub counts the watchers that have begun")
        check(
            Set(machine.watchedSessions)
                == Set(clients.filter { $0.stage != .ended }.map(\.right.session)).union(local.map(\.session)),
            "the hub watches what its watchers watch, and nothing else")
    }

    mutating func checkTheEnd() {
        checkBooks()
        for client in clients {
            guard let row = rows[client.right.session], had(client.right, at: epoch), let snapshot = client.snapshot
            else {
                check(false, "a client without the right has been revoked")
                continue
            }
            check(client.last == row.version, "every client has the newest state: \(client.last) of \(row.version)")
            check(
                client.transitions == row.transitions.filter { $0 > snapshot.version },
                "every client has every transition after its snapshot")
            check(!client.isDegraded, "every client has got recovered")
        }
        for subscriber in localSubscribers where !subscriber.isEnded {
            check(
                rows[subscriber.session]?.version == subscriber.last,
                "every local subscriber has the newest state, or has ended")
        }
        // All clients leave.
        for client in clients { machine.closed(client.id) }
        for subscriber in localSubscribers { machine.closed(subscriber.id) }
        check(machine.watchedSessions.isEmpty, "no session is left behind")
        check(machine.admission.total == 0, "no stream is counted any more")
        check(machine.watchers.table.freeCount == machine.watchers.table.count, "every slot is free")
    }
}
