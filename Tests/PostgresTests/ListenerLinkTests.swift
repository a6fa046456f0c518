import Polling
import TestSupport
import TestTime
import Testing

@testable import Postgres

@Suite("The link of the listener", .deadline) struct ListenerLinkTests {
    private let clock = ManualClock()

    private func notification(_ channel: String = "changes", _ payload: String = "") -> PostgresNotification {
        PostgresNotification(channel: channel, payload: payload)
    }

    @Test("A wait tells when the last notification came, also of one that came just before the wait")
    func lastNotification() async throws {
        let poller = try Poller(name: "link", clock: clock)
        defer { poller.stop() }
        let link = ListenerLink()
        let begin = clock.now
        #expect(link.received(notification(), at: begin))
        #expect(link.received(notification(), at: begin + .seconds(1)))
        clock.advance(by: .seconds(10))
        let first = await link.waitForSilence(until: begin + .seconds(10), on: poller)
        #expect(first == .received(at: begin + .seconds(1)))
        clock.advance(by: .seconds(1))
        let second = await link.waitForSilence(until: begin + .seconds(11), on: poller)
        #expect(second == .silent)
    }

    @Test("The listener's own notification ends no silence")
    func ownNotification() async throws {
        let poller = try Poller(name: "link", clock: clock)
        defer { poller.stop() }
        let link = ListenerLink()
        #expect(!link.received(notification(link.privateChannel, link.proof), at: clock.now))
        let outcome = await link.waitForSilence(until: clock.now, on: poller)
        #expect(outcome == .silent)
    }

    @Test("A wait ends when the connection is closed")
    func closed() async throws {
        let poller = try Poller(name: "link", clock: clock)
        defer { poller.stop() }
        let link = ListenerLink()
        let waiting = Task { [deadline = clock.now + .seconds(10)] in
            await link.waitForSilence(until: deadline, on: poller)
        }
        link.closed()
        #expect(await waiting.value == .closed)
    }
}
