import Domain
import Store
import Testing

@testable import Progress

extension HubWorld {
    /// A client, and what it has received.
    struct Client {
        enum Stage { case authorizing, begun, attached, ended }

        let id: WatcherID
        let right: Right
        var stage = Stage.authorizing
        /// The version and the epoch of its snapshot.
        var snapshot: (version: Int64, epoch: Int64)?
        var last: Int64 = 0
        var transitions: [Int64] = []
        var isBlocked = false
        var isDegraded = false

        var isWatching: Bool { stage == .begun || stage == .attached }
    }

    /// A local subscriber.
    struct LocalSubscriber {
        let id: WatcherID
        let session: SessionID
        /// The session existed when it began.
        let hasSession: Bool
        var last: Int64 = 0
        var isEnded = false
    }

    private mutating func pickClient(_ isWanted: (Client) -> Bool) -> Int? {
        let wanted = clients.indices.filter { isWanted(clients[$0]) }
        return wanted.isEmpty ? nil : pick(wanted)
    }

    // MARK: - Subscribing

    mutating func subscribe() {
        guard clients.count < 14 else { return }
        let right = Right(user: pick(users), session: pick(sessions))
        let waiting = machine.subscriptions.waiting(.sessions)
        guard let id = machine.subscribe(AuthorizationRequest(right.session, for: right.user)) else {
            return check(waiting == Self.waitingLimit, "no subscription is rejected while there is room in the queue")
        }
        check(waiting < Self.waitingLimit, "the queue has a limit")
        check(!clients.contains { $0.id == id } && !departed.contains(id), "an identifier is used once")
        clients.append(Client(id: id, right: right))
    }

    /// A client gets the answer to its subscription.
    mutating func answer(_ id: WatcherID, _ outcome: PendingSubscriptions.Outcome, epoch: Int64?) {
        guard let index = clients.firstIndex(where: { $0.id == id }) else {
            return check(false, "an answer has a client")
        }
        let client = clients[index]
        check(client.stage == .authorizing, "a subscription has one answer")
        let others = clients.filter { $0.isWatching || $0.stage == .ended }
        let isWithinLimits = others.count < 8 && others.count { $0.right.user == client.right.user } < 4
        switch outcome {
        case .session(let authorization, isWatched: true):
            check(isWithinLimits, "no stream begins beyond a limit")
            check(authorization.progress?.status.isFinished == false, "a finished session is not watched")
            clients[index].stage = .begun
            clients[index].last = authorization.progress?.version ?? 0
            clients[index].snapshot = (clients[index].last, epoch ?? 1)
        case .session(let authorization, isWatched: false):
            check(authorization.progress?.status.isFinished == true, "a session that is not finished is watched")
            forget(index)
        case .rejected:
            check(!isWithinLimits, "no stream is rejected within the limits")
            forget(index)
        case .refused, .failed: forget(index)
        case .caseload: check(false, "no client subscribes to a caseload")
        }
    }

    mutating func attach() {
        guard let index = pickClient({ $0.stage == .begun }) else { return }
        clients[index].stage = .attached
        let id = clients[index].id
        guard !machine.isCurrent(id) else { return perform(machine.unblocked(id), epoch: nil) }
        // The sink does not send the snapshot, because rights have changed since.
        clients[index].last = 0
        perform(machine.attachedWithoutSnapshot(id, clientHas: 0), epoch: nil)
    }

    mutating func serveClients() {
        while clients.contains(where: { $0.stage == .begun }) { attach() }
        while clients.contains(where: { $0.stage == .attached && $0.isBlocked }) { drain() }
        while let index = clients.firstIndex(where: { $0.stage == .ended }) { depart(index) }
    }

    // MARK: - Blocking, draining, leaving

    /// A heartbeat fills the socket, and the hub does not know.
    mutating func block() {
        guard chance(30), let index = pickClient({ $0.stage == .attached }) else { return }
        clients[index].isBlocked = true
    }

    mutating func drain() {
        guard let index = pickClient({ $0.stage == .attached && $0.isBlocked }) else { return }
        clients[index].isBlocked = false
        perform(machine.unblocked(clients[index].id), epoch: nil)
    }

    mutating func leave() {
        if let index = pickClient({ $0.stage == .ended }) { return depart(index) }
        guard chance(25), let index = pickClient({ $0.isWatching }) else { return }
        let client = clients[index]
        if chance(30), client.stage == .attached {
            return perform([.deliver(Delivery(.expired(client.right.session), to: [client.id]))], epoch: nil)
        }
        depart(index)
    }

    private mutating func depart(_ index: Int) {
        let client = clients[index]
        forget(index)
        if client.stage == .begun { machine.abandoned(client.id) } else { machine.closed(client.id) }
    }

    private mutating func forget(_ index: Int) { departed.append(clients.remove(at: index).id) }

    // MARK: - Local subscribers

    mutating func subscribeLocallyOrLeave() {
        if localSubscribers.count < 3, chance(30) {
            let session = pick(sessions)
            localSubscribers.append(
                LocalSubscriber(
                    id: machine.subscribeLocally(to: session), session: session, hasSession: rows[session] != nil))
        } else if !localSubscribers.isEmpty, chance(10) {
            let subscriber = localSubscribers.remove(
                at: Int.random(in: localSubscribers.indices, using: &history.random))
            machine.closed(subscriber.id)
            departed.append(subscriber.id)
        }
    }

    mutating func update(_ id: WatcherID, _ progress: SessionProgress) {
        guard let index = localSubscribers.firstIndex(where: { $0.id == id }) else {
            return check(false, "no state for a local subscriber that has left")
        }
        check(!localSubscribers[index].isEnded, "a local subscriber gets nothing after its end")
        check(progress.sessionID == localSubscribers[index].session, "a local subscriber gets its own session")
        check(progress.version > localSubscribers[index].last, "versions strictly rise for a local subscriber")
        localSubscribers[index].last = progress.version
    }

    mutating func finish(_ id: WatcherID) {
        guard let index = localSubscribers.firstIndex(where: { $0.id == id }) else {
            return check(false, "no end for a local subscriber that has left")
        }
        let subscriber = localSubscribers[index]
        check(!subscriber.isEnded, "a local subscriber ends once")
        check(
            !subscriber.hasSession || deleted.contains(subscriber.session),
            "a local subscriber ends only if its session is deleted"
        )
        localSubscribers[index].isEnded = true
    }
}
