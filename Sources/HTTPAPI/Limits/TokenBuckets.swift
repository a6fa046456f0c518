/// Token buckets, one for each key: each holds ten seconds' worth of requests and fills at a constant rate.
///
/// The memory is bounded. A bucket that was not used for ten seconds is full, and needs no memory. The value therefore keeps two
/// generations of buckets of at least ten seconds each, and drops the older one whole. Only if too many keys come within ten
/// seconds does a generation end earlier, and a bucket that was not used lately becomes full too soon.
struct TokenBuckets<Key: Hashable & Sendable>: Sendable {
    /// How long an empty bucket takes to fill.
    static var fillTime: Duration { .seconds(10) }

    private struct Bucket {
        var tokens: Double
        var at: ContinuousClock.Instant
    }

    private let rate: Double
    private let capacity: Double
    private let generationLimit: Int
    private var young: [Key: Bucket] = [:]
    private var old: [Key: Bucket] = [:]
    private var generationBegan: ContinuousClock.Instant?

    /// Full buckets.
    ///
    /// - Parameters:
    ///   - rate: The tokens that a bucket gets in a second; at least 1.
    ///   - generationLimit: The largest number of buckets in one of the two generations.
    init(rate: Int, generationLimit: Int = 50_000) {
        precondition(rate >= 1, "a bucket that never fills refuses everything")
        self.rate = Double(rate)
        capacity = self.rate * (Self.fillTime / .seconds(1))
        self.generationLimit = generationLimit
    }

    /// The number of buckets in memory.
    var count: Int { young.count + old.count }

    /// Takes a token from a bucket.
    ///
    /// - Parameters:
    ///   - key: Names the bucket.
    ///   - now: The present moment, not before that of an earlier call.
    /// - Returns: Nil if there was a token; else the time until the bucket has one.
    mutating func take(from key: Key, at now: ContinuousClock.Instant) -> Duration? {
        endGeneration(at: now)
        var bucket = young[key] ?? old.removeValue(forKey: key) ?? Bucket(tokens: capacity, at: now)
        bucket.tokens = min(capacity, bucket.tokens + (now - bucket.at) / .seconds(1) * rate)
        bucket.at = now
        defer { young[key] = bucket }
        guard bucket.tokens >= 1 else { return .seconds((1 - bucket.tokens) / rate) }
        bucket.tokens -= 1
        return nil
    }

    private mutating func endGeneration(at now: ContinuousClock.Instant) {
        guard let began = generationBegan else {
            generationBegan = now
            return
        }
        guard now - began >= Self.fillTime || young.count >= generationLimit else { return }
        // After a pause the younger generation is full as well.
        old = now - began >= Self.fillTime * 2 ? [:] : young
        young = [:]
        generationBegan = now
    }
}
