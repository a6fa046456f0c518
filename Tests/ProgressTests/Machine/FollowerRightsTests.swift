import Domain
import Testing

@testable import Progress
@testable import Store

/// When a read shows a change of rights, a follower gets nothing until its caseload has been read again.
@Suite("Follower whose rights may have changed") struct FollowerRightsTests {
    private let machine = FollowerMachine()
    private let patient = UserID.random()
    private let otherPatient = UserID.random()
    private let session = SessionID.random()
    private let other = SessionID.random()

    private func follower(_ sessions: [SessionProgress]) throws -> WatcherID {
        try machine.follower(with: Caseload(of: patient, sessions, at: position(10)))
    }

    private func item(
        _ session: SessionID, of patient: UserID? = nil, _ version: Int64, _ status: SessionStatus = .transcribing,
        after transitions: [StatusTransition] = [], in transaction: Int64?
    ) -> FeedChanges.Item {
        FeedChanges.Item(session, of: patient ?? self.patient, version, status, after: transitions, in: transaction)
    }

    /// The feed shows a change of rights, and the caseload is being read.
    private func refresh(_ items: [FeedChanges.Item] = [], epoch: Int64 = 2) throws -> FollowerRequest {
        #expect(machine.pass(FeedChanges(items, epoch: epoch, at: position(12))) == [])
        return try #require(machine.nextRefresh())
    }

