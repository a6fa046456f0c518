import Domain
import Store
import Testing

@testable import Progress

/// A watcher gets nothing that was read after its right ended, and gets `revoked` once.
@Suite("Rights of watchers") struct RightsTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("News that comes with a change of rights waits until the right is confirmed")
    func newEpoch() {
        let watcher = machine.watcher(of: session)
        #expect(machine.pass(reading(session, version: 2, transitions: [2]), epoch: 2).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2, transitions: [2])])
                == [news(session, 2, to: [watcher], previousVersion: 1)])
        #expect(
            machine.pass(reading(session, version: 3), epoch: 2).deliveries
                == [news(session, 3, to: [watcher], previousVersion: 2)])
    }

    /// The race: the right ends, a reading takes its database snapshot, the right comes back, and the sweep confirms it.
    @Test("A watcher that was confirmed before a reading shows a change of rights is checked again")
    func oldEpoch() {
        let watcher = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep() == [])
        #expect(machine.completed([reading(session, version: 2)], epoch: 2).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previousVersion: 1)])
    }

    @Test("No watcher gets news of a reading after another read has shown a change of rights")
    func outdatedReading() {
        let watcher = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        // The poll succeeds first, and shows the change of rights.
        machine.poll()
        machine.nextReading(.poll)
        machine.completed(epoch: 2, .poll)
        #expect(machine.completed([reading(session, version: 2)], epoch: 1).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(machine.completedCatchUp([nil]) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("The hub repeats a catch-up if another read has shown a change of rights meanwhile")
    func outdatedCatchUp() {
        let watcher = machine.watcher(of: session)
        machine.pass(reading(session, version: 2), epoch: 2)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        machine.learn(epoch: 3)
        #expect(machine.completedCatchUp([reading(session, version: 2)]) == [])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)])
                == [news(session, 2, to: [watcher], previousVersion: 1)])
    }

    @Test("A watcher whose snapshot was not sent, because rights have changed, begins with the present state")
    func discardedSnapshot() {
        let watcher = machine.unattached(of: session, at: 4)
        #expect(machine.isCurrent(watcher))
        machine.learn(epoch: 2)
        #expect(!machine.isCurrent(watcher))
        machine.attachWithoutSnapshot(watcher, clientHas: 0)
        #expect(machine.nextCatchUp()?.map(\.version) == [0])
        let state = reading(session, version: 4, transitions: [1, 2, 4])
        #expect(machine.completedCatchUp([state]) == [news(session, 4, to: [watcher], previousVersion: 0)])
    }

    @Test("If its client resumes, the watcher gets the transitions since the version of the client")
    func discardedSnapshotOfResumption() {
        let watcher = machine.unattached(of: session, at: 4)
        machine.learn(epoch: 2)
        machine.attachWithoutSnapshot(watcher, clientHas: 2)
        #expect(machine.nextCatchUp()?.map(\.version) == [2])
        let deliveries = machine.completedCatchUp([reading(session, version: 4, transitions: [3, 4])])
        #expect(deliveries == [news(session, 4, after: [3], to: [watcher], previousVersion: 2)])
    }

    @Test("A watcher that a change does not concern does not wait for one that it does")
    func mixed() {
        let (concerned, other) = (Principal.random(), Principal.random())
        let old = machine.watcher(of: session, for: concerned)
        let new = machine.watcher(of: session, for: other)
        machine.learn(RightsNews(at: snapshot(11), changes: [RightsChange(in: 10, user: concerned.user)]))
        #expect(
            machine.pass(reading(session, version: 2)).deliveries
                == [news(session, 2, to: [new], previousVersion: 1)])
        #expect(machine.nextCatchUp()?.map(\.watcher) == [old])
    }

    @Test("A catch-up that finds no right ends the watcher with revoked")
    func revokedByCatchUp() throws {
        let watcher = machine.watcher(of: session)
        machine.pass(reading(session, version: 2), epoch: 2)
        let sweep = try #require(machine.nextSweep())
        #expect(sweep.map(\.watcher) == [watcher])
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(machine.completedCatchUp([nil]) == [Delivery(.revoked(session), to: [watcher])])
        #expect(machine.completedSweep(lost: [0]) == [], "the watcher gets revoked once")
        machine.resync()
        #expect(machine.nextReading() == nil, "no watcher has the session")
    }

    @Test("A sweep that finds no right ends the watcher, and the catch-up does not end it again")
    func revokedBySweep() {
        let watcher = machine.watcher(of: session)
        machine.pass(reading(session, version: 2), epoch: 2)
        #expect(machine.nextCatchUp()?.count == 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0]) == [Delivery(.revoked(session), to: [watcher])])
        #expect(machine.completedCatchUp([nil]) == [])
        #expect(machine.nextSweep() == nil)
    }

    @Test("A blocked watcher gets revoked, because a socket always takes the last message")
    func revokedWhileBlocked() {
        let watcher = machine.watcher(of: session)
        machine.note(.full, of: watcher, in: Delivery(.degraded, to: [watcher]))
        machine.learn(epoch: 2)
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0]) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("A sweep checks the watchers that a change of rights concerns, once, and no later ones")
    func sweep() {
        let sessions = (0..<3).map { _ in SessionID.random() }
        let old = sessions.map { machine.watcher(of: $0, at: 7) }
        #expect(machine.nextSweep() == nil)
        machine.learn(epoch: 2)
        _ = machine.watcher(of: session)
        let requests = machine.nextSweep()
        #expect(requests?.map(\.watcher) == old)
        #expect(requests?.map(\.session) == sessions)
        #expect(machine.nextSweep() == nil, "one at a time")
        #expect(machine.completedSweep(lost: [1]) == [Delivery(.revoked(sessions[1]), to: [old[1]])])
        #expect(machine.nextSweep() == nil)
    }

    @Test("A watcher that a sweep has confirmed gets news without a catch-up")
    func sweptInTime() {
        let watcher = machine.watcher(of: session)
        machine.learn(epoch: 2)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep() == [])
        #expect(
            machine.pass(reading(session, version: 2), epoch: 2).deliveries
                == [news(session, 2, to: [watcher], previousVersion: 1)])
    }

    @Test("A sweep has a limit, and the next sweep checks the rest")
    func sweepLimit() {
        let machine = Machine(readLimit: 2)
        let watchers = (0..<5).map { _ in machine.watcher(of: session) }
        machine.learn(epoch: 2)
        var asked: [Int] = []
        var all: [WatcherID] = []
        while let requests = machine.nextSweep() {
            asked.append(requests.count)
            all += requests.map(\.watcher)
            _ = machine.completedSweep()
        }
        #expect(asked == [2, 2, 1])
        #expect(all == watchers)
    }

    @Test("After a change of rights during a sweep, all watchers are checked again")
    func changeDuringSweep() {
        let machine = Machine(readLimit: 1)
        let watchers = [machine.watcher(of: session), machine.watcher(of: session)]
        machine.learn(epoch: 2)
        #expect(machine.nextSweep()?.map(\.watcher) == [watchers[0]])
        machine.learn(epoch: 3)
        _ = machine.completedSweep()
        var asked: [WatcherID] = []
        while let requests = machine.nextSweep() {
            asked += requests.map(\.watcher)
            _ = machine.completedSweep()
        }
        #expect(asked.count == 2)
        #expect(Set(asked) == Set(watchers))
    }

    @Test("The hub repeats a failed sweep")
    func failedSweep() {
        _ = machine.watcher(of: session)
        machine.learn(epoch: 2)
        let requests = machine.nextSweep()
        machine.failedSweep()
        #expect(requests?.count == 1)
        #expect(machine.nextSweep() == requests)
    }

    @Test("No sweep checks a watcher without a socket; a catch-up does when it gets one")
    func attachAfterSweep() {
        let watcher = machine.unattached(of: session)
        machine.learn(epoch: 2)
        #expect(machine.nextSweep() == nil)
        machine.ready(watcher)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [watcher])
        #expect(machine.completedCatchUp([nil]) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("A change of rights while the snapshot is read makes a catch-up necessary")
    func changeDuringSubscription() {
        let late = machine.register(session)
        machine.learn(epoch: 2)
        machine.begin(late, at: 1)
        machine.ready(late)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [late])
    }

    @Test("Local subscribers need no rights")
    func localSubscriber() {
        let subscriber = machine.subscribeLocally(to: session)
        machine.nextReading()
        #expect(machine.completed([reading(session, version: 2)], epoch: 9).updates.map(\.subscriber) == [subscriber])
        machine.checkRights(share: 1)
        #expect(machine.nextSweep() == nil)
        #expect(machine.nextCatchUp() == nil)
    }

    // MARK: - Deletion

    @Test("Watchers of a deleted session get revoked once, even if they get a socket later")
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

    /// The race: the session is created, with an id that the client chose, after the database snapshot of a reading.
    ///
    /// A watcher begins before the reading ends.
    @Test("A reading from before the creation of a session does not end its watchers")
    func missingBeforeCreated() {
        let watcher = machine.register(session)
        machine.resync()
        machine.nextReading()
        machine.begin(watcher, at: 1)
        machine.ready(watcher)
        #expect(machine.completed(missing: [session]).deliveries == [])
        #expect(machine.nextCatchUp()?.map(\.version) == [1])
        #expect(
            machine.completedCatchUp([reading(session, version: 2)]) == [
                news(session, 2, to: [watcher], previousVersion: 1)
            ])
    }
}
