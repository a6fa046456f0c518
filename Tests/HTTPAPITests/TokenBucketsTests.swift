import Domain
import Testing

@testable import HTTPAPI

/// The buckets behind the limits of requests.
///
/// Time is a parameter.
@Suite struct TokenBucketsTests {
    private let start = ContinuousClock.now

    private func after(_ seconds: Double) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test("A bucket holds ten seconds' worth, and then gives as many as its rate")
    func rate() {
        var buckets = TokenBuckets<String>(rate: 5)
        for _ in 0..<50 { #expect(buckets.take(from: "a", at: start) == nil) }
        #expect(buckets.take(from: "a", at: start) == .milliseconds(200))
        #expect(
            buckets.take(from: "a", at: after(0.1)).map { $0 > .milliseconds(99) && $0 < .milliseconds(101) } == true)
        #expect(buckets.take(from: "a", at: after(0.21)) == nil)
        #expect(buckets.take(from: "a", at: after(0.22)) != nil)
        var taken = 0
        for millisecond in stride(from: 220, through: 10_220, by: 1) {
            if buckets.take(from: "a", at: after(Double(millisecond) / 1000)) == nil { taken += 1 }
        }
        #expect((49...51).contains(taken))
    }

    @Test("Each key has a bucket of its own")
    func keys() {
        var buckets = TokenBuckets<String>(rate: 1)
        for _ in 0..<10 { #expect(buckets.take(from: "a", at: start) == nil) }
        #expect(buckets.take(from: "a", at: start) != nil)
        #expect(buckets.take(from: "b", at: start) == nil)
    }

    @Test("A refused request costs no token")
    func refusals() {
        var buckets = TokenBuckets<String>(rate: 1)
        for _ in 0..<10 { #expect(buckets.take(from: "a", at: start) == nil) }
        for _ in 0..<1000 { #expect(buckets.take(from: "a", at: start) != nil) }
        #expect(buckets.take(from: "a", at: after(1)) == nil)
    }

    @Test("An empty bucket stays empty while its key comes again and again, over many generations")
    func generations() {
        var buckets = TokenBuckets<String>(rate: 1)
        var taken = 0
        for tenth in 0..<2000 where buckets.take(from: "a", at: after(Double(tenth) / 10)) == nil { taken += 1 }
        // Ten at once, and one for each of 200 seconds.
        #expect((209...210).contains(taken))
    }

    @Test(
        "A bucket is full again after ten seconds, and no longer in memory after twenty",
        arguments: [10.0, 15, 25, 3600])
    func refill(pause: Double) {
        var buckets = TokenBuckets<Int>(rate: 2)
        for _ in 0..<20 { #expect(buckets.take(from: 0, at: after(9)) == nil) }
        #expect(buckets.take(from: 0, at: after(9)) != nil)
        for _ in 0..<20 { #expect(buckets.take(from: 0, at: after(9 + pause)) == nil) }
        #expect(buckets.take(from: 0, at: after(9 + pause)) != nil)
        #expect(buckets.count == 1)
    }

    @Test("The memory is bounded, however many keys come")
    func memory() {
        var buckets = TokenBuckets<Int>(rate: 1, generationLimit: 100)
        for key in 0..<100_000 {
            #expect(buckets.take(from: key, at: after(Double(key) / 100_000)) == nil)
            #expect(buckets.count <= 200)
        }
        // Unused buckets take no memory.
        _ = buckets.take(from: 0, at: after(60))
        #expect(buckets.count == 1)
    }
}
