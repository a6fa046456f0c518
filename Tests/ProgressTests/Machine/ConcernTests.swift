import Domain
import Testing

@testable import Progress
@testable import Store

/// A change of rights names whom it concerns.
///
/// Only their streams wait for a check.
@Suite("Whom a change of rights concerns") struct ConcernTests {
    private let machine = Machine()
    private let session = SessionID.random()
    private let otherSession = SessionID.random()
    private let principal = Principal.random()

    private func learn(_ changes: RightsChange..., at present: Int64 = 11, horizon: Int64 = 0) {
        machine.learn(RightsNews(at: snapshot(present), changes: changes, horizon: horizon))
    }

    private var checked: [WatcherID] { machine.nextSweep()?.map(\.watcher) ?? [] }

    @Test("A change of an account concerns the streams of its user alone")
    func user() {
        let own = [machine.watcher(of: session, for: principal), machine.watcher(of: otherSession, for: principal)]
        _ = machine.watcher(of: session)
        learn(RightsChange(in: 10, user: principal.user))
        #expect(Set(checked) == Set(own))
    }

    @Test("A change of a sign-in concerns the streams under it alone")
    func signIn() {
        let own = machine.watcher(of: session, for: principal)
        _ = machine.watcher(of: session, for: Principal(user: principal.user, signIn: .random()))
        learn(RightsChange(in: 10, user: principal.user, signIn: principal.signIn))
        #expect(checked == [own])
    }

    @Test("A session that was deleted or moved concerns its streams alone")
    func ofSession() {
        let own = [machine.watcher(of: session), machine.watcher(of: session)]
        _ = machine.watcher(of: otherSession)
        learn(RightsChange(in: 10, patient: .random(), session: session))
        #expect(Set(checked) == Set(own))
    }

