import Domain
import Testing

@testable import Progress

/// The table uses slots again with another generation, and removes sessions with their last watcher.
///
/// Events for a watcher that has left do not affect the next one in its slot.
@Suite("Slots of watchers") struct WatcherSlotTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("Events for a watcher that has left do not affect the next watcher in its slot")
    func staleIDs() {
        let old = machine.watcher(of: session)
        machine.release(old)
        let new = machine.watcher(of: session)
        #expect(new.slot == old.slot)
        #expect(new.generation != old.generation)
        for exception: DeliveryException in [.full, .refused, .gone] {
            machine.note(exception, of: old, in: news(session, 1, to: [old], previousVersion: 0))
        }
        machine.release(old)
        #expect(!machine.end(old))
        #expect(machine.ready(old) == nil)
        #expect(machine.begin(old, at: 9) == .rejected)
        #expect(machine.value.session(of: old) == nil)
        #expect(machine.isAttached(old), "its watch has nothing to end")
        #expect(
            machine.pass(reading(session, version: 2)).deliveries == [news(session, 2, to: [new], previousVersion: 1)])
    }

    @Test("Events for an unknown identifier have no effect", arguments: [UInt32(0), 7, .max])
    func unknown(slot: UInt32) {
        let stranger = WatcherID(slot: slot, generation: 5)
        machine.release(stranger)
        machine.note(.gone, of: stranger, in: Delivery(.degraded, to: [stranger]))
        #expect(machine.ready(stranger) == nil)
        #expect(!machine.end(stranger))
        #expect(machine.value.session(of: stranger) == nil)
    }

    @Test("News of a session whose watchers have left is dropped")
    func leftDuringReading() {
        let old = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.release(old)
        let other = machine.watcher(of: .random())
        #expect(other.slot == old.slot)
        let outcome = machine.completed([reading(session, version: 2)])
        #expect(outcome.deliveries == [])
        #expect(outcome.pauses == [])
    }

    @Test("News that a watcher already has from its snapshot is not sent to it")
    func watchedAgainDuringReading() {
        let old = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.release(old)
        let new = machine.watcher(of: session, at: 2)
        #expect(machine.completed([reading(session, version: 2)]).deliveries == [])
        #expect(
            machine.pass(reading(session, version: 3)).deliveries == [news(session, 3, to: [new], previousVersion: 2)])
    }

    @Test("A second release of a watcher has no effect")
    func releasedTwice() {
        let watcher = machine.watcher(of: session)
        machine.release(watcher)
        machine.release(watcher)
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: session))
        #expect(first.slot != second.slot)
    }

    @Test(
        "The watchers of a session can leave in any order",
        arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]], [true, false])
    func leaving(order: [Int], byEnd: Bool) {
        let watchers = (0..<3).map { _ in machine.watcher(of: session) }
        var staying = Set(watchers)
        var version: Int64 = 1
        for index in order {
            version += 1
            let deliveries = machine.pass(reading(session, version: version)).deliveries
            #expect(deliveries.count == 1)
            #expect(Set(deliveries.flatMap(\.watchers)) == staying)
            if byEnd { machine.end(watchers[index]) }
            machine.release(watchers[index])
            staying.remove(watchers[index])
        }
        #expect(machine.value.watchedSessions == [])
        #expect(machine.value.begunCount == 0)
    }

    @Test("Thousands of watchers that come and go use few slots")
    func comingsAndGoings() {
        let sessions = (0..<10).map { _ in SessionID.random() }
        for round in 0..<2000 {
            let watchers = (0..<5).map { machine.register(sessions[(round + $0) % 10]) }
            for (index, watcher) in watchers.enumerated() where index.isMultiple(of: 2) {
                machine.begin(watcher, at: 1)
                machine.ready(watcher)
            }
            for watcher in watchers.shuffled() { machine.release(watcher) }
        }
        #expect(machine.value.watchers.table.count == 5)
        #expect(machine.value.watchers.table.freeCount == 5)
        #expect(machine.value.watchedSessions.isEmpty)
        #expect(machine.value.admission.total == 0)
    }

    // MARK: - Admission

    @Test("At the limit of streams, a subscription is rejected and its watcher removed")
    func rejected() {
        let machine = Machine(admission: StreamAdmission(limit: 2, limitPerUser: 10))
        let first = machine.watcher(of: session)
        _ = machine.watcher(of: session)
        let third = machine.register(.random())
        #expect(machine.begin(third, at: 1) == .rejected)
        #expect(machine.value.watchedSessions == [session])
        #expect(machine.value.admission.total == 2)
        machine.release(third)
        machine.release(first)
        let fourth = machine.register(session)
        #expect(machine.begin(fourth, at: 1) == .begun(pauses: false))
    }

    @Test("The limit per user counts the streams of all sign-ins of a user")
    func perUser() {
        let machine = Machine(admission: StreamAdmission(limit: 10, limitPerUser: 1))
        let user = UserID.random()
        let first = machine.watcher(of: session, for: Principal(user: user, signIn: .random()))
        let second = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(second, at: 1) == .rejected)
        #expect(machine.begin(machine.register(session), at: 1) == .begun(pauses: false))
        machine.end(first)
        let third = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(third, at: 1) == .rejected, "a stream counts until its socket is closed")
        machine.release(first)
        let fourth = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(fourth, at: 1) == .begun(pauses: false), "the close of its socket ends the count")
        machine.release(first)
        let fifth = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(fifth, at: 1) == .rejected, "a second close changes nothing")
    }

    @Test("Pending subscriptions and local subscribers do not count as streams")
    func uncounted() {
        let machine = Machine(admission: StreamAdmission(limit: 1, limitPerUser: 1))
        let pending = (0..<5).map { _ in machine.register(session) }
        _ = machine.subscribeLocally(to: session)
        for watcher in pending.dropFirst() { machine.release(watcher) }
        #expect(machine.value.admission.total == 0)
        #expect(machine.begin(pending[0], at: 1) == .begun(pauses: true))
        #expect(machine.value.admission.total == 1)
    }

    @Test("A watcher begins once")
    func beginsOnce() {
        let machine = Machine(admission: StreamAdmission(limit: 2, limitPerUser: 2))
        let watcher = machine.watcher(of: session, at: 1)
        #expect(machine.begin(watcher, at: 5) == .rejected)
        #expect(machine.value.admission.total == 1)
        machine.hint(session, 2)
        #expect(machine.nextReading()?.versions == [1])
    }
}
