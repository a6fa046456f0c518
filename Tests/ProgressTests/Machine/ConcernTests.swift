import Domain
import Store
import Testing

@testable import Progress

/// A change of rights names whom it concerns. Only their streams wait for a check.
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

    @Test("A change of strangers causes no read")
    func strangers() {
        _ = machine.watcher(of: session)
        learn(
            RightsChange(in: 10, user: .random(), signIn: .random()), RightsChange(in: 10, user: .random()),
            RightsChange(in: 10, user: .random(), patient: .random()), RightsChange(in: 10, session: .random()))
        #expect(checked == [])
        #expect(
            machine.pass(reading(session, version: 2)).deliveries.map(\.message)
                == [.state(sample(session, version: 2), after: [])])
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
        machine.learn(RightsNews(at: snapshot(20, 10)))
        machine.learn(RightsNews(at: snapshot(21), changes: [RightsChange(in: 10, user: principal.user)]))
        #expect(checked == [own])
    }

    // MARK: - Another history

    @Test("On another timeline all clients reconnect, and streams without a socket are checked when they get one")
    func otherTimeline() {
        let watcher = machine.watcher(of: session, at: 7)
        let unattached = machine.unattached(of: session, at: 7)
        let outcome = machine.completed(.rights(RightsNews(at: snapshot(5, on: 2))))
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
        machine.learn(RightsNews(at: snapshot(100)))
        machine.learn(RightsNews(at: snapshot(5, on: 2)))
        let watcher = machine.watcher(of: session, for: principal)
        // The hub knows nothing of the new timeline yet: the first read says where it begins.
        machine.learn(RightsNews(at: snapshot(6, on: 2)))
        #expect(checked == [watcher])
        _ = machine.completedSweep()
        machine.learn(
            RightsNews(at: snapshot(8, on: 2), changes: [RightsChange(in: 6, user: principal.user)]))
        #expect(checked == [watcher])
    }
}
