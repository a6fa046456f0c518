import Domain

/// A position in the stream of all sessions: a database snapshot.
///
/// Everything that the snapshot does not show was committed after it. A sequence number or a time would not do: a
/// transaction that took its number early may commit late, and readers would miss it.
public struct FeedPosition: Sendable, Hashable {
    /// The snapshot.
    public let snapshot: DatabaseSnapshot

    /// The position at which a snapshot was taken.
    public init(_ snapshot: DatabaseSnapshot) { self.snapshot = snapshot }

    /// Whether the snapshot shows what a transaction has committed.
    public func shows(_ transaction: Int64) -> Bool { snapshot.shows(transaction) }

    /// The longest `id:` that the server sends, in bytes.
    private static let longest = 128

    /// The position as the `id:` of an event: cluster, timeline and snapshot, as digits and dots, at most 128 bytes.
    ///
    /// If the transactions in progress do not fit, the id has only the oldest one. The client then gets some changes
    /// twice, and misses no change.
    public var id: String {
        let timeline = [snapshot.timeline.cluster, Int64(snapshot.timeline.number)]
        let id = Self.id(timeline + [snapshot.oldest, snapshot.next] + snapshot.inProgress)
        return id.utf8.count <= Self.longest ? id : Self.id(timeline + [snapshot.oldest, snapshot.oldest])
    }

    private static func id(_ numbers: [Int64]) -> String { numbers.map(String.init).joined(separator: ".") }

    /// Reads the `id:` that a client sent; nil if it is not a position.
    ///
    /// PostgreSQL would raise an error for a malformed snapshot. Therefore the transactions in progress must rise and
    /// lie between the two bounds.
    public init?(id: String) {
        guard id.utf8.count <= Self.longest else { return nil }
        let parts = id.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 4, let cluster = Int64(digits: parts[0]), let number = Int32(digits: parts[1]) else {
            return nil
        }
        let numbers = parts.dropFirst(2).compactMap { Int64(digits: $0) }
        guard numbers.count == parts.count - 2, numbers[0] >= 3, numbers[0] <= numbers[1] else { return nil }
        let inProgress = Array(numbers.dropFirst(2))
        guard zip(inProgress, inProgress.dropFirst()).allSatisfy({ $0 < $1 }),
            inProgress.allSatisfy({ $0 >= numbers[0] && $0 < numbers[1] })
        else { return nil }
        snapshot = DatabaseSnapshot(
            on: DatabaseTimeline(cluster: cluster, number: number), oldest: numbers[0], next: numbers[1],
            inProgress: inProgress)
    }
}
