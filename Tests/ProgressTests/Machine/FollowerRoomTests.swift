import Domain
import Testing

@testable import Progress
@testable import Store

/// A follower without room collects what has changed, and is caught up when there is some.
@Suite("A follower without room") struct FollowerRoomTests {
    private let machine = FollowingMachine()
    private let patient = UserID.random()
    private let session = SessionID.random()
    private let other = SessionID.random()

    private func follower(_ sessions: [SessionProgress]) throws -> WatcherID {
        try machine.follower(with: Caseload(of: patient, sessions, at: position(10)))
    }

    private func item(
        _ session: SessionID, _ version: Int64, _ status: SessionStatus = .transcribing, in transaction: Int64?
    ) -> FeedChanges.Item { FeedChanges.Item(session, of: patient, version, status, in: transaction) }

    @Test("While it opens it collects what it may see, and is caught up from its caseload")
    func opening() throws {
        _ = try follower([])
        let second = try machine.follow()
        let stranger = FeedChanges.Item(.random(), of: .random(), 4, in: 11)
        machine.pass(FeedChanges([item(session, 4, in: 11), stranger], at: position(12)))
        try machine.begin(second, with: Caseload(of: patient, [sample(session, version: 3)], at: position(11)))
        #expect(machine.nextCatchUp() == nil)
        machine.ready(second)
        let request = try #require(machine.nextCatchUp())
        #expect(request.sessions == [session] && request.versions == [session: 3])
        #expect(machine.completed(request, ProgressChanges(session, 4)).events == [.state(sample(session, version: 4))])
    }

    @Test("While it opens, what is done before it begins is not told")
    func doneWhileOpening() throws {
        _ = try follower([])
        let second = try machine.follow()
        machine.pass(FeedChanges([item(session, 9, .processed, in: 11), item(other, 9, in: nil)], at: position(12)))
        try machine.begin(second, with: Caseload(of: patient, at: position(12)))
        machine.ready(second)
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("It is told what it missed, and only then up to where")
    func room() throws {
        let id = try follower([sample(session, version: 3), sample(other, version: 1)])
        machine.filled(id)
        #expect(machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12))) == [])
        #expect(machine.nextCatchUp() == nil)
        machine.ready(id)
        let request = try #require(machine.nextCatchUp())
        // News of another session is told meanwhile, but the position waits.
        let meanwhile = machine.pass(FeedChanges([item(other, 2, in: 12)], at: position(13)))
        #expect(meanwhile.events == [.state(sample(other, version: 2))])
        #expect(meanwhile.positions == [position(10)])
        let caughtUp = machine.completed(request, ProgressChanges(session, 4))
        #expect(caughtUp.events == [.state(sample(session, version: 4))])
        #expect(caughtUp.positions == [position(10)])
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.pass(FeedChanges([item(session, 5, in: 13)], at: position(14))).positions == [position(14)])
    }

    @Test("News of what is being read waits, and is told once")
    func newsMeanwhile() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.ready(id)
        let first = try #require(machine.nextCatchUp())
        // The read has seen it done; so has the feed, and brings it first.
        #expect(machine.pass(FeedChanges([item(session, 5, .processed, in: 12)], at: position(13))) == [])
        let told = machine.completed(first, ProgressChanges(session, 5, .processed, after: [transition(4)]))
        #expect(told.events.compactMap(\.progress).map(\.version) == [4, 5])
        let second = try #require(machine.nextCatchUp())
        #expect(second.sessions == [session] && second.versions == [session: 5])
        #expect(machine.completed(second, ProgressChanges(rightsEpoch: 1)) == [])
        // Nor is it told when the feed comes to it only after the read that was under way.
        machine.pass(FeedChanges(at: position(14)))
        let item = item(session, 5, .processed, in: 12)
        #expect(machine.pass(FeedChanges([item], at: position(15))) == [])
        #expect(machine.value.followers.haveShownNothing)
        #expect(machine.value.followers.areCurrent)
    }

    @Test("A session made meanwhile is told from its beginning, a retry as added")
    func made() throws {
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

    @Test("What is deleted meanwhile is removed once")
    func deleted() throws {
        let id = try follower([sample(session, version: 3)])
        machine.filled(id)
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        machine.pass(FeedChanges(deleted: [(session, patient), (.random(), .random())], at: position(13)))
        machine.ready(id)
        let request = try #require(machine.nextCatchUp())
        let said = machine.completed(request, ProgressChanges(missing: [session], rightsEpoch: 1))
        #expect(said.events == [.removed(session)])
        #expect(machine.nextCatchUp() == nil)
    }

    @Test("A read that fails, or comes when the room is gone again, is made again")
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

    @Test("A message that cannot be taken ends the connection: it comes back with the position that it has")
    func refused() throws {
        let id = try follower([sample(session, version: 3)])
        let said = try #require(machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12))).first)
        #expect(machine.note(.refused, of: id, in: said) == Delivery(.reconnect, to: [id]))
    }

    @Test("At most so many are read for at a time, and a follower once")
    func limit() throws {
        let ids = try (0..<3).map { _ in try follower([sample(session, version: 3)]) }
        for id in ids { machine.filled(id) }
        machine.pass(FeedChanges([item(session, 4, in: 11)], at: position(12)))
        for id in ids + ids { machine.ready(id) }
        let requests = try [#require(machine.nextCatchUp()), #require(machine.nextCatchUp())]
        #expect(Set(requests.map(\.watcher)).count == 2)
        #expect(machine.nextCatchUp() == nil)
        // Also a follower who is gone gives its turn back.
        machine.release(requests[0].watcher)
        #expect(machine.completed(requests[0], ProgressChanges(session, 4)) == [])
        let third = try #require(machine.nextCatchUp())
        #expect(!requests.map(\.watcher).contains(third.watcher))
    }
}
