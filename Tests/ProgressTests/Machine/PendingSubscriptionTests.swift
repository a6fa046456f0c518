import Domain
import Store
import Testing

@testable import Progress

/// How many subscriptions wait, how many reads run for them, and how each of them ends.
@Suite("Pending subscriptions") struct PendingSubscriptionTests {
    /// A machine with small limits.
    ///
    /// It is a class because `#expect` takes no mutating call.
    private final class Driver {
        var machine = HubStateMachine(
            limits: PendingSubscriptions.Limits(waiting: 4, batch: 2, statements: 2, caseloads: 1),
            pollInterval: .seconds(3600))
        private let now = ContinuousClock.now

        func subscribe() -> WatcherID? { machine.subscribe(AuthorizationRequest(.random(), for: .random())) }
        func subscribeToAll() -> WatcherID? { machine.subscribeToAll(for: .random(), since: nil, requestID: nil) }
        func next(_ lane: PendingSubscriptions.Lane) -> SubscriptionRead? {
            guard case .subscriptions(let read)? = machine.nextRead(.subscriptions(lane)) else { return nil }
            return read
        }
        func close() -> [WatcherID] { rejected(machine.close(at: now)) }
        func fail(_ read: SubscriptionRead, isCancelled: Bool) -> [HubAction] {
            machine.failed(.subscriptions(read), FakeReader.Down(), isCancelled: isCancelled, jitter: 1, at: now)
        }
        func couldNotBegin(_ read: SubscriptionRead) -> [WatcherID] {
            rejected(machine.couldNotBegin(.subscriptions(read), at: now))
        }

        /// The watchers that actions reject.
        ///
        /// All actions must be rejections.
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

    private let driver = Driver()

    @Test("The limit counts the subscriptions that wait, but not those whose read is under way")
    func waiting() {
        let watchers = (0..<5).map { _ in driver.subscribe() }
        #expect(watchers.map { $0 == nil } == [false, false, false, false, true])
        #expect(driver.next(.sessions)?.watchers == watchers.prefix(2).compactMap { $0 })
        #expect(driver.subscribe() != nil)
    }

    @Test("Each lane has its own queue and limits")
    func lanes() {
        for _ in 0..<4 { #expect(driver.subscribe() != nil) }
        let followers = (0..<5).map { _ in driver.subscribeToAll() }
        #expect(followers.map { $0 == nil } == [false, false, false, false, true])
        #expect(driver.next(.sessions)?.watchers.count == 2)
        #expect(driver.next(.sessions)?.watchers.count == 2)
        #expect(driver.next(.caseloads)?.watchers == followers.prefix(1).compactMap { $0 })
        #expect(driver.next(.caseloads) == nil)
    }

    @Test("After a failed read, its watchers are removed and the next read can begin")
    func failure() throws {
        let watchers =
            (0..<4).compactMap { _ in driver.subscribe() } + [driver.subscribeToAll()].compactMap { $0 }
        let (first, second) = (try #require(driver.next(.sessions)), try #require(driver.next(.sessions)))
        #expect(driver.subscribe() != nil)
        #expect(driver.next(.sessions) == nil)
        let failed = driver.fail(first, isCancelled: false).compactMap { action -> WatcherID? in
            if case .answer(let id, .failed) = action { id } else { nil }
        }
        #expect(failed == Array(watchers.prefix(2)))
        #expect(driver.rejected(driver.fail(second, isCancelled: true)) == Array(watchers[2..<4]))
        #expect(!driver.machine.isDegraded, "only the callers of the read learn of the failure")
        #expect(driver.next(.sessions)?.watchers.count == 1)
        #expect(driver.machine.watchedSessions.count == 1)
    }

    @Test("When the server stops, the hub rejects the subscriptions that wait and every new one")
    func closing() throws {
        let watchers =
            (0..<3).compactMap { _ in driver.subscribe() } + [driver.subscribeToAll()].compactMap { $0 }
        let read = try #require(driver.next(.sessions))
        #expect(driver.close() == Array(watchers[2...]))
        #expect(driver.subscribe() == nil)
        #expect(driver.subscribeToAll() == nil)
        #expect(driver.machine.subscriptions.rejection == .closing)
        #expect(driver.couldNotBegin(read) == Array(watchers.prefix(2)))
        #expect(driver.machine.watchedSessions.isEmpty)
        #expect(driver.machine.watchers.followers.isEmpty)
    }
}
