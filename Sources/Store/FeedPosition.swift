import Domain

/// A position in the stream of all sessions: a database snapshot.
///
/// Everything that the snapshot does not show was committed after it. A sequence number or a time would not do: a
/// transaction that took its number early may commit late, and readers would miss it.
public struct FeedPosition: Sendable, Hashable {
    /// The snapshot as PostgreSQL writes it: `xmin:xmax:xip,xip` (manual, 9.27.8, `pg_snapshot`).
    let snapshot: String

    init(snapshot: String) { self.snapshot = snapshot }

    /// Whether the snapshot shows what a transaction has committed (manual, 9.27.8, `pg_visible_in_snapshot`).
    public func shows(_ transaction: Int64) -> Bool {
        let parts = snapshot.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let oldest = Int64(parts[0]), let next = Int64(parts[1]) else { return false }
        guard transaction >= oldest else { return true }
        return transaction < next && !parts[2].split(separator: ",").contains { Int64($0) == transaction }
    }

    /// The longest `id:` that the server sends, in bytes.
    private static let longest = 128

    /// The position as the `id:` of an event: digits and dots, at most 128 bytes.
    ///
    /// If the transactions in progress do not fit, the id has only the oldest one. The client then gets some changes
    /// twice, and misses no change.
    public var id: String {
        let text = snapshot.replacing(":", with: ".").replacing(",", with: ".")
        let trimmed = text.hasSuffix(".") ? String(text.dropLast()) : text
        if trimmed.utf8.count <= Self.longest { return trimmed }
        let oldest = trimmed.prefix { $0 != "." }
        return "\(oldest).\(oldest)"
    }

    /// Reads the `id:` that a client sent; nil if it is not a position.
    ///
    /// PostgreSQL would raise an error for a malformed snapshot. Therefore the transactions in progress must rise and
    /// lie between the two bounds.
    public init?(id: String) {
        guard id.utf8.count <= Self.longest else { return nil }
        let parts = id.split(separator: ".", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { Int64(digits: $0) }
        guard numbers.count == parts.count, numbers.count >= 2, numbers[0] >= 3, numbers[0] <= numbers[1] else {
            return nil
        }
        let inProgress = numbers.dropFirst(2)
        guard zip(inProgress, inProgress.dropFirst()).allSatisfy({ $0 < $1 }),
            inProgress.allSatisfy({ $0 >= numbers[0] && $0 < numbers[1] })
        else { return nil }
        snapshot = "\(numbers[0]):\(numbers[1]):" + inProgress.map(String.init).joined(separator: ",")
    }
}
