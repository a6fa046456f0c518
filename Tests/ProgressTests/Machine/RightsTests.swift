import Domain
import Testing

@testable import Progress

/// Nobody is given what was read after the right ended, and the end of the right is told once.
@Suite("The rights of watchers") struct RightsTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("News from under newer rights waits until the watcher is seen to have the right under them")
    func newEpoch() {
        let watcher = machine.watcher(of: session, epoch: 1)
        #expect(machine.pass(reading(session, version: 2, transitions: [2]), epoch: 2).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2, transitions: [2])], epoch: 2)
                == [news(session, 2, to: [watcher], previous: 1)])
        #expect(
            machine.pass(reading(session, version: 3), epoch: 2).deliveries
                == [news(session, 3, to: [watcher], previous: 2)])
    }

    /// The race: the right ends, a reading's snapshot is taken, the right comes back, and the sweep sees it.
    @Test("News from under older rights than those that the watcher was seen under is not for it")
    func oldEpoch() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.hint(session, 2)
        machine.nextReading()
        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(epoch: 3) == [])
        #expect(machine.completed([reading(session, version: 2)], epoch: 2).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)], epoch: 3)
                == [news(session, 2, to: [watcher], previous: 1)])
    }

    @Test("News from under older rights than another read has shown are for nobody, until they are asked about anew")
    func outdatedReading() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.hint(session, 2)
        machine.nextReading()
        // The poll is faster, and comes back with the change of rights.
        machine.poll()
        machine.nextReading(.poll)
        machine.completed(epoch: 2, .poll)
        #expect(machine.completed([reading(session, version: 2)], epoch: 1).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(machine.completedCatchUp([nil], epoch: 2) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("A catch-up from under older rights than another read has shown is made anew")
    func outdatedCatchUp() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.pass(reading(session, version: 2), epoch: 2)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        machine.rightsChanged()
        machine.nextReading()
        machine.completed(epoch: 3)
        #expect(machine.completedCatchUp([reading(session, version: 2)], epoch: 2) == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)], epoch: 3)
                == [news(session, 2, to: [watcher], previous: 1)])
    }

    @Test(
        "Whose snapshot was not sent, since rights have changed, is asked about, and begins with the state as it stands"
    )
    func withheld() {
        let watcher = machine.unattached(of: session, at: 4, epoch: 1)
        #expect(machine.isCurrent(watcher))
        machine.rightsChanged()
        machine.nextReading()
        machine.completed(epoch: 2)
        #expect(!machine.isCurrent(watcher))
        machine.attachWithoutSnapshot(watcher, clientHas: 0)
        #expect(machine.nextCatchUp()?.map(\.version) == [0])
        let state = reading(session, version: 4, transitions: [1, 2, 4])
        #expect(machine.completedCatchUp([state], epoch: 2) == [news(session, 4, to: [watcher], previous: 0)])
    }

    @Test("Whose client has left off somewhere is then told what has passed since")
    func withheldResumption() {
        let watcher = machine.unattached(of: session, at: 4, epoch: 1)
        machine.rightsChanged()
        machine.nextReading()
        machine.completed(epoch: 2)
        machine.attachWithoutSnapshot(watcher, clientHas: 2)
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        let told = machine.completedCatchUp([reading(session, version: 4, transitions: [3, 4])], epoch: 2)
        #expect(told == [news(session, 4, after: [3], to: [watcher], previous: 2)])
    }

    @Test("Who was let in under the newer rights does not wait for who was not")
    func mixed() {
        let old = machine.watcher(of: session, epoch: 1)
        let new = machine.watcher(of: session, epoch: 2)
        #expect(
            machine.pass(reading(session, version: 2), epoch: 2).deliveries
                == [news(session, 2, to: [new], previous: 1)])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [old])
    }

    @Test("Without a right in the catch-up, the watcher is told that it has ended, and nothing after that")
    func revokedByCatchUp() throws {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.pass(reading(session, version: 2), epoch: 2)
        let sweep = try #require(machine.nextSweep())
        #expect(sweep.map(\.watcher) == [watcher])
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(machine.completedCatchUp([nil], epoch: 2) == [Delivery(.revoked(session), to: [watcher])])
        #expect(machine.completedSweep(lost: [0], epoch: 2) == [], "it is told once")
        machine.resync()
        #expect(machine.nextReading()?.sessions == [], "nobody watches the session")
    }

    @Test("The sweep finds it as well, and then the catch-up says nothing")
    func revokedBySweep() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.pass(reading(session, version: 2), epoch: 2)
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0], epoch: 2) == [Delivery(.revoked(session), to: [watcher])])
        #expect(machine.completedCatchUp([nil], epoch: 2) == [])
        #expect(machine.nextSweep() == nil)
    }

    @Test("Who has no room is told the end of the right all the same: the last message is always taken")
    func revokedWhileBlocked() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        machine.rightsChanged()
        machine.settle(epoch: 2)
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0], epoch: 2) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("A sweep asks about those who were seen under older rights, once, and the others not at all")
    func sweep() {
        let sessions = (0..<3).map { _ in SessionID.random() }
        let old = sessions.map { machine.watcher(of: $0, at: 7, epoch: 1) }
        #expect(machine.nextSweep() == nil)
        _ = machine.watcher(of: session, epoch: 2)
        let requests = machine.nextSweep()
        #expect(requests?.map(\.watcher) == old)
        #expect(requests?.map(\.session) == sessions)
        #expect(machine.nextSweep() == nil, "one at a time")
        #expect(machine.completedSweep(lost: [1], epoch: 2) == [Delivery(.revoked(sessions[1]), to: [old[1]])])
        #expect(machine.nextSweep() == nil)
    }

    @Test("Who is swept need not be caught up before it is given anything")
    func sweptInTime() {
        let watcher = machine.watcher(of: session, epoch: 1)
        machine.rightsChanged()
        machine.settle(epoch: 2)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(epoch: 2) == [])
        #expect(
            machine.pass(reading(session, version: 2), epoch: 2).deliveries
                == [news(session, 2, to: [watcher], previous: 1)])
    }

    @Test("A sweep has its limit, and the next one takes the rest")
    func sweepLimit() {
        let machine = Machine(readLimit: 2)
        let watchers = (0..<5).map { _ in machine.watcher(of: session, epoch: 1) }
        machine.rightsChanged()
        machine.settle(epoch: 2)
        var asked: [Int] = []
        var all: [WatcherID] = []
        while let requests = machine.nextSweep() {
            asked.append(requests.count)
            all += requests.map(\.watcher)
            _ = machine.completedSweep(epoch: 2)
        }
        #expect(asked == [2, 2, 1])
        #expect(all == watchers)
    }

    @Test("Rights that change during a sweep are swept again")
    func changeDuringSweep() {
        let machine = Machine(readLimit: 1)
        let watchers = [machine.watcher(of: session, epoch: 1), machine.watcher(of: session, epoch: 1)]
        machine.rightsChanged()
        machine.settle(epoch: 2)
        #expect(machine.nextSweep()?.map(\.watcher) == [watchers[0]])
        machine.rightsChanged()
        machine.settle(epoch: 3)
        _ = machine.completedSweep(epoch: 2)
        var asked: [WatcherID] = []
        while let requests = machine.nextSweep() {
            asked += requests.map(\.watcher)
            _ = machine.completedSweep(epoch: 3)
        }
        #expect(asked == watchers)
    }

    @Test("A sweep may show newer rights than any reading has")
    func sweepShowsEpoch() {
        let (first, second) = (machine.watcher(of: session, epoch: 1), machine.watcher(of: session, epoch: 1))
        machine.checkRights(share: 0.5)
        #expect(machine.nextSweep()?.count == 1)
        _ = machine.completedSweep(epoch: 2)
        #expect(machine.value.epoch == 2)
        // One of the two was asked about under the new rights already.
        let asked = machine.nextSweep()?.map(\.watcher) ?? []
        #expect(asked.count == 1)
        #expect([first, second].contains(asked.first))
    }

    @Test("A sweep that failed is made again")
    func failedSweep() {
        _ = machine.watcher(of: session, epoch: 1)
        machine.rightsChanged()
        machine.settle(epoch: 2)
        let requests = machine.nextSweep()
        machine.failedSweep()
        #expect(requests?.count == 1)
        #expect(machine.nextSweep() == requests)
    }

    @Test("Who has no socket is not asked about: it is caught up when it gets one")
    func attachAfterSweep() {
        let watcher = machine.unattached(of: session, epoch: 1)
        machine.rightsChanged()
        machine.settle(epoch: 2)
        #expect(machine.nextSweep() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(machine.completedCatchUp([nil], epoch: 2) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("Who begins with a snapshot from under older rights is caught up before it is given anything")
    func oldSnapshot() {
        _ = machine.watcher(of: session, epoch: 2)
        let late = machine.register(session)
        machine.begin(late, at: 1, epoch: 1)
        machine.ready(late)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [late])
    }

    @Test("The watchers within the program have nobody's rights")
    func listener() {
        let listener = machine.subscribeLocally(to: session)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 2)], epoch: 9).updates.map(\.subscriber) == [listener])
        machine.checkRights(share: 1)
        #expect(machine.nextSweep() == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    // MARK: - Deletion

    @Test("A session that is no more is told to its watchers once, also to one that gets its socket later")
    func deleted() {
        let (first, second) = (machine.watcher(of: session), machine.unattached(of: session))
        machine.hint(session, 0)
        machine.nextReading()
        #expect(machine.completed(missing: [session]).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [first])
        #expect(machine.completedCatchUp([nil]) == [Delivery(.revoked(session), to: [first])])
        machine.ready(second)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [second])
        #expect(machine.completedCatchUp([nil]) == [Delivery(.revoked(session), to: [second])])
        #expect(machine.value.watchedSessions.isEmpty)
    }

    /// The race: the session is made after the reading's snapshot, with an id of the client's choosing, and before the
    /// reading is back it is watched.
    @Test("A reading from before the session was made ends nobody who has seen it since")
    func missingBeforeMade() {
        let watcher = machine.register(session)
        machine.resync()
        machine.nextReading()
        machine.begin(watcher, at: 1)
        machine.ready(watcher)
        #expect(machine.completed(missing: [session]).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)]) == [news(session, 2, to: [watcher], previous: 1)])
    }

    // MARK: - The regular check

    @Test("The regular check looks at everybody once in its time, a part at a time")
    func regular() {
        let watchers = (0..<90).map { _ in machine.watcher(of: session) }
        var asked: [WatcherID] = []
        for _ in 0..<30 {
            machine.checkRights(share: 1.0 / 30)
            let requests = machine.nextSweep() ?? []
            #expect((2...4).contains(requests.count))
            asked += requests.map(\.watcher)
            _ = machine.completedSweep(epoch: 1)
        }
        machine.checkRights(share: 1.0 / 30)
        asked += machine.nextSweep()?.map(\.watcher) ?? []
        #expect(Set(asked) == Set(watchers))
        #expect(asked.count <= 93)
    }

    @Test("When checks are late, no more than everybody is asked about")
    func lateChecks() {
        for _ in 0..<3 { _ = machine.watcher(of: session) }
        for _ in 0..<100 { machine.checkRights(share: 0.5) }
        #expect(machine.nextSweep()?.count == 3)
        _ = machine.completedSweep(epoch: 1)
        #expect(machine.nextSweep() == nil)
    }

    @Test("The regular check finds the end of a sign-in that no change of the database tells of")
    func regularLoss() {
        let watcher = machine.watcher(of: session)
        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0], epoch: 1) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("With nobody there, there is nothing to check")
    func nobody() {
        machine.checkRights(share: 1)
        #expect(machine.nextSweep() == nil)
    }
}
