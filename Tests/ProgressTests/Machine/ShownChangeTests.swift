import Domain
import Testing

@testable import Progress
@testable import Store

/// Which changes the metrics of latency count, and from which moment.
@Suite("Changes that the metrics count") struct ShownChangeTests {
    private let session = SessionID.random()
    private let machine = Machine()

    /// A change with the time of ``sample(_:version:status:progress:)`` and ``transition(_:status:)``.
    private func change(
        _ version: Int64, _ cause: ShownChange.Cause, to streams: ShownChange.Streams = .session
    ) -> ShownChange {
        ShownChange(streams: streams, cause: cause, changedAt: Timestamp(microsecondsSinceEpoch: version))
    }

    // MARK: - Streams of one session

    @Test("A change counts once, however many watchers get it")
    func once() {
        for _ in 0..<100 { _ = machine.watcher(of: session) }
        machine.hint(session, 2)
        let moment = machine.now
        machine.nextReading()
        let outcome = machine.completed([reading(session, version: 2)])
        #expect(outcome.deliveries.first?.watchers.count == 100)
        #expect(outcome.shown == [change(2, .hint(moment))])
    }

    @Test("Each transition counts, and the state after it")
    func transitions() {
        let (first, second) = (machine.watcher(of: session, at: 1), machine.watcher(of: session, at: 3))
        machine.nextReading()
        let outcome = machine.completed([reading(session, version: 5, transitions: [3, 4, 5])])
        #expect(Set(outcome.deliveries.flatMap(\.watchers)) == [first, second])
        #expect(outcome.shown == [change(3, .other), change(4, .other), change(5, .other)])
    }

