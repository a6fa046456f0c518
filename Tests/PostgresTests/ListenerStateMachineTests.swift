import TestSupport
import Testing

@testable import Postgres

@Suite struct ListenerStateMachineTests {
    private typealias Machine = ListenerStateMachine<String>
    private typealias Action = Machine.Action

    private let start = ContinuousClock.now

    /// A machine whose connection is being made.
    private func connecting() -> Machine {
        var machine = Machine(timing: ListenerTiming())
        _ = machine.start(now: start)
        return machine
    }

    /// A machine that is live on a connection.
    private func live(on connection: String = "c") -> Machine {
        var machine = connecting()
        _ = machine.connected(connection)
        _ = machine.listening(isDirect: true, now: start)
        _ = machine.proved(now: start)
        return machine
    }

    @Test func `It connects, listens, proves itself and is live`() {
        var machine = Machine(timing: ListenerTiming())
        #expect(machine.start(now: start) == .connect)
        #expect(machine.connected("c") == .listen("c"))
        #expect(
            machine.listening(isDirect: true, now: start)
                == .prove("c", overSecondConnection: false, until: start + .seconds(5)))
        #expect(machine.proved(now: start) == .goLive("c", waitUntil: start + .seconds(10)))
    }

    @Test func `Behind a pooler the proof comes over a second connection`() {
        var machine = connecting()
        _ = machine.connected("c")
        #expect(
            machine.listening(isDirect: false, now: start)
                == .prove("c", overSecondConnection: true, until: start + .seconds(5)))
    }

    @Test func `Silence is questioned, and an answer is enough`() {
        var machine = live()
        let quiet = start + .seconds(10)
        #expect(machine.silent(now: quiet) == .check("c", until: quiet + .seconds(5)))
        #expect(machine.confirmed(now: quiet) == .wait("c", until: quiet + .seconds(10)))
        #expect(machine.received(now: quiet) == .wait("c", until: quiet + .seconds(10)))
    }

    @Test func `The pauses grow, with half of each by chance, up to five seconds from one attempt to the next`() {
        var machine = connecting()
        var pauses: [Duration] = []
        var now = start
        for _ in 0..<9 {
            let action = machine.failed(.cannotConnect, now: now, jitter: 1)
            guard case .retreat(closing: nil, .cannotConnect, let until) = action else {
                Issue.record("not a retreat: \(action)")
                return
            }
            pauses.append(until - now)
            now = until
            #expect(machine.paused(now: now) == .connect)
        }
        #expect(
            pauses == [
                .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800), .milliseconds(1600),
                .milliseconds(3200), .seconds(5), .seconds(5), .seconds(5),
            ])
        var lucky = connecting()
        #expect(
            lucky.failed(.cannotConnect, now: start, jitter: 0)
                == .retreat(closing: nil, .cannotConnect, until: start + .milliseconds(50)))
    }

    @Test func `An attempt that hung has paused enough`() {
        var machine = connecting()
        let hung = start + .seconds(5)
        #expect(
            machine.failed(.cannotConnect, now: hung, jitter: 1)
                == .retreat(closing: nil, .cannotConnect, until: hung))
    }

    @Test func `A failure of LISTEN or of the proof closes the connection, and counts as a failed attempt`() {
        var machine = connecting()
        _ = machine.connected("first")
        #expect(
            machine.failed(.cannotListen, now: start, jitter: 1)
                == .retreat(closing: "first", .cannotListen, until: start + .milliseconds(100)))
        let again = start + .milliseconds(100)
        _ = machine.paused(now: again)
        _ = machine.connected("second")
        _ = machine.listening(isDirect: true, now: again)
        #expect(
            machine.failed(.notProved, now: again, jitter: 1)
                == .retreat(closing: "second", .notProved, until: again + .milliseconds(200)))
    }

    @Test func `After having been live the pauses begin anew`() {
        var machine = live()
        let lost = start + .seconds(100)
        #expect(
            machine.failed(.connectionLost, now: lost, jitter: 1)
                == .retreat(closing: "c", .connectionLost, until: lost + .milliseconds(100)))
        _ = machine.paused(now: lost)
        #expect(
            machine.failed(.cannotConnect, now: lost, jitter: 1)
                == .retreat(closing: nil, .cannotConnect, until: lost + .milliseconds(200)))
    }

    @Test func `A session that does not answer is left`() {
        var machine = live()
        _ = machine.silent(now: start)
        #expect(
            machine.failed(.notListening, now: start, jitter: 0)
                == .retreat(closing: "c", .notListening, until: start + .milliseconds(50)))
    }

    @Test func `At the end the connection is closed that there is`() {
        var unstarted = Machine(timing: ListenerTiming())
        #expect(unstarted.end() == nil)
        var unconnected = connecting()
        #expect(unconnected.end() == nil)
        var listening = connecting()
        _ = listening.connected("c")
        #expect(listening.end() == "c")
        var live = live()
        #expect(live.end() == "c")
        #expect(live.end() == nil)
        var failed = self.live()
        // The retreat may not have been carried out when the listener ends.
        _ = failed.failed(.connectionLost, now: start, jitter: 0)
        #expect(failed.end() == "c")
    }

    @Test func `An event that does not belong to the state stops the program`() async {
        await #expect(processExitsWith: .failure) {
            var machine = ListenerStateMachine<String>(timing: ListenerTiming())
            _ = machine.start(now: .now)
            _ = machine.proved(now: .now)
        }
        await #expect(processExitsWith: .failure) {
            var machine = ListenerStateMachine<String>(timing: ListenerTiming())
            _ = machine.end()
            _ = machine.start(now: .now)
        }
    }
}

