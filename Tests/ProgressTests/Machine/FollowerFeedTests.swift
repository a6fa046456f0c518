import Domain
import Testing

@testable import Progress
@testable import Store

/// The feed reads what was committed from one position to the next, and passes it on to all who follow.
@Suite("The feed of all sessions") struct FollowerFeedTests {
    private let machine = FollowingMachine()
    private let patient = UserID.random()
    private let session = SessionID.random()

    @Test("begins where the first caseload was read, and asks at once for what came since")
    func beginning() throws {
        let follower = try machine.follow()
        #expect(machine.nextFeed() == nil)
        let events = try machine.begin(
            follower, with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        #expect(events == [.state(sample(session, version: 3)), .ready])
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(10) && read.sessions == [session])
        #expect(machine.nextFeed() == nil)
    }

    @Test("moves on with every answer, and says up to where everything is told")
    func positions() throws {
        let follower = try machine.follower(
            with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        let item = FeedChanges.Item(
            session, of: patient, 5, .transcribed, after: [transition(4)], in: 11)
        let said = machine.pass(FeedChanges([item], at: position(12)))
        let events: [CaseloadEvent] = [
            .passed(transition(4).progress(of: session, createdAt: item.progress.createdAt)), .state(item.progress),
        ]
        #expect(said == [Delivery(.caseload(events, before: position(10), after: position(12)), to: [follower])])
        #expect(machine.pass(FeedChanges(at: position(15))) == [])
        machine.hint(session, 6)
        #expect(machine.nextFeed()?.since == position(15))
        let after = machine.completedFeed(
            FeedChanges([FeedChanges.Item(session, of: patient, 6, in: nil)], at: position(16)))
        #expect(after.deliveries.positions == [position(16)])
    }

    @Test("A failed read is made again from where it was")
    func failure() throws {
        _ = try machine.follower(with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        machine.hint(session, 4)
        #expect(machine.nextFeed()?.sessions == [session])
        machine.failedFeed()
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(10) && read.sessions == [session])
    }

    @Test("What is committed under an older number than the position is told once")
    func lateCommit() throws {
        let follower = try machine.follower(
            with: Caseload(of: patient, [sample(session, version: 3)], at: position(12, 10)))
        let said = machine.pass(
            FeedChanges([FeedChanges.Item(session, of: patient, 4, .transcribed, in: 10)], at: position(12)))
        #expect(said.events == [.state(sample(session, version: 4, status: .transcribed))])
        #expect(said.first?.watchers == [follower])
    }

    @Test("A session that was done before its follower came is not told, whenever the read began")
    func doneBefore() throws {
        _ = try machine.follower(with: Caseload(of: patient, at: position(10)))
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, at: position(14)))
        machine.ready(second)
        // Done in 12: the read saw it at 13, the second caseload was read at 14.
        let item = FeedChanges.Item(session, of: patient, 9, .processed, in: 12)
        let said = machine.completedFeed(FeedChanges([item], at: position(13))).deliveries
        #expect(!said.contains { $0.watchers == [second] })
        // What is made after that is told from the beginning.
        let made = SessionID.random()
        let next = machine.pass(
            FeedChanges(
                [
                    FeedChanges.Item(
                        made, of: patient, 2, .processed, after: [transition(1, status: .pending)], in: 15)
                ], at: position(16)))
        #expect(next.filter { $0.watchers == [second] }.events.count == 2)
    }

    @Test("ends with the last follower, and takes no answer of before for its own")
    func newFeed() throws {
        let first = try machine.follower(with: Caseload(of: patient, at: position(10)))
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        machine.release(first)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, [sample(session, version: 5)], at: position(20)))
        machine.ready(second)
        // One read at a time, also when the first is nobody's.
        #expect(machine.nextFeed() == nil)
        let stale = FeedChanges([FeedChanges.Item(session, of: patient, 4, in: 15)], at: position(16))
        #expect(machine.completedFeed(stale).deliveries == [])
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(20) && read.sessions == [session])
    }

    @Test("fails for nobody, and begins anew")
    func newFeedAfterFailure() throws {
        let first = try machine.follower(with: Caseload(of: patient, at: position(10)))
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        machine.release(first)
        machine.failedFeed()
        #expect(machine.nextFeed() == nil)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, at: position(20)))
        machine.hint(session, 0)
        #expect(machine.nextFeed()?.since == position(20))
    }

    @Test("Several open at once: who read before the feed began reads again, and misses nothing")
    func openingTogether() throws {
        let (first, second, third) = (try machine.follow(), try machine.follow(), try machine.follow())
        try machine.readCaseload(of: first)
        try machine.begin(second, with: Caseload(of: patient, at: position(12)))
        // Between the two something may have been made and done, which no caseload lists.
        #expect(machine.predatesFeed(first))
        try machine.readCaseload(of: first)
        try machine.readCaseload(of: third)
        #expect(![first, second, third].contains { machine.predatesFeed($0) })
        machine.settle(at: position(12))
        machine.pass(FeedChanges([FeedChanges.Item(session, of: patient, 4, in: 12)], at: position(13)))
        try machine.begin(first, with: Caseload(of: patient, [sample(session, version: 3)], at: position(12)))
        machine.ready(first)
        #expect(machine.nextCatchUp()?.sessions == [session])
    }

    @Test("A session is read once more after a pause, as long as there is news")
    func pauses() throws {
        _ = try machine.follower(with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        #expect(!machine.pauseEnded(session))
        #expect(machine.nextFeed()?.sessions == [session])
        let news = machine.completedFeed(
            FeedChanges([FeedChanges.Item(session, of: patient, 4, in: nil)], at: position(11)))
        #expect(news.pauses == [session])
        machine.pass(FeedChanges([FeedChanges.Item(session, of: patient, 5, in: nil)], at: position(12)))
        #expect(machine.pauseEnded(session))
        #expect(machine.nextFeed()?.sessions == [session])
    }

    @Test("Nothing is kept of what is done or deleted")
    func forgetting() throws {
        let other = SessionID.random()
        let caseload = Caseload(
            of: patient, [sample(session, version: 3), sample(other, version: 3)], at: position(10))
        _ = try machine.follower(with: caseload)
        #expect(machine.value.followers.feed.sessionCount == 2)
        machine.pass(
            FeedChanges(
                [FeedChanges.Item(session, of: patient, 4, .processed, in: 11)], deleted: [(other, patient)],
                at: position(12)))
        #expect(machine.value.followers.feed.sessionCount == 0)
        machine.pass(FeedChanges(at: position(13)))
        #expect(machine.value.followers.haveShownNothing)
        #expect(machine.value.followers.areCurrent)
    }
}
