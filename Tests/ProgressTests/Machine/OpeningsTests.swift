import Domain
import Store
import Testing

@testable import Progress

/// Who waits to be let in, and how many at a time.
@Suite("The openings of the hub") struct OpeningsTests {
    /// A machine with small limits, by reference.
    private final class Door {
        var machine = HubStateMachine(
            limits: Openings.Limits(waiting: 4, batch: 2, statements: 2, caseloads: 1), pollInterval: .seconds(3600))

        func open() -> WatcherID? { machine.subscribe(AuthorizationRequest(.random(), for: .random())) }
        func follow() -> WatcherID? { machine.subscribeToAll(for: .random(), since: nil, requestID: nil) }
        func next(_ lane: Openings.Lane) -> OpeningRead? {
            guard case .openings(let read)? = machine.nextRead(.openings(lane)) else { return nil }
            return read
        }
        func close() -> [WatcherID] { rejected(machine.close()) }
        func fail(_ read: OpeningRead, isCutShort: Bool) -> [HubAction] {
            machine.failed(
                .openings(read), FakeReader.Down(), isCutShort: isCutShort, jitter: 1, at: .now)
        }
        func couldNotBegin(_ read: OpeningRead) -> [WatcherID] { rejected(machine.couldNotBegin(.openings(read))) }

        /// The watchers that are rejected, which all of the actions have to do.
        func rejected(_ actions: [HubAction]) -> [WatcherID] {
            actions.compactMap { action in
                guard case .answer(let id, .rejected) = action else {
                    Issue.record("\(action)")
                    return nil
                }
                return id
            }
        }
    }

    private let door = Door()

    @Test("So many may wait, and those who are read for do not count")
    func waiting() {
        let watchers = (0..<5).map { _ in door.open() }
        #expect(watchers.map { $0 == nil } == [false, false, false, false, true])
        #expect(door.next(.sessions)?.watchers == watchers.prefix(2).compactMap { $0 })
        #expect(door.open() != nil)
    }

    @Test("The lanes have their own queues and limits")
    func lanes() {
        for _ in 0..<4 { #expect(door.open() != nil) }
        let followers = (0..<5).map { _ in door.follow() }
        #expect(followers.map { $0 == nil } == [false, false, false, false, true])
        #expect(door.next(.sessions)?.watchers.count == 2)
        #expect(door.next(.sessions)?.watchers.count == 2)
        #expect(door.next(.caseloads)?.watchers == followers.prefix(1).compactMap { $0 })
        #expect(door.next(.caseloads) == nil)
    }

    @Test("A read that fails makes room for the next, and its openers leave nothing behind")
    func failure() throws {
        let watchers = (0..<4).compactMap { _ in door.open() } + [door.follow()].compactMap { $0 }
        let (first, second) = (try #require(door.next(.sessions)), try #require(door.next(.sessions)))
        #expect(door.open() != nil)
        #expect(door.next(.sessions) == nil)
        let failed = door.fail(first, isCutShort: false).compactMap { action -> WatcherID? in
            if case .answer(let id, .failed) = action { id } else { nil }
        }
        #expect(failed == Array(watchers.prefix(2)))
        #expect(door.rejected(door.fail(second, isCutShort: true)) == Array(watchers[2..<4]))
        #expect(!door.machine.isDegraded, "its callers are told, and nobody else")
        #expect(door.next(.sessions)?.watchers.count == 1)
        #expect(door.machine.watchedSessions.count == 1)
    }

    @Test("When the server stops, those that wait are rejected, and nobody waits any more")
    func closing() throws {
        let watchers = (0..<3).compactMap { _ in door.open() } + [door.follow()].compactMap { $0 }
        let read = try #require(door.next(.sessions))
        #expect(door.close() == Array(watchers[2...]))
        #expect(door.open() == nil)
        #expect(door.follow() == nil)
        #expect(door.machine.openings.rejection == .closing)
        #expect(door.couldNotBegin(read) == Array(watchers.prefix(2)))
        #expect(door.machine.watchedSessions.isEmpty)
        #expect(door.machine.followers.isEmpty)
    }
}
