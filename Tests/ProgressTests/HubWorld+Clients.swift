import Domain
import Testing

@testable import Progress

extension HubWorld {
    /// One who wants a stream, and what it has been given.
    struct Client {
        enum Stage { case opening, snapshotRead, begun, attached, ended }

        let id: WatcherID
        let right: Right
        var stage = Stage.opening
        /// What the database said when it was asked for the snapshot; nil when it refused.
        var snapshot: (version: Int64, epoch: Int64, isFinished: Bool)?
        var last: Int64 = 0
        var transitions: [Int64] = []
        var isBlocked = false
        var knowsTrouble = false

        var isWatching: Bool { stage == .begun || stage == .attached }
    }

    /// A watcher within the program.
    struct Listener {
        let id: WatcherID
        let session: SessionID
        /// The session was there when it began.
        let hasSession: Bool
        var last: Int64 = 0
        var isEnded = false
    }

    private mutating func pickClient(_ isWanted: (Client) -> Bool) -> Int? {
        let wanted = clients.indices.filter { isWanted(clients[$0]) }
        return wanted.isEmpty ? nil : pick(wanted)
    }

    // MARK: - Coming

    mutating func open() {
        guard clients.count < 14 else { return }
        let right = Right(user: pick(users), session: pick(sessions))
        let id = machine.register(right.session, for: right.user)
        check(!clients.contains { $0.id == id } && !departed.contains(id), "a name is given once")
        clients.append(Client(id: id, right: right))
    }

    mutating func readSnapshot() {
        guard let index = pickClient({ $0.stage == .opening }) else { return }
        let right = clients[index].right
        if had(right, at: epoch), let row = rows[right.session] {
            clients[index].snapshot = (row.version, epoch, row.isFailed)
        }
        clients[index].stage = .snapshotRead
    }

    mutating func begin() {
        guard let index = pickClient({ $0.stage == .snapshotRead }) else { return }
        let client = clients[index]
        guard let snapshot = client.snapshot, !snapshot.isFinished else { return depart(index) }
        let others = clients.filter { $0.isWatching || $0.stage == .ended }
        let hasPlace = others.count < 8 && others.count { $0.right.user == client.right.user } < 4
        switch machine.begin(client.id, at: snapshot.version, epoch: snapshot.epoch) {
        case .turnedAway:
            check(!hasPlace, "nobody is turned away while there is a place")
            depart(index)
        case .begun(let pauses):
            check(hasPlace, "nobody is let in when there is no place")
            clients[index].stage = .begun
            clients[index].last = snapshot.version
            if pauses { self.pauses.append((client.right.session, time + Self.pause)) }
        }
    }

    mutating func attach() {
        guard let index = pickClient({ $0.stage == .begun }) else { return }
        clients[index].stage = .attached
        if !machine.isCurrent(clients[index].id) {
            // Its snapshot does not go out: rights have changed since.
            machine.withhold(clients[index].id, given: 0)
            clients[index].last = 0
        }
        ready(clients[index].id)
    }

    /// Everybody gets a snapshot, a socket and room.
    mutating func endOpenings() {
        while clients.contains(where: { $0.stage == .opening }) { readSnapshot() }
        while clients.contains(where: { $0.stage == .snapshotRead }) { begin() }
        while clients.contains(where: { $0.stage == .begun }) { attach() }
        while clients.contains(where: { $0.stage == .attached && $0.isBlocked }) { drain() }
        while let index = clients.firstIndex(where: { $0.stage == .ended }) { depart(index) }
    }

    // MARK: - Blocking, draining, leaving

    /// A heartbeat fills the socket, of which the hub knows nothing.
    mutating func block() {
        guard chance(30), let index = pickClient({ $0.stage == .attached }) else { return }
        clients[index].isBlocked = true
    }

    mutating func drain() {
        guard let index = pickClient({ $0.stage == .attached && $0.isBlocked }) else { return }
        clients[index].isBlocked = false
        ready(clients[index].id)
    }

    private mutating func ready(_ id: WatcherID) {
        if let delivery = machine.ready(id) { send([delivery], epoch: nil) }
    }

    mutating func leave() {
        if let index = pickClient({ $0.stage == .ended }) { return depart(index) }
        guard chance(25), let index = pickClient({ $0.isWatching }) else { return }
        if chance(30), clients[index].stage == .attached {
            let client = clients[index]
            return send([Delivery(.expired(client.right.session), to: [client.id])], epoch: nil)
        }
        depart(index)
    }

    private mutating func depart(_ index: Int) {
        let client = clients.remove(at: index)
        machine.release(client.id)
        departed.append(client.id)
    }

    // MARK: - Watchers within the program

    mutating func listenOrNot() {
        if listeners.count < 3, chance(30) {
            let session = pick(sessions)
            listeners.append(
                Listener(id: machine.listen(to: session), session: session, hasSession: rows[session] != nil))
        } else if !listeners.isEmpty, chance(10) {
            let listener = listeners.remove(at: Int.random(in: listeners.indices, using: &random))
            machine.release(listener.id)
            departed.append(listener.id)
        }
    }

    mutating func give(_ progress: SessionProgress, to id: WatcherID) {
        guard let index = listeners.firstIndex(where: { $0.id == id }) else {
            return check(false, "nothing for a listener who left")
        }
        check(!listeners[index].isEnded, "a listener is given nothing after its end")
        check(progress.sessionID == listeners[index].session, "a listener is given its own session")
        check(progress.version > listeners[index].last, "versions strictly rise for a listener")
        listeners[index].last = progress.version
    }

    mutating func end(_ id: WatcherID) {
        guard let index = listeners.firstIndex(where: { $0.id == id }) else {
            return check(false, "no end for a listener who left")
        }
        let listener = listeners[index]
        check(!listener.isEnded, "a listener ends once")
        check(
            !listener.hasSession || deleted.contains(listener.session),
            "a listener ends only when its session is no more"
        )
        listeners[index].isEnded = true
    }
}
