import Polling
import TestSupport
import Testing

@testable import Postgres

@Suite struct QueryStateMachineTests {
    /// A command that is sent, with its results on the way.
    private func running() -> QueryStateMachine {
        var machine = QueryStateMachine()
        #expect(machine.sent() == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.busy() == .wait(.read))
        return machine
    }

    @Test func `A query is sent, waited for and finished`() {
        var machine = running()
        #expect(!machine.isIdle)
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .getResult)
        #expect(machine.result(.ordinary) == .getResult)
        #expect(machine.noResult() == .finish)
        #expect(machine.isIdle)
    }

    /// The trap: a client that waits for room to write alone, while the server waits for it to read, waits for ever.
    @Test func `While bytes are left to send it waits for both directions, and reads when there is something to read`()
    {
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

    /// The trap: after the server ends a session, the first `PQconsumeInput` may still succeed.
    @Test func `The end of an idle session is seen with the second read`() {
        var machine = QueryStateMachine()
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .wait(.read))
        #expect(machine.ready([.readable, .ended]) == .consumeInput)
        #expect(machine.consumed(false) == .close(.lost))
        #expect(machine.ready(.readable) == .wait([]))
    }

    @Test func `Whatever breaks while it is sent or read closes the connection`() {
        var sending = QueryStateMachine()
        _ = sending.sent()
        #expect(sending.flushed(.failed) == .close(.lost))
        var reading = running()
        #expect(reading.consumed(false) == .close(.lost))
        var copying = running()
        #expect(copying.result(.copy) == .close(.copy))
    }

    @Test(arguments: [CancelReason.deadline, .cancelled])
    func `A command given up is drained and probed before the next`(reason: CancelReason) {
        var machine = running()
        #expect(machine.cancel(reason) == .cancel(reason, wait: .read))
        #expect(machine.cancel(reason) == nil, "it can be given up once")
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

    /// The race: the query ends by itself while `PQcancel` is on its way, and the cancel would hit the next one.
    @Test func `A cancel that is still on its way holds the connection back`() {
        var machine = running()
        _ = machine.cancel(.cancelled)
        #expect(machine.noResult() == .wait(.read))
        #expect(!machine.isIdle)
        #expect(machine.ready(.readable) == .consumeInput)
        #expect(machine.consumed(true) == .wait(.read))
        #expect(machine.cancelSent() == .probe)
    }

    @Test func `What is given up half sent is sent on`() {
        var machine = QueryStateMachine()
        _ = machine.sent()
        _ = machine.flushed(.pending)
        #expect(machine.cancel(.deadline) == .cancel(.deadline, wait: [.read, .write]))
        #expect(machine.cancelSent() == .wait([.read, .write]))
        #expect(machine.ready(.writable) == .flush)
        #expect(machine.flushed(.done) == .getResult)
        #expect(machine.noResult() == .probe)
    }

    @Test func `What does not end in time is closed`() {
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

    @Test func `A deadline after the end is too late`() {
        var machine = running()
        _ = machine.noResult()
        #expect(machine.cancel(.deadline) == nil)
        #expect(machine.graceOver() == nil)
    }
}
