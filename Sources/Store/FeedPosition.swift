import Domain

/// A place in the stream of all sessions: a snapshot of PostgreSQL's transactions.
///
/// What was committed after it is exactly what it does not show. A number of a sequence or a time could not say that: a
/// transaction that took its number early may commit late, and would slip behind.
public struct FeedPosition: Sendable, Hashable {
    /// As PostgreSQL writes it: `xmin:xmax:xip,xip` (manual, 9.27.8, `pg_snapshot`).
    let snapshot: String

    init(snapshot: String) { self.snapshot = snapshot }

    /// Whether what a transaction has committed is shown here (manual, 9.27.8, `pg_visible_in_snapshot`).
    public func shows(_ transaction: Int64) -> Bool {
        let parts = snapshot.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3, let oldest = Int64(parts[0]), let next = Int64(parts[1]) else { return false }
        guard transaction >= oldest else { return true }
        return transaction < next && !parts[2].split(separator: ",").contains { Int64($0) == transaction }
    }

    /// The longest id that a client is given.
    private static let longest = 128

    /// The position as the `id:` of an event: digits and dots, at most 128 bytes.
    ///
    /// With too many transactions in progress to name, the oldest of them stands for all: what came after that is sent
    /// once more, and nothing is missed.
    public var id: String {
        let text = snapshot.replacing(":", with: ".").replacing(",", with: ".")
        let trimmed = text.hasSuffix(".") ? String(text.dropLast()) : text
        if trimmed.utf8.count <= Self.longest { return trimmed }
        let oldest = trimmed.prefix { $0 != "." }
        return "\(oldest).\(oldest)"
    }

    /// Reads what a client sent; nil when it is no position.
    ///
    /// What PostgreSQL would not take for a snapshot is refused here: transactions in progress lie between the two bounds
    /// and rise.
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
