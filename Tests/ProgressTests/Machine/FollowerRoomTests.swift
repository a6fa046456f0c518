import Domain
import Testing

@testable import Progress
@testable import Store

/// A follower without room collects what has changed, and gets it when it has room.
@Suite("Follower without room") struct FollowerRoomTests {
    private let machine = FollowerMachine()
    private let patient = UserID.random()
    private let session = SessionID.random()
    private let other = SessionID.random()

    private func follower(_ sessions: [SessionProgress]) throws -> WatcherID {
        try machine.follower(with: Caseload(of: patient, sessions, at: position(10)))
    }

    private func item(
        _ session: SessionID, _ version: Int64, _ status: SessionStatus = .transcribing, in transaction: Int64?
    ) -> FeedChanges.Item { FeedChanges.Item(session, of: patient, version, status, in: transaction) }

    @Test("A catch-up that is older than a deletion does not bring the session back")
    func catchUpOlderThanDeletion() throws {
        let patient = UserID.random()
        let session = SessionID.random()
        let machine = FollowerMachine()
        let id = try machine.follower(with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        machine.filled(id)
        machine.pass(
            FeedChanges([FeedChanges.Item(session, of: patient, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let catchUp = try #require(machine.nextCatchUp())
        #expect(
            machine.pass(FeedChanges(deleted: [(session, patient)], at: position(14))).events == [.removed(session)])
        #expect(machine.completed(catchUp, ProgressChanges(session, 4)) == [])
    }

    @Test("A follower gets the changes that came while its caseload was read")
    func pending() throws {
        _ = try follower([])
        let second = try machine.follow()
        let stranger = FeedChanges.Item(.random(), of: .random(), 4, in: 11)
        machine.pass(FeedChanges([item(session, 4, in: 11), stranger], at: position(12)))
        try machine.begin(second, with: Caseload(of: patient, [sample(session, version: 3)], at: position(11)))
        #expect(machine.nextCatchUp() == nil)
        machine.ready(second)
        let request = try #require(machine.nextCatchUp())
        #expect(request.sessions == [session])
        #expect(request.versions == [session: 3])
        #expect(machine.completed(request, ProgressChanges(session, 4)).events == [.state(sample(session, version: 4))])
    }

    @Test("A follower does not get a session that was processed while its caseload was read")
    func processedWhilePending() throws {
        _ = try follower([])
        let second = try machine.follow()
        machine.pass(FeedChanges([item(session, 9, .processed, in: 11), item(other, 9, in: nil)], at: position(12)))
        try machine.begin(second, with: Caseload(of: patient, at: position(12)))
        machine.ready(second)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A follower with room gets what it missed, and then the new position")
    func room() throws {
        let id = try follower([sample(session, version: 3), sample(other, version: 1)])
        machine.filled(id)
        #expect(machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12))) == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(id)
        let request = try #require(machine.nextCatchUp())
        // News of another session is sent meanwhile, but the position stays.
        let meanwhile = machine.pass(FeedChanges([item(other, 2, in: 12)], at: position(13)))
        #expect(meanwhile.events == [.state(sample(other, version: 2))])
        #expect(meanwhile.positions == [position(10)])
        let caughtUp = machine.completed(request, ProgressChanges(session, 4))
        #expect(caughtUp.events == [.state(sample(session, version: 4))])
        #expect(caughtUp.positions == [position(10)])
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.pass(FeedChanges([item(session, 5, in: 13)], at: position(14))).positions == [position(14)])
    }

    @Test("News of a session that is being read waits, and is sent once")
    func newsMeanwhile() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let first = try #require(machine.nextCatchUp())
        // Both the read and the feed find the session processed. The feed succeeds first.
        #expect(machine.pass(FeedChanges([item(session, 5, .processed, in: 12)], at: position(13))) == [])
        let deliveries = machine.completed(first, ProgressChanges(session, 5, .processed, after: [transition(4)]))
        #expect(deliveries.events.compactMap(\.progress).map(\.version) == [4, 5])
        let second = try #require(machine.nextCatchUp())
        #expect(second.sessions == [session])
        #expect(second.versions == [session: 5])
        #expect(machine.completed(second, ProgressChanges(rights: .epoch(1))) == [])
        // The session is not sent again if the feed finds it only after that read.
        machine.pass(FeedChanges(at: position(14)))
        let item = item(session, 5, .processed, in: 12)
        #expect(machine.pass(FeedChanges([item], at: position(15))) == [])
        #expect(machine.value.watchers.followers.haveShownNothing)
        #expect(machine.value.watchers.followers.areCurrent)
    }

    @Test("A session that was created meanwhile begins with its first state, and a retry with added")
    func created() throws {
        let id = try follower([sample(other, version: 3, status: .failed)])
        machine.filled(id)
        machine.pass(
            FeedChanges([item(session, 1, .pending, in: 11), item(other, 4, .pending, in: 12)], at: position(13)))
        machine.ready(id)
        let request = try #require(machine.nextCatchUp())
        #expect(Set(request.sessions) == [session, other])
        var changes = ProgressChanges(
            session, 3, .transcribed, after: [transition(1, status: .pending), transition(2)])
        changes.changed += ProgressChanges(other, 5, after: [transition(4, status: .pending)]).changed
        let events = machine.completed(request, changes).events
        let names = events.map { event in
            switch event {
            case .added: "added"
            case .passed: "passed"
            case .state: "state"
            default: "other"
            }
        }
        #expect(names == ["added", "passed", "state", "added", "state"])
    }

    @Test("A session that was deleted meanwhile is removed once")
    func deleted() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.pass(FeedChanges(deleted: [(session, patient), (.random(), .random())], at: position(13)))
        machine.ready(id)
        let request = try #require(machine.nextCatchUp())
        let deliveries = machine.completed(request, ProgressChanges(missing: [session], rights: .epoch(1)))
        #expect(deliveries.events == [.removed(session)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("The hub repeats a read that failed, or ended when there was no room")
    func again() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let first = try #require(machine.nextCatchUp())
        machine.failed(.sessions(first))
        let second = try #require(machine.nextCatchUp())
        #expect(second.sessions == [session])
        machine.filled(id)
        #expect(machine.completed(second, ProgressChanges(session, 4)) == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(id)
        let third = try #require(machine.nextCatchUp())
        #expect(machine.completed(third, ProgressChanges(session, 4)).events == [.state(sample(session, version: 4))])
    }

    @Test("A refused message ends the connection, and the client resumes from its position")
    func refused() throws {
        let id = try follower([sample(session, version: 3)])
        let delivery = try #require(machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12))).first)
        #expect(machine.note(.refused, of: id, in: delivery) == Delivery(.reconnect, to: [id]))
    }

    @Test("The number of reads under way has a limit, and a follower has one at a time")
    func limit() throws {
        let ids = try (0..<3).map { _ in try follower([sample(session, version: 3)]) }
        for id in ids { machine.filled(id) }
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        for id in ids + ids { machine.ready(id) }
        let requests = try [#require(machine.nextCatchUp()), #require(machine.nextCatchUp())]
        #expect(Set(requests.map(\.watcher)).count == 2)
        #expect(machine.nextCatchUp() == nil)
        // The read of a follower that has left counts until it ends.
        machine.release(requests[0].watcher)
        #expect(machine.completed(requests[0], ProgressChanges(session, 4)) == [])
        let third = try #require(machine.nextCatchUp())
        #expect(!requests.map(\.watcher).contains(third.watcher))
    }
}
