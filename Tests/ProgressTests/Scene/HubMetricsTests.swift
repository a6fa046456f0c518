import Domain
import Prometheus
import TestSupport
import Testing

@testable import Progress

/// What the metrics of the hub say.
@Suite("Metrics of the hub", .deadline) struct HubMetricsTests {
    private let registry = PrometheusRegistry()

    private func lines(_ beginning: String) -> [Substring] {
        registry.render().split(separator: "\n").filter { $0.hasPrefix(beginning) }
    }

    @Test("A change is as late as its time in the database and its hint say")
    func late() {
        let metrics = HubMetrics(factory: registry)
        let (now, time) = (ContinuousClock.now, Timestamp(microsecondsSinceEpoch: 10_000_000))
        let change = ShownChange(
            streams: .session, cause: .hint(now.advanced(by: .milliseconds(-250))),
            changedAt: time.advanced(by: .milliseconds(-1500)))
        metrics.shown(change, at: now, time: time)
        let labels = #"found_by="hint",streams="session""#
        #expect(lines("therapybridge_commit_to_wire_seconds_sum{\(labels)}").first?.hasSuffix(" 1.5") == true)
        #expect(lines("therapybridge_commit_to_wire_seconds_count{\(labels)}").first?.hasSuffix(" 1") == true)
        #expect(lines(#"therapybridge_hint_to_wire_seconds_sum{streams="session"}"#).first?.hasSuffix(" 0.25") == true)
        #expect(lines(#"therapybridge_hint_to_wire_seconds_count{streams="all"}"#).first?.hasSuffix(" 0") == true)
        metrics.resynced(after: .seconds(3))
        #expect(lines("therapybridge_resync_duration_seconds_sum") == ["therapybridge_resync_duration_seconds_sum 3"])
    }

    @Test("If the clock of the database is ahead, a change is late by nothing")
    func clockAhead() {
        let metrics = HubMetrics(factory: registry)
        let time = Timestamp(microsecondsSinceEpoch: 10_000_000)
        metrics.shown(
            ShownChange(streams: .all, cause: .poll, changedAt: time.advanced(by: .seconds(5))), at: .now, time: time)
        let labels = #"found_by="poll",streams="all""#
        #expect(lines("therapybridge_commit_to_wire_seconds_sum{\(labels)}").first?.hasSuffix(" 0") == true)
        #expect(lines("therapybridge_commit_to_wire_seconds_count{\(labels)}").first?.hasSuffix(" 1") == true)
    }

    @Test("The oldest hint ages while the database does not answer")
    func oldestHint() async throws {
        try await withHub { scene in
            let session = scene.reader.addSession()
            var stream = try await scene.stream(of: session)
            #expect(scene.hub.delays.oldestHint == .zero)
            scene.reader.isDown = true
            let version = scene.reader.commit(session)
            await scene.hint(session, version)
            #expect(try await stream.next() == .degraded)
            // No read begins before the end of the delay.
            scene.advance(by: .milliseconds(10))
            #expect(scene.hub.delays.oldestHint == .milliseconds(10))
            #expect(scene.hub.delays.feedLag == .zero, "there is no stream of all sessions")
            scene.reader.isDown = false
            scene.advance(by: HubScene.longestDelay)
            #expect(try await stream.next() == .recovered)
            #expect(try await stream.nextState().version == version)
            await scene.turn()
            #expect(scene.hub.delays.oldestHint == .zero)
        }
    }
}
