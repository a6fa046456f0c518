import Polling
import TestSupport
import Testing

@testable import Postgres

@Suite("The state machine of a query") struct QueryStateMachineTests {
    /// A machine that has sent a command and waits for its results.
    private func running() -> QueryStateMachine {
        var machine = QueryStateMachine()
        #expect(machine.sent() == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.busy() == .wait(.read))
        return machine
    }

    @Test("A query is sent, waited for and finished")
    func query() {
        var machine = running()
        #expect(!machine.isIdle)
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .getResult)
        #expect(machine.result(.ordinary) == .getResult)
        #expect(machine.noResult() == .finish)
        #expect(machine.isIdle)
    }

    /// The trap: a client that waits for room to write alone waits for ever if the server waits until the client reads.
    @Test("While bytes remain to be sent it waits for both directions, and reads when it can")
    func bothDirections() {
        var machine = QueryStateMachine()
        #expect(machine.sent() == .flush)
        #expect(machine.flushed(.pending) == .wait([.read, .write]))
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .flush)
        #expect(machine.flushed(.pending) == .wait([.read, .write]))
        #expect(machine.ready(.writable) == .flush)
        #expect(machine.ready([.readable, .writable]) == .consumeInput)
        #expect(machine.consumed(true) == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.busy() == .wait(.read))
    }

    /// The trap: after the server has ended a session, the first `PQconsumeInput` may still succeed.
    @Test("The second read shows the end of an idle session")
    func idleEnd() {
        var machine = QueryStateMachine()
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .wait(.read))
        #expect(machine.ready([.readable, .ended]) == .consumeInput)
        #expect(machine.consumed(false) == .close(.lost))
        #expect(machine.ready(.readable) == .wait([]))
    }

    @Test("A failure of sending or reading closes the connection")
    func broken() {
        var sending = QueryStateMachine()
        _ = sending.sent()
        #expect(sending.flushed(.failed) == .close(.lost))
        var reading = running()
        #expect(reading.consumed(false) == .close(.lost))
        var copying = running()
        #expect(copying.result(.copy) == .close(.copy))
    }

    @Test(
        "A cancelled command is drained and probed before the next one", arguments: [CancelReason.deadline, .cancelled])
    func cancelled(reason: CancelReason) {
        var machine = running()
        #expect(machine.cancel(reason) == .cancel(reason, wait: .read))
        #expect(machine.cancel(reason) == nil, "a command is cancelled once")
        #expect(machine.cancelSent() == .wait(.read))
        #expect(machine.consumed(true) == .getResult)
        #expect(machine.noResult() == .probe)
        #expect(!machine.isIdle)
        #expect(machine.sent() == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.result(.ordinary) == .getResult)
        #expect(machine.noResult() == .idle)
        #expect(machine.isIdle)
        #expect(machine.graceOver() == nil)
    }

    /// The race: the query ends while `PQcancel` is on its way, and the cancel request would hit the next query.
    @Test("While a cancel request is on its way, the connection runs no other command")
    func lateCancel() {
        var machine = running()
        _ = machine.cancel(.cancelled)
        #expect(machine.noResult() == .wait(.read))
        #expect(!machine.isIdle)
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .wait(.read))
        #expect(machine.cancelSent() == .probe)
    }

    @Test("A command that is cancelled half sent is sent to its end")
    func halfSent() {
        var machine = QueryStateMachine()
        _ = machine.sent()
        _ = machine.flushed(.pending)
        #expect(machine.cancel(.deadline) == .cancel(.deadline, wait: [.read, .write]))
        #expect(machine.cancelSent() == .wait([.read, .write]))
        #expect(machine.ready(.writable) == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.noResult() == .probe)
    }

    @Test("A cancelled command that does not end in time closes the connection")
    func stuck() {
        var draining = running()
        _ = draining.cancel(.deadline)
        #expect(draining.graceOver() == .close(.stuck))
        var probing = running()
        _ = probing.cancel(.deadline)
        _ = probing.cancelSent()
        _ = probing.noResult()
        _ = probing.sent()
        #expect(probing.graceOver() == .close(.stuck))
    }

    @Test("A deadline after the end of the command changes nothing")
    func afterEnd() {
        var machine = running()
        _ = machine.noResult()
        #expect(machine.cancel(.deadline) == nil)
        #expect(machine.graceOver() == nil)
    }
}
