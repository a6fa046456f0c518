import Domain
import Testing

@testable import Progress
@testable import Store

/// How long it takes until everything that is watched has been read after hints may have been lost.
@Suite("Duration of a resync") struct ResyncTests {
    private let machine = Machine(readLimit: 2)
    private let sessions = (0..<5).map { _ in SessionID.random() }

    private func watchAll() -> [WatcherID] { sessions.map { machine.watcher(of: $0) } }

    @Test("It lasts until the last read of what was watched at its beginning")
    func lastRead() {
        _ = watchAll()
        machine.hint(sessions[0], 2)
        machine.resync()
        let beginning = machine.now
        var resyncs: [Duration] = []
        for _ in 0..<3 {
            machine.nextReading()
            // The resync does not wait for what comes later.
            machine.hint(sessions[0], 9)
            resyncs += machine.completed().resyncs
        }
        #expect(resyncs == [machine.now - beginning])
        machine.nextReading()
        #expect(machine.completed().resyncs == [])
    }

    @Test("A read that began before it does not end it")
    func readBefore() {
        _ = machine.watcher(of: sessions[0])
        machine.hint(sessions[0], 2)
        machine.nextReading()
        machine.resync()
        let beginning = machine.now
        #expect(machine.completed().resyncs == [])
        machine.nextReading()
        #expect(machine.completed().resyncs == [machine.now - beginning])
    }

    @Test("It goes on after a failed read, and another resync does not start it anew")
    func failedRead() {
        _ = watchAll()
        machine.resync()
        let beginning = machine.now
        for _ in 0..<2 {
            machine.nextReading()
            machine.failed()
        }
        machine.resync()
        var resyncs: [Duration] = []
        while machine.nextReading() != nil { resyncs += machine.completed().resyncs }
        #expect(resyncs == [machine.now - beginning])
    }

    @Test("With nothing to read, or with nobody left to read for, it is not measured")
    func nobody() {
        machine.resync()
        #expect(!machine.value.isResyncing)
        let watchers = watchAll()
        machine.resync()
        machine.nextReading()
        for watcher in watchers { machine.release(watcher) }
        #expect(machine.completed().resyncs == [])
        #expect(machine.nextReading() == nil)
        #expect(!machine.value.isResyncing)
        // The next one has a beginning of its own.
        _ = machine.watcher(of: sessions[0])
        machine.resync()
        let beginning = machine.now
        machine.nextReading()
        #expect(machine.completed().resyncs == [machine.now - beginning])
    }

    @Test("A poll that ends an outage begins one")
    func outage() {
        _ = machine.watcher(of: sessions[0])
        _ = machine.degraded()
        machine.poll([:])
        let beginning = machine.now
        machine.nextReading()
        #expect(machine.completed().resyncs == [machine.now - beginning])
    }

    @Test("It lasts until the streams of all sessions have read everything, too")
    func followers() throws {
        let machine = FollowerMachine()
        let patient = UserID.random()
        let caseload = Caseload(of: patient, sessions.map { sample($0, version: 1) }, at: position(10))
        let follower = try machine.follower(with: caseload)
        machine.hint(.random(), 0)
        _ = try #require(machine.nextFeed())
        machine.resync()
        let beginning = machine.now
        #expect(machine.completedFeed(FeedChanges(at: position(11))).resyncs == [], "this read began before")
        _ = try #require(machine.nextFeed())
        machine.failedFeed()
        _ = try #require(machine.nextFeed())
        let outcome = machine.completedFeed(
            FeedChanges([FeedChanges.Item(sessions[0], of: patient, 2, .transcribed, in: 11)], at: position(12)))
        #expect(outcome.resyncs == [machine.now - beginning])
        #expect(outcome.shown.map(\.cause) == [.resync])
        // With the last follower, it ends without a read.
        machine.resync()
        machine.release(follower)
        #expect(machine.nextFeed() == nil)
        #expect(!machine.value.isResyncing)
    }
}
