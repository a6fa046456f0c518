import Domain
import Testing

@testable import Progress
@testable import Store

extension CaseloadWorld {
    /// A client that follows its caseload over a chain of connections.
    struct Client {
        enum Stage { case away, authorizing, begun, attached, ended }

        /// The state of a session that it got last on this connection.
        struct Shown {
            var version: Int64
            var status: SessionStatus
        }

        let user: Principal
        var stage = Stage.away
        var id = WatcherID(slot: 0, generation: 0)
        /// The `id:` of the last whole event that it got.
        var lastEventID: String?
        /// The caseload that this connection began with.
        var caseload: Caseload?
        /// The position and the epoch at the beginning of the chain.
        var start: (position: FeedPosition, epoch: Int64)?
        var shown: [SessionID: Shown] = [:]
        /// Every version that it got over the whole chain.
        var received: [SessionID: Set<Int64>] = [:]
        /// The sessions on its display, with their versions.
        var display: [SessionID: Int64] = [:]
        var isBlocked = false
        var isDegraded = false

        var isFollowing: Bool { stage == .begun || stage == .attached }
    }

    mutating func pickClient(_ isWanted: (Client) -> Bool) -> Int? {
        pickAny(clients.indices.filter { isWanted(clients[$0]) })
    }

    // MARK: - Subscribing

    mutating func connect() {
        if clients.count < 5, chance(50) { clients.append(Client(user: pick(users))) }
        if let index = pickClient({ $0.stage == .away }) { connect(index) }
    }

    private mutating func connect(_ index: Int) {
        let position = clients[index].lastEventID.flatMap(FeedPosition.init(id:))
        guard let id = machine.subscribeToAll(for: clients[index].user, since: position, requestID: nil) else {
            return check(false, "no subscription is rejected while there is room in the queue")
        }
        clients[index].id = id
        clients[index].stage = .authorizing
        clients[index].shown = [:]
        clients[index].isBlocked = false
        clients[index].isDegraded = false
    }

    /// A read of a caseload, and of what its client has missed.
    struct SubscriptionFlight {
        let pending: PendingCaseloadSubscription
        var answer: (caseload: Caseload, missed: MissedChanges?)?
    }

    mutating func startSubscriptions() {
        while case .subscriptions(.caseload(let pending))? = machine.nextRead(.subscriptions(.caseloads)) {
            subscriptions.append(SubscriptionFlight(pending: pending))
            check(subscriptions.count <= 2, "the number of caseloads that are read at a time has a limit")
        }
    }

    mutating func readCaseload() {
        guard let index = pickAny(subscriptions.indices.filter { subscriptions[$0].answer == nil }) else { return }
        let pending = subscriptions[index].pending
        let caseload = caseload(of: pending.principal, known: nil)
        let changes = pending.position.map { missed(from: $0, in: caseload.scope) }
        subscriptions[index].answer = (caseload, caseload.refusal == nil ? changes : nil)
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
        guard let index = pickAny(subscriptions.indices.filter { subscriptions[$0].answer != nil }) else { return }
        let flight = subscriptions.remove(at: index)
        guard let (caseload, missed) = flight.answer else { return }
        let actions: [HubAction]
        if isSettling || !chance(5) {
            actions = machine.completed(.subscriptions(.caseload(flight.pending, caseload, missed)), at: now)
        } else {
            actions = machine.failed(
                .subscriptions(.caseload(flight.pending)), FakeReader.Down(), isCancelled: false, jitter: 0, at: now)
        }
        // Without an answer, the hub reads the caseload again.
        for case .answer(let id, let outcome) in actions { answer(id, outcome, caseload) }
    }

    /// A client gets the answer to its subscription.
    private mutating func answer(_ id: WatcherID, _ outcome: PendingSubscriptions.Outcome, _ caseload: Caseload) {
        guard let index = clients.firstIndex(where: { $0.id == id && $0.stage == .authorizing }) else {
            return check(false, "a subscription has one answer")
        }
        switch outcome {
        case .caseload(let events, let before, let after):
            clients[index].stage = .begun
            clients[index].caseload = caseload
            if before == nil {
                clients[index].start = (caseload.position, epoch(at: caseload.position.snapshot))
                clients[index].received = [:]
                clients[index].display = [:]
            }
            // The client removes the sessions that are outside its new caseload.
            let epoch = epoch(at: caseload.position.snapshot)
            clients[index].display = clients[index].display.filter { session, _ in
                patient(of: session, at: epoch).map(caseload.scope.contains) ?? true
            }
            check(
                before?.id == (before == nil ? nil : clients[index].lastEventID), "a client resumes from its position")
            receive(events, before: before?.id, after: after.id, index)
        case .refused:
            check(caseload.refusal != nil, "a subscription is refused only without a right")
            clients.remove(at: index)
        case .failed: clients[index].stage = .away
        case .rejected: check(false, "no stream is rejected within the limits")
        case .session: check(false, "no client subscribes to a single session")
        }
    }

    mutating func attach() {
        guard let index = pickClient({ $0.stage == .begun }) else { return }
        clients[index].stage = .attached
        perform(machine.unblocked(clients[index].id), epoch: nil)
    }

    mutating func serveClients() {
        while let index = clients.firstIndex(where: { $0.stage == .ended }) {
            machine.closed(clients[index].id)
            clients.remove(at: index)
        }
        for index in clients.indices where clients[index].stage == .away { connect(index) }
        while !isBroken, clients.contains(where: { $0.stage == .authorizing }) {
            startSubscriptions()
            readCaseload()
            begin()
        }
        while clients.contains(where: { $0.stage == .begun }) { attach() }
        while clients.contains(where: { $0.stage == .attached && $0.isBlocked }) { drain() }
    }

    // MARK: - Blocking, draining, leaving

    /// A heartbeat fills the socket, and the hub may not know.
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
        guard chance(40), let index = pickClient({ $0.stage != .away && $0.stage != .authorizing }) else { return }
        let client = clients[index]
        if client.stage == .begun { machine.abandoned(client.id) } else { machine.closed(client.id) }
        if client.stage == .ended { clients.remove(at: index) } else { clients[index].stage = .away }
    }
}
