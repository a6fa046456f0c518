import Domain
import Testing

@testable import Progress
@testable import Store

/// The feed reads what was committed between two positions, for all followers.
@Suite("Feed of all sessions") struct FollowerFeedTests {
    private let machine = FollowerMachine()
    private let patient = UserID.random()
    private let session = SessionID.random()

    @Test("The feed begins at the position of the first caseload, and reads at once what came since")
    func beginning() throws {
        let follower = try machine.follow()
        #expect(machine.nextFeed() == nil)
        let events = try machine.begin(
            follower, with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        #expect(events == [.state(sample(session, version: 3)), .ready])
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(10))
        #expect(read.sessions == [session])
        #expect(machine.nextFeed() == nil)
    }

    @Test("Every answer moves the position, and each message carries it")
    func positions() throws {
        let follower = try machine.follower(
            with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        let item = FeedChanges.Item(
            session, of: patient, 5, .transcribed, after: [transition(4)], in: 11)
        let deliveries = machine.pass(FeedChanges([item], at: position(12)))
        let events: [CaseloadEvent] = [
            .passed(transition(4).progress(of: session, createdAt: item.progress.createdAt)), .state(item.progress),
        ]
        #expect(deliveries == [Delivery(.caseload(events, before: position(10), after: position(12)), to: [follower])])
        #expect(machine.pass(FeedChanges(at: position(15))) == [])
        machine.hint(session, 6)
        #expect(machine.nextFeed()?.since == position(15))
        let after = machine.completedFeed(
            FeedChanges([FeedChanges.Item(session, of: patient, 6, in: nil)], at: position(16)))
        #expect(after.deliveries.positions == [position(16)])
    }

    @Test("The hub repeats a failed read from the same position")
    func failure() throws {
        _ = try machine.follower(with: Caseload(of: patient, [sample(session, version: 3)], at: position(10)))
        machine.hint(session, 4)
        #expect(machine.nextFeed()?.sessions == [session])
        machine.failedFeed()
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(10))
        #expect(read.sessions == [session])
    }

    @Test("A follower gets a late commit with a lower transaction number once")
    func lateCommit() throws {
        let follower = try machine.follower(
            with: Caseload(of: patient, [sample(session, version: 3)], at: position(12, 10)))
        let deliveries = machine.pass(
            FeedChanges([FeedChanges.Item(session, of: patient, 4, .transcribed, in: 10)], at: position(12)))
        #expect(deliveries.events == [.state(sample(session, version: 4, status: .transcribed))])
        #expect(deliveries.first?.watchers == [follower])
    }

    @Test("A follower does not get a session that was processed before it began")
    func doneBefore() throws {
        _ = try machine.follower(with: Caseload(of: patient, at: position(10)))
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, at: position(14)))
        machine.ready(second)
        // Transaction 12 processed the session. The feed finds it at 13, and the second caseload is from 14.
        let item = FeedChanges.Item(session, of: patient, 9, .processed, in: 12)
        let deliveries = machine.completedFeed(FeedChanges([item], at: position(13))).deliveries
        #expect(!deliveries.contains { $0.watchers == [second] })
        // A session that is created later is sent from its first transition.
        let created = SessionID.random()
        let next = machine.pass(
            FeedChanges(
                [
                    FeedChanges.Item(
                        created, of: patient, 2, .processed, after: [transition(1, status: .pending)], in: 15)
                ], at: position(16)))
        #expect(next.filter { $0.watchers == [second] }.events.count == 2)
    }

    @Test("A new feed does not use the answer to a read of the feed before it")
    func newFeed() throws {
        let first = try machine.follower(with: Caseload(of: patient, at: position(10)))
        machine.hint(session, 0)
        #expect(machine.nextFeed() != nil)
        machine.release(first)
        let second = try machine.follow()
        try machine.begin(second, with: Caseload(of: patient, [sample(session, version: 5)], at: position(20)))
        machine.ready(second)
        // One read is under way at a time, even if its followers have left.
        #expect(machine.nextFeed() == nil)
        let stale = FeedChanges([FeedChanges.Item(session, of: patient, 4, in: 15)], at: position(16))
        #expect(machine.completedFeed(stale).deliveries == [])
        let read = try #require(machine.nextFeed())
        #expect(read.since == position(20))
        #expect(read.sessions == [session])
    }

    @Test("A new feed begins after a failed read without followers")
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

    @Test("A caseload that was read before the feed began is read again")
    func subscribingTogether() throws {
        let (first, second, third) = (try machine.follow(), try machine.follow(), try machine.follow())
        try machine.readCaseload(of: first)
        try machine.begin(second, with: Caseload(of: patient, at: position(12)))
        // A session may have been created and processed between the two. No caseload lists it.
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

    @Test("The feed reads a session again after a pause, as long as there is news")
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

    @Test("The feed removes sessions that are processed or deleted")
    func forgetting() throws {
        let other = SessionID.random()
        let caseload = Caseload(
            of: patient, [sample(session, version: 3), sample(other, version: 3)], at: position(10))
        _ = try machine.follower(with: caseload)
        #expect(machine.value.watchers.followers.feed.sessionCount == 2)
        machine.pass(
            FeedChanges(
                [FeedChanges.Item(session, of: patient, 4, .processed, in: 11)], deleted: [(other, patient)],
                at: position(12)))
        #expect(machine.value.watchers.followers.feed.sessionCount == 0)
        machine.pass(FeedChanges(at: position(13)))
        #expect(machine.value.watchers.followers.haveShownNothing)
        #expect(machine.value.watchers.followers.areCurrent)
    }
}
