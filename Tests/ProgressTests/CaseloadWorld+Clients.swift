import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    /// One who follows, over one connection after another.
    struct Client {
        enum Stage { case away, opening, caseloadRead, begun, attached, ended }

        /// What it was last told of a session on this connection.
        struct Shown {
            var version: Int64
            var status: SessionStatus
        }

        let user: Principal
        var stage = Stage.away
        var id = WatcherID(place: 0, generation: 0)
        /// The position of the last whole event that it got.
        var lastEventID: String?
        /// What the database said when this connection began.
        var caseload: Caseload?
        var missed: MissedChanges?
        /// What was committed, and under which epoch, when the first connection of the chain began.
        var start: (position: FeedPosition, epoch: Int64)?
        var shown: [SessionID: Shown] = [:]
        /// Every version that was told over the whole chain.
        var told: [SessionID: Set<Int64>] = [:]
        /// What is on its display: with every session, that it was shown.
        var display: [SessionID: Int64] = [:]
        var isBlocked = false
        var knowsTrouble = false

        var isFollowing: Bool { stage == .begun || stage == .attached }
    }

    mutating func pickClient(_ isWanted: (Client) -> Bool) -> Int? {
        pickAny(clients.indices.filter { isWanted(clients[$0]) })
    }

    // MARK: - Coming

    mutating func open() {
        if clients.count < 5, chance(50) { clients.append(Client(user: pick(users))) }
        if let index = pickClient({ $0.stage == .away }) { connect(index) }
    }

    private mutating func connect(_ index: Int) {
        clients[index].id = machine.follow(for: clients[index].user)
        clients[index].stage = .opening
        clients[index].shown = [:]
        clients[index].isBlocked = false
        clients[index].knowsTrouble = false
    }

    mutating func readCaseload() {
        guard let index = pickClient({ $0.stage == .opening }) else { return }
        machine.readsCaseload(of: clients[index].id)
        let caseload = caseload(of: clients[index].user, known: nil)
        clients[index].caseload = caseload
        clients[index].missed = clients[index].lastEventID.flatMap(FeedPosition.init(id:)).map { position in
            missed(from: position, in: caseload.scope)
        }
        clients[index].stage = .caseloadRead
    }

    private func missed(from position: FeedPosition, in scope: CaseloadScope) -> MissedChanges {
        let transitions = rows.flatMap { session, row in
            row.transitions.filter { scope.contains(row.patient) && !position.shows($0.transaction) }
                .map { sample(session, version: $0.version, status: $0.status) }
        }.sorted { ($0.version, $0.sessionID) < ($1.version, $1.sessionID) }
        let gone = deleted.filter { scope.contains($0.patient) && !position.shows($0.transaction) }
        return MissedChanges(transitions: transitions, deleted: gone.map(\.session))
    }

    mutating func begin() {
        guard let index = pickClient({ $0.stage == .caseloadRead }), let caseload = clients[index].caseload else {
            return
        }
        if caseload.refusal == nil, machine.isTooEarly(clients[index].id) { return clients[index].stage = .opening }
        guard caseload.refusal == nil, let (present, pauses) = machine.begin(clients[index].id, with: caseload) else {
            machine.release(clients[index].id)
            clients.remove(at: index)
            return
        }
        for session in pauses { self.pauses.append((session, time + Self.pause)) }
        clients[index].stage = .begun
        let missed = clients[index].missed
        if missed == nil {
            clients[index].start = (caseload.position, caseload.rightsEpoch)
            clients[index].told = [:]
            clients[index].display = [:]
        }
        let events = (missed?.events(before: caseload) ?? []) + present
        // Of sessions that were taken away meanwhile, a client knows by what it is shown anew.
        let patients = Dictionary(
            uniqueKeysWithValues: rows.map { ($0.key, $0.value.patient) } + deleted.map { ($0.session, $0.patient) })
        clients[index].display = clients[index].display.filter { session, _ in
            patients[session].map(caseload.scope.contains) ?? true
        }
        receive(events, before: missed == nil ? nil : clients[index].lastEventID, after: caseload.position.id, index)
    }

    mutating func attach() {
        guard let index = pickClient({ $0.stage == .begun }) else { return }
        clients[index].stage = .attached
        ready(clients[index].id)
    }

    /// Everybody who wants to follow does, with room.
    mutating func endOpenings() {
        while let index = clients.firstIndex(where: { $0.stage == .ended }) {
            machine.release(clients[index].id)
            clients.remove(at: index)
        }
        for index in clients.indices where clients[index].stage == .away { connect(index) }
        while clients.contains(where: { $0.stage == .opening || $0.stage == .caseloadRead }) {
            readCaseload()
            begin()
        }
        while clients.contains(where: { $0.stage == .begun }) { attach() }
        while clients.contains(where: { $0.stage == .attached && $0.isBlocked }) { drain() }
    }

    // MARK: - Blocking, draining, leaving

    /// A heartbeat fills the socket.
    mutating func block() {
        guard chance(40), let index = pickClient({ $0.stage == .attached }) else { return }
        clients[index].isBlocked = true
        if chance(50) { machine.filled(clients[index].id) }
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
        guard chance(40), let index = pickClient({ $0.stage != .away }) else { return }
        let isOver = clients[index].stage == .ended
        machine.release(clients[index].id)
        if isOver { clients.remove(at: index) } else { clients[index].stage = .away }
    }
}
