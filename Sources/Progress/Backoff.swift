/// Delays between two tries: doubled from 100 ms up to 2 s, less up to half at random, so that many who fail together do
/// not come back together.
struct Backoff {
    private var delay = Duration.milliseconds(100)

    mutating func reset() { delay = .milliseconds(100) }

    mutating func next() -> Duration {
        defer { delay = min(delay * 2, .seconds(2)) }
        return delay * Double.random(in: 0.5...1)
    }
}