@Suite(.deadline) struct ListenerMailboxTests {
    private func notification(_ number: Int) -> PostgresNotification {
        PostgresNotification(channel: "c", payload: "\(number)")
    }

    @Test func `What waits is handed over together, in order`() async {
        let mailbox = ListenerMailbox(limit: 10)
        for number in 1...3 { mailbox.add(notification(number)) }
        await #expect(mailbox.next() == .notifications((1...3).map(notification)))
    }

    @Test func `What does not fit becomes one overflow, and what comes after it is heard`() async {
        let mailbox = ListenerMailbox(limit: 2)
        let overflowed = (1...5).map { mailbox.add(notification($0)) }
        #expect(overflowed == [false, false, true, false, false])
        await #expect(mailbox.next() == .overflow)
        mailbox.add(notification(6))
        await #expect(mailbox.next() == .notifications([notification(6)]))
    }

    @Test func `Going live replaces what was waiting`() async {
        let mailbox = ListenerMailbox(limit: 1)
        mailbox.add(notification(1))
        mailbox.add(notification(2))
        mailbox.degrade(.connectionLost)
        mailbox.goLive()
        await #expect(mailbox.next() == .live)
        mailbox.finish()
        await #expect(mailbox.next() == nil)
    }

    @Test func `A degradation comes before the hints that are left`() async {
        let mailbox = ListenerMailbox(limit: 10)
        mailbox.add(notification(1))
        mailbox.degrade(.connectionLost)
        await #expect(mailbox.next() == .degraded(.connectionLost))
        await #expect(mailbox.next() == .notifications([notification(1)]))
    }

    @Test func `A consumer that waits is woken, and a cancelled one gets the end`() async {
        let mailbox = ListenerMailbox(limit: 10)
        let woken = Task { await mailbox.next() }
        mailbox.goLive()
        await #expect(woken.value == .live)
        let cancelled = Task { await mailbox.next() }
        cancelled.cancel()
        await #expect(cancelled.value == nil)
        // Nobody is left in the place of the cancelled one.
        mailbox.add(notification(1))
        await #expect(mailbox.next() == .notifications([notification(1)]))
    }
}
