/// One change, and when it was where.
///
/// `committed` is by the clock of the database, the others by the clock of the check, each since a moment of its own.
struct LatencySample: Sendable {
    /// When the report was sent.
    var sent: Duration
    /// When its answer had come.
    var answered: Duration
    /// The time that the database gave the change, just before its commit.
    var committed: Duration
    /// When the stream had shown the change.
    var shown: Duration
}

/// How long changes took from their commit to the wire.
public struct LatencySummary: Sendable, CustomStringConvertible {
    /// The times, the shortest first.
    let times: [Duration]

    /// How far each time may be wrong, because the two clocks can be compared only within the time of a request.
    let uncertainty: Duration

    /// Computes the times of the samples.
    ///
    /// Each change was committed between its request and its answer, which bounds the difference of the two clocks. All
    /// samples together bound it closely, and the middle is taken (as in NTP, RFC 5905, 8).
    ///
    /// - Parameter samples: At least one.
    init(_ samples: [LatencySample]) {
        precondition(!samples.isEmpty)
        let lowest = samples.map { $0.sent - $0.committed }.max()!
        let highest = samples.map { $0.answered - $0.committed }.min()!
        let difference = (lowest + highest) / 2
        // A clock that was set during the check makes the bounds cross.
        uncertainty = (max(lowest, highest) - min(lowest, highest)) / 2
        times = samples.map { max(.zero, $0.shown - ($0.committed + difference)) }.sorted()
    }

    /// The time within which a share of the changes arrived: the smallest one that is not shorter than that share.
    ///
    /// - Parameter share: Above 0, at most 1.
    /// - Returns: The time.
    public func percentile(_ share: Double) -> Duration {
        times[max(0, Int((share * Double(times.count)).rounded(.up)) - 1)]
    }

    /// The line that the command prints.
    public var description: String {
        let parts = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)].map { "\($0) \(milliseconds(percentile($1))) ms" }
        return "commit-to-wire: " + parts.joined(separator: ", ")
    }
}

/// A duration in milliseconds, with one digit after the point.
///
/// - Parameter duration: The duration.
/// - Returns: Such as `12.3`.
public func milliseconds(_ duration: Duration) -> String {
    let tenths = Int((duration / .microseconds(100)).rounded())
    return "\(tenths / 10).\(tenths % 10)"
}
