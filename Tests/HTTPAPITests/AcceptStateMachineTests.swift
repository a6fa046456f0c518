import Foundation
import Testing

@testable import HTTPAPI

/// Holds the value, because `#expect` cannot change one.
private final class Machine {
    private var value = AcceptStateMachine()

    var isAccepting: Bool { value.isAccepting }
    var isOpen: Bool { value.isOpen }
    func becameFull() { value.becameFull() }
    func slotIsFree() -> Bool { value.slotIsFree() }
    func failed(_ code: CInt, at now: ContinuousClock.Instant) -> AcceptStateMachine.Failure {
        value.failed(code, at: now)
    }
    func pauseIsOver() -> Bool { value.pauseIsOver() }
    func stop() -> Bool { value.stop() }
}

@Suite("The decisions of the acceptor") struct AcceptStateMachineTests {
    private let start = ContinuousClock().now

    @Test("At the limit the server accepts nothing, until a place is free")
    func full() {
        let machine = Machine()
        #expect(machine.isAccepting)
        machine.becameFull()
        #expect(!machine.isAccepting)
        #expect(!machine.pauseIsOver())
        #expect(machine.slotIsFree())
        #expect(machine.isAccepting)
        #expect(!machine.slotIsFree())
    }

    @Test("Without descriptors or memory the server pauses", arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM, EINVAL])
    func pause(code: CInt) {
        let machine = Machine()
        #expect(machine.failed(code, at: start) == .pause(warns: true))
        #expect(!machine.isAccepting)
        // A free place ends no pause.
        #expect(!machine.slotIsFree())
        #expect(machine.pauseIsOver())
        #expect(machine.isAccepting)
    }

    @Test("The failure of one connection does not keep the next one waiting", arguments: [ECONNABORTED, EPROTO, EINTR])
    func oneConnection(code: CInt) {
        let machine = Machine()
        #expect(machine.failed(code, at: start) == .acceptNext)
        #expect(machine.isAccepting)
    }

    @Test("The log has one warning in ten seconds")
    func warnings() {
        let machine = Machine()
        func failed(after time: Duration) -> AcceptStateMachine.Failure {
            defer { _ = machine.pauseIsOver() }
            return machine.failed(EMFILE, at: start + time)
        }
        #expect(failed(after: .zero) == .pause(warns: true))
        #expect(failed(after: .milliseconds(100)) == .pause(warns: false))
        #expect(failed(after: .milliseconds(9_900)) == .pause(warns: false))
        #expect(failed(after: .seconds(10)) == .pause(warns: true))
        #expect(failed(after: .seconds(11)) == .pause(warns: false))
    }

    @Test("After the shutdown nothing begins again")
    func stop() {
        for state in ["accepting", "full", "pausing"] {
            let machine = Machine()
            if state == "full" { machine.becameFull() }
            if state == "pausing" { _ = machine.failed(EMFILE, at: start) }
            #expect(machine.isOpen)
            #expect(machine.stop())
            #expect(!machine.stop())
            #expect(!machine.isOpen)
            #expect(!machine.slotIsFree())
            #expect(!machine.pauseIsOver())
            #expect(machine.failed(EMFILE, at: start) == .ignore)
            #expect(!machine.isAccepting)
        }
    }
}

@Suite("The limit of connections") struct ConnectionLimitTests {
    @Test("The limit holds for callers on many threads")
    func exact() async {
        let limit = ConnectionLimit(10)
        let entered = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask { (0..<100).count { _ in limit.enter() } }
            }
            return await group.reduce(0, +)
        }
        #expect(entered == 10)
    }

    @Test("Only the end of a connection that the acceptor waits for wakes it, and only once")
    func awaited() {
        let limit = ConnectionLimit(2)
        #expect(limit.enter())
        #expect(!limit.leave())
        #expect(limit.enter())
        #expect(limit.enter())
        #expect(!limit.enter())
        #expect(limit.leave())
        #expect(!limit.leave())
        #expect(limit.enter())
    }
}
