import Testing

@testable import Postgres

@Suite struct ListenerStateMachineTests {
    private let start = ContinuousClock.now

    private func machine() -> ListenerStateMachine { ListenerStateMachine(timing: .init(), now: start) }

    private func live() -> ListenerStateMachine {
        var machine = machine()
        _ = machine.connected()
        _ = machine.listening(isDirect: true, now: start)
        _ = machine.proved(now: start)
        return machine
    }

    @Test func `It connects, listens, proves itself and is live`() {
        var machine = machine()
        #expect(machine.start() == .connect)
        #expect(machine.connected() == .listen)
        #expect(
            machine.listening(isDirect: true, now: start)
                == .prove(overSecondConnection: false, until: start + .seconds(5)))
        #expect(machine.proved(now: start) == .goLive(waitUntil: start + .seconds(10)))
    }

    @Test func `Behind a pooler the proof comes over a second connection`() {
        var machine = machine()
        _ = machine.connected()
        #expect(
            machine.listening(isDirect: false, now: start)
                == .prove(overSecondConnection: true, until: start + .seconds(5)))
    }

    @Test func `Silence is questioned, and an answer is enough`() {
        var machine = live()
        let quiet = start + .seconds(10)
        #expect(machine.silent(now: quiet) == .check(until: quiet + .seconds(5)))
        #expect(machine.confirmed(now: quiet) == .wait(until: quiet + .seconds(10)))
        #expect(machine.heard(now: quiet) == .wait(until: quiet + .seconds(10)))
    }

    @Test func `The pauses grow, with half of each by chance, up to five seconds from one attempt to the next`() {
        var machine = machine()
        var pauses: [Duration] = []
        var now = start
        for _ in 0..<9 {
            guard case .retreat(.cannotConnect, let until) = machine.failed(.cannotConnect, now: now, jitter: 1) else {
                return #expect(Bool(false))
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
        var lucky = self.machine()
        #expect(
            lucky.failed(.cannotConnect, now: start, jitter: 0)
                == .retreat(.cannotConnect, until: start + .milliseconds(50)))
    }

    @Test func `An attempt that hung has paused enough`() {
        var machine = machine()
        let hung = start + .seconds(5)
        #expect(machine.failed(.cannotConnect, now: hung, jitter: 1) == .retreat(.cannotConnect, until: hung))
    }

    @Test func `After having been live the pauses begin anew`() {
        var machine = live()
        let lost = start + .seconds(100)
        #expect(
            machine.failed(.connectionLost, now: lost, jitter: 1)
                == .retreat(.connectionLost, until: lost + .milliseconds(100)))
        _ = machine.paused(now: lost)
        #expect(
            machine.failed(.cannotConnect, now: lost, jitter: 1)
                == .retreat(.cannotConnect, until: lost + .milliseconds(200)))
    }

    @Test func `A session that does not answer is left`() {
        var machine = live()
        _ = machine.silent(now: start)
        #expect(
            machine.failed(.notListening, now: start, jitter: 0)
                == .retreat(.notListening, until: start + .milliseconds(50)))
    }
}

@Suite(.timeLimit(.minutes(15))) struct ListenerMailboxTests {
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