    @Test("The first state of a stream, a catch-up and a state for a part of the program do not count")
    func uncounted() {
        let watcher = machine.watcher(of: session)
        machine.note(.full, of: watcher, in: news(session, 1, to: [watcher], previousVersion: 0))
        machine.hint(session, 2)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 2)]).shown == [])
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.count == 1)
        let outcome = machine.completed(
            .watchers(.catchUp([.reading(reading(session, version: 2))])))
        #expect(outcome.deliveries.count == 1)
        #expect(outcome.shown == [])

        let other = SessionID.random()
        _ = machine.subscribeLocally(to: other)
        machine.nextReading()
        let local = machine.completed([reading(other, version: 7)])
        #expect(local.updates.count == 1)
        #expect(local.shown == [])
    }

    @Test("A change that the poll, a resync or the read after a pause has found counts as found by it")
    func causes() {
        _ = machine.watcher(of: session)
        machine.poll([session: 2])
        machine.nextReading(.poll)
        #expect(machine.completed([reading(session, version: 2)], .poll).shown == [change(2, .poll)])
        machine.resync()
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 3)]).shown == [change(3, .resync)])
        _ = machine.pauseEnded(session)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 4)]).shown == [change(4, .other)])
    }

    @Test("With several hints of a session, the first moment counts")
    func severalHints() {
        _ = machine.watcher(of: session)
        machine.hint(session, 2)
        let moment = machine.now
        machine.hint(session, 3)
        machine.hint(session, 2)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 3)]).shown == [change(3, .hint(moment))])
    }

    /// The race: the read begins after the commit, and before the hint.
    @Test("A hint that comes while its change is being read counts for this change")
    func hintDuringItsRead() {
        _ = machine.watcher(of: session)
        machine.resync()
        machine.nextReading()
        machine.hint(session, 2)
        let moment = machine.now
        #expect(machine.completed([reading(session, version: 2)]).shown == [change(2, .hint(moment))])
        #expect(machine.value.oldestHint == nil)
    }

    @Test("A hint of a later version that comes during a read counts for the later change")
    func hintDuringRead() {
        _ = machine.watcher(of: session)
        machine.hint(session, 2)
        let first = machine.now
        machine.nextReading()
        machine.hint(session, 3)
        let second = machine.now
        #expect(machine.completed([reading(session, version: 2)]).shown == [change(2, .hint(first))])
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 3)]).shown == [change(3, .hint(second))])
    }

    @Test("After a failed read, the first hint still counts")
    func failedRead() {
        _ = machine.watcher(of: session)
        machine.hint(session, 2)
        let moment = machine.now
        machine.nextReading()
        machine.hint(session, 3)
        machine.failed()
        #expect(machine.value.oldestHint == moment)
        machine.nextReading()
        #expect(machine.value.oldestHint == moment, "it waits until the read has succeeded")
        #expect(machine.completed([reading(session, version: 3)]).shown == [change(3, .hint(moment))])
        #expect(machine.value.oldestHint == nil)
    }

    @Test("A forged hint, a known version and a session without watchers leave no hint that waits")
    func noHint() {
        let watcher = machine.watcher(of: session)
        for (session, version) in [(session, 1), (.random(), 2), (session, 0)] as [(SessionID, Int64)] {
            machine.hint(session, version)
        }
        #expect(machine.value.oldestHint == nil)
        machine.settle()
        machine.hint(session, .max)
        #expect(machine.value.oldestHint == machine.now)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 2)]).shown == [change(2, .other)])
        #expect(machine.value.oldestHint == nil)
        machine.hint(session, 5)
        machine.release(watcher)
        #expect(machine.nextReading() == nil)
        #expect(machine.value.oldestHint == nil)
    }

    /// The race: the last watcher leaves while the read for it is under way, and the read fails.
    @Test("A failed read leaves no hint that waits, if nobody watches its session any more")
    func failedReadOfNobody() {
        let watcher = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.release(watcher)
        machine.failed()
        #expect(machine.value.oldestHint == nil)
    }

    @Test("The oldest of many hints is the first that no read has answered")
    func oldest() {
        let machine = Machine(readLimit: 2)
        let sessions = (0..<5).map { _ in SessionID.random() }
        for session in sessions { _ = machine.watcher(of: session) }
        var moments: [ContinuousClock.Instant] = []
        for session in sessions {
            machine.hint(session, 2)
            moments.append(machine.now)
        }
        for oldest in [0, 2, 4] {
            #expect(machine.value.oldestHint == moments[oldest])
            machine.nextReading()
            #expect(machine.value.oldestHint == moments[oldest])
            machine.completed()
        }
        #expect(machine.value.oldestHint == nil)
    }

    // MARK: - Streams of all sessions

    @Test("A change in the feed counts once, however many followers get it")
    func followers() throws {
        let (machine, patient) = (FollowerMachine(), UserID.random())
        let caseload = Caseload(of: patient, [sample(session, version: 1)], at: position(10))
        for _ in 0..<20 { _ = try machine.follower(with: caseload) }
        machine.hint(session, 3)
        let moment = machine.now
        #expect(machine.value.oldestHint == moment)
        _ = try #require(machine.nextFeed())
        let created = SessionID.random()
        let outcome = machine.completedFeed(
            FeedChanges(
                [
                    FeedChanges.Item(session, of: patient, 3, .transcribed, after: [transition(2)], in: 11),
                    FeedChanges.Item(created, of: patient, 1, .pending, in: 11),
                    // Nobody may see this one.
                    FeedChanges.Item(.random(), of: .random(), 1, .pending, in: 11),
                ], at: position(12)))
        #expect(outcome.deliveries.count == 20)
        #expect(
            outcome.shown == [
                change(2, .hint(moment), to: .all), change(3, .hint(moment), to: .all), change(1, .other, to: .all),
            ])
        #expect(machine.value.oldestHint == nil)
    }

    @Test("A change that only the poll names counts as found by it")
    func followersByPoll() throws {
        let (machine, patient) = (FollowerMachine(), UserID.random())
        _ = try machine.follower(with: Caseload(of: patient, [sample(session, version: 1)], at: position(10)))
        _ = machine.completed(.poll(HintNews(rights: .epoch(1, at: snapshot(11)), versions: [session: 2])))
        _ = try #require(machine.nextFeed())
        let item = FeedChanges.Item(session, of: patient, 2, .transcribed, in: 11)
        #expect(machine.completedFeed(FeedChanges([item], at: position(12))).shown == [change(2, .poll, to: .all)])
    }

    @Test("The streams of all sessions are behind from the first reason to read until a read has answered it")
    func feedLag() throws {
        let (machine, patient) = (FollowerMachine(), UserID.random())
        _ = try machine.follower(with: Caseload(of: patient, [sample(session, version: 1)], at: position(10)))
        #expect(machine.value.feedBehindSince == nil)
        machine.hint(session, 2)
        let first = machine.now
        _ = try #require(machine.nextFeed())
        machine.hint(session, 3)
        let second = machine.now
        #expect(machine.value.feedBehindSince == first)
        machine.failedFeed()
        #expect(machine.value.feedBehindSince == first, "a failed read answers nothing")
        _ = try #require(machine.nextFeed())
        machine.hint(session, 4)
        let third = machine.now
        #expect(second < third)
        _ = machine.completedFeed(FeedChanges(at: position(12)))
        #expect(machine.value.feedBehindSince == third)
        machine.settle(at: position(13))
        #expect(machine.value.feedBehindSince == nil)
    }
}