    @Test("Changes of strangers cause no read, however many streams are open", arguments: [1, 1000])
    func strangers(streams: Int) {
        _ = machine.watcher(of: session)
        for _ in 1..<streams { _ = machine.watcher(of: .random()) }
        learn(
            RightsChange(in: 10, user: .random(), signIn: .random()), RightsChange(in: 10, user: .random()),
            RightsChange(in: 10, user: .random(), patient: .random()), RightsChange(in: 10, session: .random()))
        #expect(checked == [])
        #expect(machine.nextCatchUp() == nil)
        #expect(machine.nextReading() == nil)
        #expect(
            machine.pass(reading(session, version: 2)).deliveries.map(\.message)
                == [.state(sample(session, version: 2), after: [])])
    }

    /// Counts what a change of rights looks at.
    private final class CountingIndex: ConcernIndex {
        private let index: Watchers
        private(set) var visits = 0

        init(_ index: Watchers) { self.index = index }

        private func count<Element>(_ list: [Element]) -> [Element] {
            visits += list.count
            return list
        }

        var watchersWithUser: [WatcherID] { count(index.watchersWithUser) }
        func watchers(of user: UserID) -> [WatcherID] { count(index.watchers(of: user)) }
        func watchers(of session: SessionID) -> [WatcherID] { count(index.watchers(of: session)) }
        func followers(of patient: UserID) -> [WatcherID] { count(index.followers(of: patient)) }

        func principal(of id: WatcherID) -> Principal? {
            visits += 1
            return index.principal(of: id)
        }
    }

    @Test(
        "A change of rights looks at as many watchers beside 1,000 other streams as beside one", arguments: [1, 1000])
    func visits(streams: Int) {
        _ = machine.watcher(of: session, for: principal)
        for _ in 0..<streams { _ = machine.watcher(of: .random()) }
        let index = CountingIndex(machine.value.watchers)
        for stranger in [
            RightsChange(in: 10, user: .random(), signIn: .random()), RightsChange(in: 10, user: .random()),
            RightsChange(in: 10, user: .random(), patient: .random()), RightsChange(in: 10, session: .random()),
            RightsChange(in: 10, patient: .random(), session: .random()),
        ] {
            #expect(stranger.concerned(in: index) == [])
        }
        #expect(index.visits == 0)
        let own = RightsChange(in: 10, user: principal.user, signIn: principal.signIn)
        #expect(own.concerned(in: index).count == 1)
        #expect(RightsChange(in: 10, session: session).concerned(in: index).count == 1)
        // The watcher in its list, and its principal, twice.
        #expect(index.visits == 4)
    }

    @Test("In another cluster all clients reconnect, and changes count by the transactions of that cluster")
    func otherCluster() {
        let own = machine.watcher(of: session, for: principal)
        let otherCluster = DatabaseSnapshot(
            on: DatabaseTimeline(cluster: 2, number: 1), oldest: 900, next: 900, inProgress: [])
        // A read in the other cluster: all clients reconnect, whatever its numbers say.
        let outcome = machine.completed(.rights(RightsNews(at: otherCluster, changes: [])))
        #expect(outcome.deliveries == [Delivery(.reconnect, to: [own])])
        machine.end(own)
        let later = machine.watcher(of: session, for: principal)
        machine.learn(
            RightsNews(
                at: DatabaseSnapshot(
                    on: otherCluster.timeline, oldest: 902, next: 902, inProgress: []),
                changes: [RightsChange(in: 901, user: principal.user)]))
        #expect(checked == [later])
    }

    @Test("A change that names nobody concerns everybody")
    func everybody() {
        let all = [machine.watcher(of: session), machine.watcher(of: otherSession, for: principal)]
        learn(RightsChange(in: 10))
        #expect(Set(checked) == Set(all))
    }

    @Test("A change that two reads show causes one check")
    func twice() {
        let own = machine.watcher(of: session, for: principal)
        learn(RightsChange(in: 10, user: principal.user))
        #expect(checked == [own])
        _ = machine.completedSweep()
        learn(RightsChange(in: 10, user: principal.user), at: 12)
        #expect(checked == [])
    }

    @Test("A stream that has ended is not concerned")
    func ended() {
        let own = machine.watcher(of: session, for: principal)
        let other = machine.watcher(of: otherSession, for: principal)
        machine.end(own)
        learn(RightsChange(in: 10, user: principal.user))
        #expect(checked == [other])
    }

    @Test("If changes may have been removed before the hub read them, all streams are checked")
    func horizon() {
        let watcher = machine.watcher(of: session)
        learn(at: 30, horizon: 2)
        #expect(checked == [])
        learn(at: 50, horizon: 29)
        #expect(checked == [])
        learn(at: 60, horizon: 55)
        #expect(checked == [watcher])
    }

    @Test("A transaction that was in progress at the last read is found when it has committed")
    func lateCommit() {
        let own = machine.watcher(of: session, for: principal)
        machine.learn(RightsNews(at: snapshot(20, 10), changes: []))
        machine.learn(RightsNews(at: snapshot(21), changes: [RightsChange(in: 10, user: principal.user)]))
        #expect(checked == [own])
    }

    @Test("A read that began before the hub knew a snapshot hides no change")
    func firstReads() {
        let machine = Machine(knowsRights: false)
        let own = machine.watcher(of: session, for: principal)
        // Two reads begin without a snapshot. The first answer says where the log begins.
        machine.learn(RightsNews(at: snapshot(10), changes: nil))
        #expect(machine.nextSweep()?.map(\.watcher) == [own])
        _ = machine.completedSweep()
        machine.learn(RightsNews(at: snapshot(20), changes: nil))
        #expect(machine.nextSweep()?.map(\.watcher) == [own])
        _ = machine.completedSweep()
        machine.learn(RightsNews(at: snapshot(21), changes: [RightsChange(in: 12, user: principal.user)]))
        #expect(machine.nextSweep()?.map(\.watcher) == [own])
    }

    @Test("A follower is not concerned by a change that the read of its scope shows")
    func followerAfterChange() throws {
        let machine = FollowerMachine()
        let id = try machine.follow()
        let follower = try #require(machine.value.watchers.table.state(of: id).principal)
        machine.learn(RightsNews(at: snapshot(12), changes: [RightsChange(in: 11, user: follower.user)]))
        try machine.begin(id, with: Caseload(of: .random(), at: position(12)))
        #expect(machine.value.isCurrent(id))
        machine.ready(id)
        machine.learn(RightsNews(at: snapshot(14), changes: [RightsChange(in: 11, user: follower.user)]))
        #expect(machine.nextRefresh() == nil)
        machine.learn(RightsNews(at: snapshot(15), changes: [RightsChange(in: 14, user: follower.user)]))
        #expect(machine.nextRefresh()?.watcher == id)
    }

    // MARK: - Another history

    @Test("On another timeline all clients reconnect, and streams without a socket are checked when they get one")
    func otherTimeline() {
        let watcher = machine.watcher(of: session, at: 7)
        let unattached = machine.unattached(of: session, at: 7)
        let outcome = machine.completed(.rights(RightsNews(at: snapshot(5, on: 2), changes: [])))
        #expect(outcome.deliveries == [Delivery(.reconnect, to: [watcher])])
        machine.end(watcher)
        #expect(!machine.isCurrent(unattached))
        machine.ready(unattached)
        #expect(machine.nextCatchUp()?.map(\.watcher) == [unattached])
        // The database has lost the version that the client has.
        let deliveries = machine.completedCatchUp([reading(session, version: 5)])
        #expect(deliveries == [Delivery(.reconnect, to: [unattached])])
    }

    @Test("A position of the new timeline counts, although its numbers are smaller")
    func positionOnOtherTimeline() {
        machine.learn(RightsNews(at: snapshot(100), changes: []))
        machine.learn(RightsNews(at: snapshot(5, on: 2), changes: []))
        let watcher = machine.watcher(of: session, for: principal)
        // A read that began on the old timeline names no change of the new one.
        machine.learn(RightsNews(at: snapshot(6, on: 2), changes: nil))
        #expect(checked == [watcher])
        _ = machine.completedSweep()
        machine.learn(
            RightsNews(at: snapshot(8, on: 2), changes: [RightsChange(in: 6, user: principal.user)]))
        #expect(checked == [watcher])
    }
}
