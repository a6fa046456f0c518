import TestSupport
import Testing

@testable import Postgres

/// The decisions about callers that contend for the same lock.
@Suite("The state machine of contending callers") struct ContentionStateMachineTests {
    private func machine(ofKey: Int = 2, total: Int = 3, line: Int = 10) -> ContentionStateMachine {
        ContentionStateMachine(limits: .init(ofKey: ofKey, total: total, line: line))
    }

    /// Lets a caller leave, and returns the numbers of those that enter.
    private func leave(_ machine: inout ContentionStateMachine, _ key: String) -> [Int] {
        machine.leave(key).map { $0.id }
    }

    @Test("A key has its own limit, and the callers of all keys have another one")
    func limits() {
        var machine = machine()
        var decisions: [ContentionStateMachine.Decision] = []
        for key in ["a", "a", "a", "b", "b", "c"] { decisions.append(machine.arrive(key)) }
        #expect(decisions == [.enter, .enter, .wait(1), .enter, .wait(2), .wait(3)])
    }

    @Test("A free place goes to the first in the line whose key has room")
    func order() {
        var machine = machine()
        for key in ["a", "a", "b", "a", "c", "b"] { _ = machine.arrive(key) }
        // "a" still has two callers with the one that waits, so "a" itself comes next.
        #expect(leave(&machine, "a") == [1])
        #expect(leave(&machine, "b") == [2])
        #expect(leave(&machine, "a") == [3])
        #expect(leave(&machine, "b") == [])
    }

    @Test("A waiter whose key is full does not stop those behind it")
    func overtaking() {
        var machine = machine(ofKey: 1, total: 2)
        for key in ["a", "b", "a", "c"] { _ = machine.arrive(key) }
        #expect(leave(&machine, "b") == [2])
        #expect(leave(&machine, "a") == [1])
    }

    @Test("A waiter that gives up is passed over, and a full line refuses")
    func line() {
        var machine = machine(ofKey: 1, total: 1, line: 2)
        var decisions: [ContentionStateMachine.Decision] = []
        for _ in 1...4 { decisions.append(machine.arrive("a")) }
        #expect(decisions == [.enter, .wait(1), .wait(2), .refuse])
        machine.giveUp(1)
        #expect(leave(&machine, "a") == [2])
        machine.giveUp(2)
        #expect(leave(&machine, "a") == [])
        let decision = machine.arrive("a")
        #expect(decision == .enter)
    }
}

/// A pool whose callers contend for locks.
@Suite(.deadline) struct ContentionTests {
    @Test("Callers that wait for one row leave the other connections to those that need no lock")
    func othersGoOn() async throws {
        try await withPool(size: 8, { $0.contentionTimeout = .milliseconds(300) }) { pool in
            try await withThrowingTaskGroup(of: PostgresError.Code?.self) { group in
                let holder = Latch()
                let entered = AsyncStream.makeStream(of: Void.self)
                for _ in 0..<9 {
                    group.addTask {
                        do {
                            try await pool.contending(for: "row") {
                                try await pool.withConnection { _ in
                                    entered.continuation.yield()
                                    await holder.wait()
                                }
                            }
                            return nil
                        } catch let error as PostgresError {
                            return error.code
                        }
                    }
                }
                var entries = entered.stream.makeAsyncIterator()
                for _ in 0..<2 { await entries.next() }
                // Two callers hold connections, and the others wait without one.
                #expect(pool.statistics.lent == 2)
                #expect(try await pool.query("SELECT 1").count == 1)
                try await pool.contending(for: "another row") { _ = try await pool.query("SELECT 1") }
                // Those that wait are turned away while the row is still held.
                for _ in 0..<7 { #expect(try await group.next() == .contended) }
                holder.release()
                for _ in 0..<2 { #expect(try await group.next() == .some(nil)) }
            }
            // Nothing is left behind.
            for _ in 0..<5 { try await pool.contending(for: "row") { _ = try await pool.query("SELECT 1") } }
        }
    }

    @Test("A caller that waits for its turn can be cancelled, and its place is not lost")
    func cancelled() async throws {
        try await withPool(size: 8, { $0.contentionTimeout = TestDeadline.event }) { pool in
            let holder = Latch()
            try await withThrowingTaskGroup(of: Void.self) { group in
                let entered = AsyncStream.makeStream(of: Void.self)
                for _ in 0..<2 {
                    group.addTask {
                        try await pool.contending(for: "row") {
                            entered.continuation.yield()
                            await holder.wait()
                        }
                    }
                }
                var entries = entered.stream.makeAsyncIterator()
                for _ in 0..<2 { await entries.next() }
                let waiter = Task { try await pool.contending(for: "row") {} }
                waiter.cancel()
                let error = await #expect(throws: PostgresError.self) { try await waiter.value }
                #expect(error?.code == .cancelled)
                holder.release()
                try await group.waitForAll()
            }
            try await pool.contending(for: "row") {}
        }
    }
}
