import TestSupport
import Testing

@testable import Postgres

@Suite("The state machine of the listener") struct ListenerStateMachineTests {
    private typealias Machine = ListenerStateMachine<String>
    private typealias Action = Machine.Action

    private let start = ContinuousClock.now

    /// A machine that is connecting.
    private func connecting() -> Machine {
        var machine = Machine(timing: ListenerTiming())
        _ = machine.start(now: start)
        return machine
    }

    /// A machine that is live.
    private func live(on connection: String = "c") -> Machine {
        var machine = connecting()
        _ = machine.connected(connection)
        _ = machine.listening(isDirect: true, now: start)
        _ = machine.proved(now: start)
        return machine
    }

    @Test("The listener connects, sends LISTEN, proves itself and is live")
    func goesLive() {
        var machine = Machine(timing: ListenerTiming())
        #expect(machine.start(now: start) == .connect)
        #expect(machine.connected("c") == .listen("c"))
        #expect(
            machine.listening(isDirect: true, now: start)
                == .prove("c", overSecondConnection: false, until: start + .seconds(5)))
        #expect(machine.proved(now: start) == .goLive("c", waitUntil: start + .seconds(10)))
    }

    @Test("Behind a pooler the proof comes over a second connection")
    func behindPooler() {
        var machine = connecting()
        _ = machine.connected("c")
        #expect(
            machine.listening(isDirect: false, now: start)
                == .prove("c", overSecondConnection: true, until: start + .seconds(5)))
    }

    @Test("After a silence the listener asks the server, and any answer is enough")
    func silence() {
        var machine = live()
        let quiet = start + .seconds(10)
        #expect(machine.silent(now: quiet) == .check("c", until: quiet + .seconds(5)))
        #expect(machine.confirmed(now: quiet) == .wait("c", until: quiet + .seconds(10)))
        #expect(machine.received(last: quiet) == .wait("c", until: quiet + .seconds(10)))
    }

    // The silence once counted from the look that found the notification. A connection that was lost just after one look
    // and one notification was noticed after 25 s.
    @Test("The silence counts from the last notification: a lost connection is noticed within 15 s of it")
    func silenceAfterNotification() {
        var machine = live()
        let last = start + .seconds(1)
        // The look at the end of the first wait, 9 s after the notification.
        #expect(machine.received(last: last) == .wait("c", until: last + .seconds(10)))
        #expect(machine.silent(now: last + .seconds(10)) == .check("c", until: last + .seconds(15)))
    }

    @Test("The pauses grow, half of each at random, up to five seconds between two attempts")
    func pauses() {
        var machine = connecting()
        var pauses: [Duration] = []
        var now = start
        for _ in 0..<9 {
            let action = machine.failed(.cannotConnect, now: now, jitter: 1)
            guard case .retreat(closing: nil, .cannotConnect, let until) = action else {
                Issue.record("no retreat: \(action)")
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

    @Test("An attempt that hung needs no further pause")
    func hungAttempt() {
        var machine = connecting()
        let hung = start + .seconds(5)
        #expect(
            machine.failed(.cannotConnect, now: hung, jitter: 1)
                == .retreat(closing: nil, .cannotConnect, until: hung))
    }

    @Test("A failure of LISTEN or of the proof closes the connection and counts as a failed attempt")
    func failedAttempt() {
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

    @Test("After the listener was live, the pauses start again")
    func pausesStartAgain() {
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

    @Test("A connection whose session does not answer is closed")
    func noAnswer() {
        var machine = live()
        _ = machine.silent(now: start)
        #expect(
            machine.failed(.notListening, now: start, jitter: 0)
                == .retreat(closing: "c", .notListening, until: start + .milliseconds(50)))
    }

    @Test("At the end the listener closes its connection")
    func end() {
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
        // The listener may end before it has carried out the retreat.
        _ = failed.failed(.connectionLost, now: start, jitter: 0)
        #expect(failed.end() == "c")
    }

    @Test("An event that does not belong to the state stops the program")
    func wrongEvent() async {
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

@Suite("The mailbox of the listener", .deadline) struct ListenerMailboxTests {
    private func notification(_ number: Int) -> PostgresNotification {
        PostgresNotification(channel: "c", payload: "\(number)")
    }

    @Test("Waiting notifications come together and in order")
    func together() async {
        let mailbox = ListenerMailbox(limit: 10)
        for number in 1...3 { mailbox.add(notification(number)) }
        await #expect(mailbox.next() == .notifications((1...3).map(notification)))
    }

    @Test("Notifications beyond the limit become one overflow, and later ones arrive")
    func overflow() async {
        let mailbox = ListenerMailbox(limit: 2)
        let overflowed = (1...5).map { mailbox.add(notification($0)) }
        #expect(overflowed == [false, false, true, false, false])
        await #expect(mailbox.next() == .overflow)
        mailbox.add(notification(6))
        await #expect(mailbox.next() == .notifications([notification(6)]))
    }

    @Test("Going live replaces everything that waits")
    func liveReplaces() async {
        let mailbox = ListenerMailbox(limit: 1)
        mailbox.add(notification(1))
        mailbox.add(notification(2))
        mailbox.degrade(.connectionLost)
        mailbox.goLive()
        await #expect(mailbox.next() == .live)
        mailbox.finish()
        await #expect(mailbox.next() == nil)
    }

    @Test("A degradation comes before the waiting hints")
    func degradedFirst() async {
        let mailbox = ListenerMailbox(limit: 10)
        mailbox.add(notification(1))
        mailbox.degrade(.connectionLost)
        await #expect(mailbox.next() == .degraded(.connectionLost))
        await #expect(mailbox.next() == .notifications([notification(1)]))
    }

    @Test("A waiting consumer is woken, and a cancelled one gets the end")
    func waitingConsumer() async {
        let mailbox = ListenerMailbox(limit: 10)
        let woken = Task { await mailbox.next() }
        mailbox.goLive()
        await #expect(woken.value == .live)
        let cancelled = Task { await mailbox.next() }
        cancelled.cancel()
        await #expect(cancelled.value == nil)
        // The cancelled consumer does not wait any more.
        mailbox.add(notification(1))
        await #expect(mailbox.next() == .notifications([notification(1)]))
    }
}