    @Test("A follower gets nothing after a change of rights until its right is confirmed")
    func waits() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11)])
        #expect(request.patients == [patient])
        #expect(request.versions == [session: 3])
        #expect(machine.pass(FeedChanges([item(session, 5, in: 12)], epoch: 2, at: position(13))) == [])
        let caseload = Caseload(of: patient, [sample(session, version: 4)], at: position(12))
        let deliveries = machine.completed(
            request, CaseloadRefresh(caseload: caseload, transitions: [session: [transition(4)]]))
        #expect(deliveries.events == [.state(sample(session, version: 4))])
        // The position stays, because something is still missing.
        #expect(deliveries.positions == [position(10)])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [session])
        #expect(catchUp.versions == [session: 4])
        let news = machine.completed(catchUp, ProgressChanges(session, 5))
        #expect(news.events == [.state(sample(session, version: 5))])
        #expect(
            machine.pass(FeedChanges([item(session, 6, in: 13)], epoch: 2, at: position(14))).positions == [
                position(14)
            ])
    }

    @Test("A new patient brings all sessions, with the changes during the read", arguments: [13, nil])
    func addedPatient(transaction: Int64?) throws {
        _ = try follower([])
        let request = try refresh()
        let news = item(other, of: otherPatient, 6, in: transaction)
        #expect(machine.pass(FeedChanges([news], epoch: 2, at: position(14))) == [])
        var caseload = Caseload(of: patient, and: [otherPatient], at: position(13))
        caseload.sessions = [(otherPatient, sample(other, version: 5))]
        let deliveries = machine.completed(request, CaseloadRefresh(caseload: caseload))
        #expect(deliveries.events == [.added(sample(other, version: 5))])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [other])
        #expect(catchUp.versions == [other: 5])
    }

    @Test("The loss of a patient removes all sessions, including processed and deleted ones")
    func removedPatient() throws {
        _ = try follower([sample(session, version: 3)])
        let (processed, deleted) = (SessionID.random(), SessionID.random())
        machine.pass(FeedChanges(deleted: [(deleted, patient), (other, otherPatient)], epoch: 2, at: position(12)))
        let request = try #require(machine.nextRefresh())
        let deliveries = machine.completed(
            request,
            CaseloadRefresh(
                caseload: Caseload(of: otherPatient, at: position(13)), lost: [session, processed]))
        #expect(deliveries.events == [session, processed, deleted].sorted().map { .removed($0) })
        #expect(deliveries.positions == [position(10)])
        #expect(machine.pass(FeedChanges([item(session, 4, in: 14)], epoch: 2, at: position(15))) == [])
    }

    @Test("A session that ended meanwhile is read again, and then sent or removed")
    func endedMeanwhile() throws {
        _ = try follower([sample(session, version: 3), sample(other, version: 3)])
        let request = try refresh()
        let deliveries = machine.completed(
            request, CaseloadRefresh(caseload: Caseload(of: patient, at: position(12))))
        #expect(deliveries == [])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(Set(catchUp.sessions) == [session, other])
        var changes = ProgressChanges(session, 4, .processed)
        changes.missing = [other]
        let events = machine.completed(catchUp, changes).events
        #expect(events == [.state(sample(session, version: 4, status: .processed)), .removed(other)])
    }

    @Test("A session that has moved to another patient is removed, and not read again")
    func moved() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11), item(other, 1, .pending, in: 11)])
        #expect(Set(request.sessions) == [session, other])
        let answer = CaseloadRefresh(
            caseload: Caseload(of: patient, at: position(12)), lost: [session, other])
        #expect(machine.completed(request, answer).events == [session, other].sorted().map { .removed($0) })
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A session that moves while the first caseload is read is not shown in a later state")
    func movedBeforeTheBeginning() throws {
        _ = try follower([])
        let id = try machine.follow()
        // The feed finds a change that the first caseload does not show, and later reads are for it.
        machine.pass(FeedChanges([item(session, 3, in: 11)], at: position(12)))
        // The caseload is older than the move, and its answer comes later.
        let move = [
            RightsChange(in: 13, patient: patient, session: session),
            RightsChange(in: 13, patient: otherPatient, session: session),
        ]
        machine.learn(RightsNews(at: snapshot(14), changes: move))
        try machine.begin(id, with: Caseload(of: patient, [sample(session, version: 2)], at: position(11)))
        machine.ready(id)
        var readers: [WatcherID] = []
        while let request = machine.nextRefresh() { readers.append(request.watcher) }
        #expect(readers.contains(id))
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A session that a catch-up finds with a patient outside the scope is removed, and not shown")
    func movedBeforeTheCatchUp() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11), item(other, 1, .pending, in: 11)], at: position(12)))
        machine.ready(id)
        let catchUp = try #require(machine.nextCatchUp())
        var changes = ProgressChanges(rights: .epoch(1))
        changes.moved = [session, other]
        // The client was never shown the other one.
        #expect(machine.completed(catchUp, changes).events == [.removed(session)])
    }

    @Test("A session that moves while a caseload is read again is not shown in a later state")
    func movedDuringTheRead() throws {
        _ = try follower([])
        let request = try refresh()
        let move = [RightsChange(in: 13, patient: otherPatient, session: session)]
        machine.learn(RightsNews(at: snapshot(14), changes: move))
        // The read is older than the move, and shows the patient for the first time.
        let caseload = Caseload(of: otherPatient, [sample(session, version: 2)], at: position(13))
        #expect(machine.completed(request, CaseloadRefresh(caseload: caseload)) == [])
        #expect(machine.nextRefresh() != nil)
    }

    @Test(
        "A session that was created and processed meanwhile is sent, although no caseload lists it",
        arguments: [false, true])
    func createdAndProcessed(failsFirst: Bool) throws {
        _ = try follower([])
        let first = transition(1, status: .pending)
        var request = try refresh([item(session, 2, .processed, after: [first], in: 11)])
        if failsFirst {
            machine.failed(.caseload(request))
            request = try #require(machine.nextRefresh())
        }
        #expect(
            machine.completed(request, CaseloadRefresh(caseload: Caseload(of: patient, at: position(12))))
                == [])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [session])
        let deliveries = machine.completed(catchUp, ProgressChanges(session, 2, .processed, after: [first]))
        #expect(deliveries.events.compactMap(\.progress).map(\.version) == [1, 2])
    }

    @Test(
        "A session that was created meanwhile begins with its first state, and one of a new patient with its present state"
    )
    func newer() {
        let request = FollowerRequest(
            watcher: WatcherID(slot: 0, generation: 0), principal: .random(), patients: [patient],
            versions: [session: 3])
        let created = SessionID.random()
        var caseload = Caseload(
            of: patient, [sample(session, version: 3), sample(created, version: 2)], at: position(10))
        caseload.sessions.append((otherPatient, sample(other, version: 2)))
        #expect(CaseloadRefresh.newer(in: caseload, for: request).map(\.session) == [created])
        #expect(CaseloadRefresh.newer(in: caseload, for: request).map(\.version) == [0])
    }

    @Test("Without room, the caseload is read again from the old patients")
    func noRoom() throws {
        let id = try follower([sample(session, version: 3)])
        let request = try refresh()
        machine.filled(id)
        let answer = CaseloadRefresh(
            caseload: Caseload(of: otherPatient, at: position(12)), lost: [session, other])
        #expect(machine.completed(request, answer) == [])
        #expect(machine.nextRefresh() == nil)
        machine.ready(id)
        let second = try #require(machine.nextRefresh())
        // The read then finds the lost sessions, and the processed sessions of the new patient.
        #expect(second.patients == [patient])
        #expect(machine.completed(second, answer).events == [session, other].sorted().map { .removed($0) })
    }

    @Test("A read of the feed that is older than the caseload of a follower is not sent to it, but read again")
    func olderFeed() throws {
        let first = try follower([sample(session, version: 3)])
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, [sample(session, version: 3)], at: position(15)))
        machine.ready(second)
        let item = item(session, 4, in: 13)
        let deliveries = machine.completedFeed(FeedChanges([item], at: position(14))).deliveries
        #expect(deliveries.map(\.watchers) == [[first]])
        let request = try #require(machine.nextCatchUp())
        #expect(request.watcher == second)
        #expect(request.sessions == [session])
    }

    @Test("A follower whose user is signed out gets revoked and nothing else")
    func refusal() throws {
        let id = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11)])
        var caseload = Caseload(of: patient, at: position(12))
        caseload.refusal = .notSignedIn
        #expect(machine.completed(request, CaseloadRefresh(caseload: caseload)) == [Delivery(.revoked(nil), to: [id])])
        #expect(machine.pass(FeedChanges([item(session, 5, in: 12)], epoch: 2, at: position(13))) == [])
    }

    @Test("A catch-up that shows a change of rights is not sent, and the caseload is read first")
    func catchUpUnderNewRights() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let catchUp = try #require(machine.nextCatchUp())
        let rights = FeedChanges.newRights(at: position(13)).rights
        #expect(machine.completed(catchUp, ProgressChanges(session, 4, rights: rights)) == [])
        let request = try #require(machine.nextRefresh())
        #expect(request.versions == [session: 3])
        machine.failed(.caseload(request))
        let again = try #require(machine.nextRefresh())
        let caseload = Caseload(of: patient, [sample(session, version: 4)], at: position(12))
        let deliveries = machine.completed(
            again, CaseloadRefresh(caseload: caseload, transitions: [session: [transition(4)]]))
        #expect(
            deliveries == [
                Delivery(
                    .caseload([.state(sample(session, version: 4))], before: position(10), after: position(10)),
                    to: [id])
            ])
    }

    @Test("A change of rights during the read of a caseload causes another read")
    func changedTwice() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh()
        #expect(machine.pass(.newRights(at: position(13))) == [])
        #expect(machine.nextRefresh() == nil)
        let caseload = Caseload(of: patient, [sample(session, version: 3)], at: position(12))
        #expect(machine.completed(request, CaseloadRefresh(caseload: caseload)) == [])
        #expect(machine.nextRefresh() != nil)
    }
}
