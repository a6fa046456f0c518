import HeapModule

/// The moments at which the reactor looks at each stream: for a heartbeat, an expired token, or a stalled client.
///
/// One entry of each stream counts. Most deadlines move away before they come, because each write postpones the
/// heartbeat. Therefore no entry is moved: the reactor looks at it when it is due, and puts it back to the right
/// moment.
struct StreamDeadlines {
    private struct Entry: Comparable {
        let due: Tick
        let slot: UInt32

        static func < (one: Entry, other: Entry) -> Bool { one.due < other.due }
    }

    private var heap = Heap<Entry>()

    /// The earliest moment; nil if there is none.
    var next: Tick? { heap.min?.due }

    mutating func insert(_ slot: UInt32, due: Tick) {
        heap.insert(Entry(due: due, slot: slot))
    }

    /// Takes one entry that is due, the earliest first.
    mutating func popDue(now: Tick) -> (slot: UInt32, due: Tick)? {
        guard let first = heap.min, first.due <= now else { return nil }
        heap.removeMin()
        return (first.slot, first.due)
    }
}

/// A moment on the reactor's clock, in ticks of 50 ms since the reactor began.
///
/// Thousands of streams keep several moments each. A moment therefore has four bytes. Every deadline lies on a tick.
/// Therefore thousands of heartbeats share a few wake-ups. The clock runs for 6.8 years.
struct Tick: Comparable, Sendable {
    static let length = Duration.milliseconds(50)
    static let never = Tick(number: .max)

    private(set) var number: UInt32

    private init(number: UInt32) { self.number = number }

    /// The tick that contains a time since the beginning.
    init(_ sinceBeginning: Duration) { number = UInt32(clamping: Self.count(sinceBeginning)) }

    /// The first tick that is not before a time since the beginning.
    init(notBefore sinceBeginning: Duration) {
        number = UInt32(clamping: Self.count(sinceBeginning + Self.length - .nanoseconds(1)))
    }

    /// The time from the beginning of the clock to the beginning of the tick.
    var sinceBeginning: Duration { Self.length * Int(number) }

    static func < (one: Tick, other: Tick) -> Bool { one.number < other.number }

    static func + (tick: Tick, ticks: Int) -> Tick { Tick(number: UInt32(clamping: Int(tick.number) + ticks)) }

    static func - (one: Tick, other: Tick) -> Duration { one.sinceBeginning - other.sinceBeginning }

    /// How many whole ticks a duration has.
    static func count(_ duration: Duration) -> Int {
        let count = duration / length
        return count < Double(Int32.max) * 4 ? Int(count.rounded(.down)) : Int(UInt32.max)
    }
}
