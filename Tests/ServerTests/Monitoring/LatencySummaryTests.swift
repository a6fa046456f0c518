import Testing

@testable import App

/// The computation of `therapybridge check`.
@Suite struct LatencySummaryTests {
    /// Changes that are committed 2 ms after their request, answered 1 ms later, and shown after `latencies`, by a database whose
    /// clock is off.
    private static func samples(_ latencies: [Int], clockOff: Duration) -> [LatencySample] {
        latencies.enumerated().map { number, latency in
            let sent = Duration.seconds(number)
            let committed = sent + .milliseconds(2)
            return LatencySample(
                sent: sent, answered: committed + .milliseconds(1), committed: committed + clockOff,
                shown: committed + .milliseconds(latency))
        }
    }

    @Test(
        "A clock that is off changes nothing", arguments: [Duration.zero, .seconds(1_764_547_200), .seconds(-86_400)])
    func clock(_ off: Duration) {
        let summary = LatencySummary(Self.samples(Array(1...100), clockOff: off))
        // The commit lies in the first 3 ms, and the middle of them is taken.
        #expect(summary.uncertainty == .microseconds(1500))
        #expect(summary.percentile(0.5) == .microseconds(50_500))
        #expect(summary.percentile(0.95) == .microseconds(95_500))
        #expect(summary.percentile(0.99) == .microseconds(99_500))
        #expect(summary.percentile(1) == .microseconds(100_500))
        #expect(summary.description == "commit-to-wire: p50 50.5 ms, p95 95.5 ms, p99 99.5 ms")
    }

    @Test("One quick request bounds the clocks for all")
    func bound() {
        var samples = Self.samples([10, 10], clockOff: .seconds(5))
        samples[1].sent = samples[1].committed - .seconds(5) - .microseconds(100)
        samples[1].answered = samples[1].committed - .seconds(5) + .microseconds(100)
        let summary = LatencySummary(samples)
        #expect(summary.uncertainty == .microseconds(100))
        #expect(summary.percentile(0.5) == .milliseconds(10))
    }

    @Test("One sample is every percentile, and no time is below zero")
    func single() {
        let summary = LatencySummary(Self.samples([-7], clockOff: .zero))
        #expect(summary.percentile(0.01) == .zero)
        #expect(summary.percentile(0.99) == .zero)
    }

    @Test(
        "Milliseconds have one digit after the point",
        arguments: [(0, "0.0"), (49, "0.0"), (50, "0.1"), (99_949, "99.9"), (1_234_560, "1234.6")])
    func words(_ microseconds: Int, _ text: String) { #expect(milliseconds(.microseconds(microseconds)) == text) }
}
