import Domain
import Testing

@testable import Progress
@testable import Store

/// Who was let in under another epoch of rights is told nothing until its caseload has been read again.
@Suite("A follower whose rights may have changed") struct FollowerRightsTests {
    private let machine = FollowingMachine()
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

    /// Another epoch is seen, and the caseload is being read.
    private func refresh(_ items: [FeedChanges.Item] = [], epoch: Int64 = 2) throws -> FollowerRequest {
        #expect(machine.pass(FeedChanges(items, epoch: epoch, at: position(12))) == [])
        return try #require(machine.nextRefresh())
    }

    @Test("It is told nothing of the new epoch until it is known to have the right")
    func waits() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11)])
        #expect(request.patients == [patient] && request.versions == [session: 3])
        #expect(machine.pass(FeedChanges([item(session, 5, in: 12)], epoch: 2, at: position(13))) == [])
        let caseload = Caseload(of: patient, [sample(session, version: 4)], epoch: 2, at: position(12))
        let said = machine.completed(
            request, CaseloadRefresh(caseload: caseload, transitions: [session: [transition(4)]]))
        #expect(said.events == [.state(sample(session, version: 4))])
        // Something is still missing.
        #expect(said.positions == [position(10)])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [session] && catchUp.versions == [session: 4])
        let news = machine.completed(catchUp, ProgressChanges(session, 5, epoch: 2))
        #expect(news.events == [.state(sample(session, version: 5))])
        #expect(
            machine.pass(FeedChanges([item(session, 6, in: 13)], epoch: 2, at: position(14))).positions == [
                position(14)
            ])
    }

    @Test("A patient's sessions come with the patient, also what happens while that is read", arguments: [13, nil])
    func addedPatient(transaction: Int64?) throws {
        _ = try follower([])
        let request = try refresh()
        let news = item(other, of: otherPatient, 6, in: transaction)
        #expect(machine.pass(FeedChanges([news], epoch: 2, at: position(14))) == [])
        var caseload = Caseload(of: patient, and: [otherPatient], epoch: 2, at: position(13))
        caseload.sessions = [(otherPatient, sample(other, version: 5))]
        let said = machine.completed(request, CaseloadRefresh(caseload: caseload))
        #expect(said.events == [.added(sample(other, version: 5))])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [other] && catchUp.versions == [other: 5])
    }

    @Test("A patient's sessions go with the patient, with those that are done or deleted")
    func removedPatient() throws {
        _ = try follower([sample(session, version: 3)])
        let (done, deleted) = (SessionID.random(), SessionID.random())
        machine.pass(FeedChanges(deleted: [(deleted, patient), (other, otherPatient)], epoch: 2, at: position(12)))
        let request = try #require(machine.nextRefresh())
        let said = machine.completed(
            request,
            CaseloadRefresh(caseload: Caseload(of: otherPatient, epoch: 2, at: position(13)), lost: [session, done]))
        #expect(said.events == [session, done, deleted].sorted().map { .removed($0) })
        #expect(said.positions == [position(10)])
        #expect(machine.pass(FeedChanges([item(session, 4, in: 14)], epoch: 2, at: position(15))) == [])
    }

    @Test("What has ended meanwhile is read once more: done is told, deleted is removed")
    func endedMeanwhile() throws {
        _ = try follower([sample(session, version: 3), sample(other, version: 3)])
        let request = try refresh()
        let said = machine.completed(
            request, CaseloadRefresh(caseload: Caseload(of: patient, epoch: 2, at: position(12))))
        #expect(said == [])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(Set(catchUp.sessions) == [session, other])
        var changes = ProgressChanges(session, 4, .processed, epoch: 2)
        changes.missing = [other]
        let events = machine.completed(catchUp, changes).events
        #expect(events == [.state(sample(session, version: 4, status: .processed)), .removed(other)])
    }

    @Test("A session that turns out to be somebody else's is removed, and not read any more")
    func moved() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11), item(other, 1, .pending, in: 11)])
        #expect(Set(request.sessions) == [session, other])
        let answer = CaseloadRefresh(
            caseload: Caseload(of: patient, epoch: 2, at: position(12)), lost: [session, other])
        #expect(machine.completed(request, answer).events == [session, other].sorted().map { .removed($0) })
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("What was made and done meanwhile is told, though no caseload lists it", arguments: [false, true])
    func madeAndDone(failsFirst: Bool) throws {
        _ = try follower([])
        let first = transition(1, status: .pending)
        var request = try refresh([item(session, 2, .processed, after: [first], in: 11)])
        if failsFirst {
            machine.failed(.caseload(request))
            request = try #require(machine.nextRefresh())
        }
        #expect(
            machine.completed(request, CaseloadRefresh(caseload: Caseload(of: patient, epoch: 2, at: position(12))))
                == [])
        let catchUp = try #require(machine.nextCatchUp())
        #expect(catchUp.sessions == [session])
        let said = machine.completed(catchUp, ProgressChanges(session, 2, .processed, after: [first], epoch: 2))
        #expect(said.events.compactMap(\.progress).map(\.version) == [1, 2])
    }

    @Test("A session made meanwhile is told from its beginning, one of a new patient as it stands")
    func newer() {
        let request = FollowerRequest(
            watcher: WatcherID(slot: 0, generation: 0), principal: .random(), patients: [patient],
            versions: [session: 3])
        let made = SessionID.random()
        var caseload = Caseload(
            of: patient, [sample(session, version: 3), sample(made, version: 2)], at: position(10))
        caseload.sessions.append((otherPatient, sample(other, version: 2)))
        #expect(CaseloadRefresh.newer(in: caseload, for: request).map(\.session) == [made])
        #expect(CaseloadRefresh.newer(in: caseload, for: request).map(\.version) == [0])
    }

    @Test("Without room it is read again, as one who still has the old patients")
    func noRoom() throws {
        let id = try follower([sample(session, version: 3)])
        let request = try refresh()
        machine.filled(id)
        let answer = CaseloadRefresh(
            caseload: Caseload(of: otherPatient, epoch: 2, at: position(12)), lost: [session, other])
        #expect(machine.completed(request, answer) == [])
        #expect(machine.nextRefresh() == nil)
        machine.ready(id)
        let second = try #require(machine.nextRefresh())
        // Only so does the read find what is lost, and what of the new patient is done.
        #expect(second.patients == [patient])
        #expect(machine.completed(second, answer).events == [session, other].sorted().map { .removed($0) })
    }

    @Test("A feed that has not come as far as the caseload does not leave it behind")
    func olderFeed() throws {
        _ = try follower([])
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        let second = try machine.follow()
        try machine.begin(
            second, with: Caseload(of: patient, [sample(session, version: 3)], epoch: 2, at: position(14)))
        machine.ready(second)
        // Its snapshot is of before the change of rights, and of after the state that the follower has.
        let item = item(session, 4, in: 14)
        let told = machine.completedFeed(FeedChanges([item], at: position(15))).deliveries
        // Nor is the first told: the other's caseload has shown that rights have changed since.
        #expect(told.isEmpty)
        var requests: [FollowerRequest] = []
        machine.sweep()
        while let read = machine.nextFollowerRead() {
            if case .sessions(let request) = read { requests.append(request) }
        }
        #expect(requests.map(\.watcher) == [second] && requests.first?.sessions == [session])
    }

    @Test("Who may not come in any more is told so, and nothing else")
    func refusal() throws {
        let id = try follower([sample(session, version: 3)])
        let request = try refresh([item(session, 4, in: 11)])
        var caseload = Caseload(of: patient, epoch: 2, at: position(12))
        caseload.refusal = .notSignedIn
        #expect(machine.completed(request, CaseloadRefresh(caseload: caseload)) == [Delivery(.revoked(nil), to: [id])])
        #expect(machine.pass(FeedChanges([item(session, 5, in: 12)], epoch: 2, at: position(13))) == [])
    }

    @Test("A catch-up of another epoch is told nobody; the caseload is read, and then the rest")
    func catchUpUnderNewRights() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let catchUp = try #require(machine.nextCatchUp())
        #expect(machine.completed(catchUp, ProgressChanges(session, 4, epoch: 2)) == [])
        let request = try #require(machine.nextRefresh())
        #expect(request.versions == [session: 3])
        machine.failed(.caseload(request))
        let again = try #require(machine.nextRefresh())
        let caseload = Caseload(of: patient, [sample(session, version: 4)], epoch: 2, at: position(12))
        let said = machine.completed(
            again, CaseloadRefresh(caseload: caseload, transitions: [session: [transition(4)]]))
        #expect(
            said == [
                Delivery(
                    .caseload([.state(sample(session, version: 4))], before: position(10), after: position(10)),
                    to: [id])
            ])
    }

    @Test("Rights that change while the caseload is read cause another read")
    func changedTwice() throws {
        _ = try follower([sample(session, version: 3)])
        let request = try refresh()
        #expect(machine.pass(FeedChanges(epoch: 3, at: position(13))) == [])
        #expect(machine.nextRefresh() == nil)
        let caseload = Caseload(of: patient, [sample(session, version: 3)], epoch: 2, at: position(12))
        #expect(machine.completed(request, CaseloadRefresh(caseload: caseload)) == [])
        #expect(machine.nextRefresh() != nil)
    }
}
