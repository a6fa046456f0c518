public import Domain

/// A position in a list that is ordered by time, and by id among entries of the same time.
///
/// Unlike an offset, it does not move when new entries appear at the front.
public struct ListCursor<ID: LosslessStringConvertible & Equatable & Sendable>: Sendable, Equatable,
    LosslessStringConvertible
{
    /// The time of the entry.
    public var at: Timestamp
    /// The id of the entry.
    public var id: ID

    /// The position of an entry.
    public init(at: Timestamp, id: ID) {
        self.at = at
        self.id = id
    }

    /// Reads a cursor in the form of ``description``; nil for any other text.
    public init?(_ description: String) {
        let parts = description.split(separator: "_", omittingEmptySubsequences: false)
        guard parts.count == 2, let at = Timestamp(cursor: parts[0]), let id = ID(String(parts[1])) else { return nil }
        self.init(at: at, id: id)
    }

    /// The time in microseconds since 1970 and the id, joined by an underscore.
    public var description: String { "\(at.microsecondsSinceEpoch)_\(id)" }
}
