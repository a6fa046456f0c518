import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    /// One who follows, over one connection after another.
    struct Client {
        enum Stage { case away, opening, begun, attached, ended }

        /// What it was last told of a session on this connection.
        struct Shown {
            var version: Int64
            var status: SessionStatus
        }

        let user: Principal
        var stage = Stage.away
        var id = WatcherID(slot: 0, generation: 0)
        /// The position of the last whole event that it got.
        var lastEventID: String?
        /// What the database said when this connection began.
        var caseload: Caseload?
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
        let position = clients[index].lastEventID.flatMap(FeedPosition.init(id:))
        guard let id = machine.subscribeToAll(for: clients[index].user, since: position, requestID: nil) else {
            return check(false, "nobody is rejected while there is room to wait")
        }
        clients[index].id = id
        clients[index].stage = .opening
        clients[index].shown = [:]
        clients[index].isBlocked = false
        clients[index].knowsTrouble = false
    }

    /// The caseload of an opener, with what its client has missed.
    struct OpeningFlight {
        let asked: CaseloadOpener
        var answer: (caseload: Caseload, missed: MissedChanges?)?
    }

    mutating func startOpenings() {
        while case .openings(.caseload(let opener))? = machine.nextRead(.openings(.caseloads)) {
            openings.append(OpeningFlight(asked: opener))
            check(openings.count <= 2, "not too many caseloads are read at a time")
        }
    }

    mutating func readCaseload() {
        guard let index = pickAny(openings.indices.filter { openings[$0].answer == nil }) else { return }
        let opener = openings[index].asked
        let caseload = caseload(of: opener.principal, known: nil)
        let changes = opener.position.map { missed(from: $0, in: caseload.scope) }
        openings[index].answer = (caseload, caseload.refusal == nil ? changes : nil)
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
        guard let index = pickAny(openings.indices.filter { openings[$0].answer != nil }) else { return }
        let flight = openings.remove(at: index)
        guard let (caseload, missed) = flight.answer else { return }
        let actions: [HubAction]
        if isSettling || !chance(5) {
            actions = machine.completed(.openings(.caseload(flight.asked, caseload, missed)), at: now)
        } else {
            actions = machine.failed(
                .openings(.caseload(flight.asked)), FakeReader.Down(), isCutShort: false, jitter: 0, at: now)
        }
        // Without an answer its caseload is read again.
        for case .answer(let id, let result) in actions { answer(id, result, caseload) }
    }

    /// An opener gets its answer.
    private mutating func answer(_ id: WatcherID, _ result: Openings.Result, _ caseload: Caseload) {
        guard let index = clients.firstIndex(where: { $0.id == id && $0.stage == .opening }) else {
            return check(false, "an opener is answered once")
        }
        switch result {
        case .caseload(let events, let before, let after):
            clients[index].stage = .begun
            clients[index].caseload = caseload
            if before == nil {
                clients[index].start = (caseload.position, caseload.rightsEpoch)
                clients[index].told = [:]
                clients[index].display = [:]
            }
            // A client knows of sessions that were taken away meanwhile by its new caseload.
            let patients = Dictionary(
                uniqueKeysWithValues: rows.map { ($0.key, $0.value.patient) }
                    + deleted.map { ($0.session, $0.patient) })
            clients[index].display = clients[index].display.filter { session, _ in
                patients[session].map(caseload.scope.contains) ?? true
            }
            check(
                before?.id == (before == nil ? nil : clients[index].lastEventID), "a client goes on from its position")
            receive(events, before: before?.id, after: after.id, index)
        case .refused:
            check(caseload.refusal != nil, "refused only without a right")
            clients.remove(at: index)
        case .failed: clients[index].stage = .away
        case .rejected: check(false, "there is a place for everybody")
        case .session: check(false, "nobody wants a single session")
        }
    }

    mutating func attach() {
        guard let index = pickClient({ $0.stage == .begun }) else { return }
        clients[index].stage = .attached
        perform(machine.unblocked(clients[index].id), epoch: nil)
    }

    /// Everybody who wants to follow does, with room.
    mutating func endOpenings() {
        while let index = clients.firstIndex(where: { $0.stage == .ended }) {
            machine.closed(clients[index].id)
            clients.remove(at: index)
        }
        for index in clients.indices where clients[index].stage == .away { connect(index) }
        while !isBroken, clients.contains(where: { $0.stage == .opening }) {
            startOpenings()
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
        if chance(50) { machine.blocked(clients[index].id) }
    }

    mutating func drain() {
        guard let index = pickClient({ $0.stage == .attached && $0.isBlocked }) else { return }
        clients[index].isBlocked = false
        perform(machine.unblocked(clients[index].id), epoch: nil)
    }

    mutating func leave() {
        guard chance(40), let index = pickClient({ $0.stage != .away && $0.stage != .opening }) else { return }
        let client = clients[index]
        if client.stage == .begun { machine.abandoned(client.id) } else { machine.closed(client.id) }
        if client.stage == .ended { clients.remove(at: index) } else { clients[index].stage = .away }
    }
}
