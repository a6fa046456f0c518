/// Delays between two tries: 100 ms, then twice as much each time, up to 2 s.
///
/// The hub waits for a random part of each, from a half to all, so that servers that fail together do not come back
/// together.
struct Backoff {
    private var delay = Duration.milliseconds(100)

    mutating func reset() { delay = .milliseconds(100) }

    mutating func next() -> Duration {
        defer { delay = min(delay * 2, .seconds(2)) }
        return delay
    }
}
