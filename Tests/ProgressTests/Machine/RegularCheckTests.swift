import Domain
import Testing

@testable import Progress

/// The hub checks the right of each watcher at an interval, because some rights end without a hint.
@Suite("Regular check of rights") struct RegularCheckTests {
    private let session = SessionID.random()
    private let machine = Machine()

    @Test("The regular check visits each watcher once per interval, some at a time")
    func regular() {
        let watchers = (0..<90).map { _ in machine.watcher(of: session) }
        var asked: [WatcherID] = []
        for _ in 0..<30 {
            machine.checkRights(share: 1.0 / 30)
            let requests = machine.nextSweep() ?? []
            #expect((2...4).contains(requests.count))
            asked += requests.map(\.watcher)
            _ = machine.completedSweep()
        }
        machine.checkRights(share: 1.0 / 30)
        asked += machine.nextSweep()?.map(\.watcher) ?? []
        #expect(Set(asked) == Set(watchers))
        #expect(asked.count <= 93)
    }

    @Test("Late regular checks visit each watcher at most once")
    func lateChecks() {
        for _ in 0..<3 { _ = machine.watcher(of: session) }
        for _ in 0..<100 { machine.checkRights(share: 0.5) }
        #expect(machine.nextSweep()?.count == 3)
        _ = machine.completedSweep()
        #expect(machine.nextSweep() == nil)
    }

    @Test("The regular check finds an expired sign-in without a hint")
    func regularLoss() {
        let watcher = machine.watcher(of: session)
        machine.checkRights(share: 1)
        #expect(machine.nextSweep()?.count == 1)
        #expect(machine.completedSweep(lost: [0]) == [Delivery(.revoked(session), to: [watcher])])
    }

    @Test("Without watchers, the regular check reads nothing")
    func withoutWatchers() {
        machine.checkRights(share: 1)
        #expect(machine.nextSweep() == nil)
    }
}
