/// The delays between two attempts to read: 100 ms, then twice as long each time, up to 2 s.
///
/// The hub waits for a random part of a delay, from a half to all of it. Servers that fail together therefore do not read
/// again together.
struct Backoff {
    private var delay = Duration.milliseconds(100)

    mutating func reset() { delay = .milliseconds(100) }

    mutating func next() -> Duration {
        defer { delay = min(delay * 2, .seconds(2)) }
        return delay
    }
}
