import Domain
import Testing

@testable import Progress

/// Places are used again under another generation, sessions are forgotten with their last watcher, and nobody who is gone
/// can harm who came after.
@Suite("The places of watchers") struct WatcherSlotTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("Whatever is said of one who is gone does not touch who has the place now")
    func staleIDs() {
        let old = machine.watcher(of: session)
        machine.release(old)
        let new = machine.watcher(of: session)
        #expect(new.slot == old.slot)
        #expect(new.generation != old.generation)
        for exception: DeliveryException in [.full, .refused, .gone] {
            machine.note(exception, of: old, in: news(session, 1, to: [old], previous: 0))
        }
        machine.release(old)
        #expect(!machine.end(old))
        #expect(machine.ready(old) == nil)
        #expect(machine.begin(old, at: 9) == .rejected)
        #expect(machine.value.session(of: old) == nil)
        #expect(machine.isAttached(old), "nobody need release it")
        #expect(
            machine.pass(reading(session, version: 2)).deliveries == [news(session, 2, to: [new], previous: 1)])
    }

    @Test("Names that were never given out are nobody's", arguments: [UInt32(0), 7, .max])
    func unknown(place: UInt32) {
        let stranger = WatcherID(slot: place, generation: 5)
        machine.release(stranger)
        machine.note(.gone, of: stranger, in: Delivery(.degraded, to: [stranger]))
        #expect(machine.ready(stranger) == nil)
        #expect(!machine.end(stranger))
        #expect(machine.value.session(of: stranger) == nil)
    }

    @Test("What a reading under way says of who left is dropped")
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

    @Test("A reading from before somebody watches a session again does not go past that one")
    func watchedAgainDuringReading() {
        let old = machine.watcher(of: session)
        machine.hint(session, 2)
        machine.nextReading()
        machine.release(old)
        let new = machine.watcher(of: session, at: 2)
        #expect(machine.completed([reading(session, version: 2)]).deliveries == [])
        #expect(
            machine.pass(reading(session, version: 3)).deliveries == [news(session, 3, to: [new], previous: 2)])
    }

    @Test("Released twice is released once")
    func releasedTwice() {
        let watcher = machine.watcher(of: session)
        machine.release(watcher)
        machine.release(watcher)
        let (first, second) = (machine.watcher(of: session), machine.watcher(of: session))
        #expect(first.slot != second.slot)
    }

    @Test(
        "In whatever order the watchers of a session leave, those who stay are served",
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

    @Test("Thousands of comings and goings use few places, and leave nothing behind")
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
        #expect(machine.value.table.count == 5)
        #expect(machine.value.table.freeCount == 5)
        #expect(machine.value.watchedSessions.isEmpty)
        #expect(machine.value.admission.total == 0)
    }

    // MARK: - Admission

    @Test("Who comes when all places are taken is turned away, and leaves nothing behind")
    func turnedAway() {
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

    @Test("A user's places are counted by user, whatever the sign-in")
    func perUser() {
        let machine = Machine(admission: StreamAdmission(limit: 10, limitPerUser: 1))
        let user = UserID.random()
        let first = machine.watcher(of: session, for: Principal(user: user, signIn: .random()))
        let second = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(second, at: 1) == .rejected)
        #expect(machine.begin(machine.register(session), at: 1) == .begun(pauses: false))
        machine.end(first)
        let third = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(third, at: 1) == .rejected, "as long as there is a socket, it counts")
        machine.release(first)
        let fourth = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(fourth, at: 1) == .begun(pauses: false), "the end of its socket frees the place")
        machine.release(first)
        let fifth = machine.register(session, for: Principal(user: user, signIn: .random()))
        #expect(machine.begin(fifth, at: 1) == .rejected, "and frees no second one")
    }

    @Test("Who only waits for a snapshot, and who watches within the program, takes no place")
    func uncounted() {
        let machine = Machine(admission: StreamAdmission(limit: 1, limitPerUser: 1))
        let openings = (0..<5).map { _ in machine.register(session) }
        _ = machine.subscribeLocally(to: session)
        for opening in openings.dropFirst() { machine.release(opening) }
        #expect(machine.value.admission.total == 0)
        #expect(machine.begin(openings[0], at: 1) == .begun(pauses: true))
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
