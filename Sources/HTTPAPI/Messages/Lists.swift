import Domain
import Hummingbird

/// One page of a list, with the position of the next page.
struct Page<Item: Encodable>: Encodable {
    let items: [Item]
    /// Nil on the last page.
    let nextCursor: String?
    /// How many entries of each status the whole list has; nil for a page without counts.
    var counts: [String: Int64]?

    /// Makes a page of the items that a query found.
    ///
    /// - Parameters:
    ///   - found: The items, one more than `limit` if there is a next page.
    ///   - limit: The maximum number of items on a page.
    ///   - cursor: Returns the text that stands for the last item of a page.
    init(_ found: [Item], limit: Int, cursor: (Item) -> String) {
        items = Array(found.prefix(limit))
        nextCursor = found.count > limit ? items.last.map(cursor) : nil
    }

    enum CodingKeys: String, CodingKey {
        case items
        case nextCursor = "next_cursor"
        case counts
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(items, forKey: .items)
        // Encodes the member even if it is null.
        try container.encode(nextCursor, forKey: .nextCursor)
        try container.encodeIfPresent(counts, forKey: .counts)
    }
}

/// A list that is short enough to send whole.
struct Items<Item: Encodable>: Encodable {
    var items: [Item]
}

extension Parameters {
    /// A query parameter; nil if there is none.
    ///
    /// - Parameters:
    ///   - name: The name of the parameter.
    ///   - reason: What is wrong if `read` returns nil, as the end of a sentence that begins with the name.
    ///   - read: Reads the value.
    /// - Returns: The value.
    /// - Throws: 422 if the parameter is there but `read` returns nil.
    func value<Result>(_ name: Substring, _ reason: String, _ read: (String) -> Result?) throws -> Result? {
        guard let text = self[name] else { return nil }
        guard let value = read(String(text)) else { throw Problem.invalid(String(name), reason) }
        return value
    }

    /// Refuses parameters that a list does not have, and repeated ones.
    ///
    /// A misspelled filter would otherwise select everything.
    ///
    /// - Throws: 422 with an error for each such parameter.
    func allow(only names: Set<Substring>) throws {
        var seen: Set<Substring> = []
        var errors: [Problem.FieldError] = []
        for (name, value) in self where !name.isEmpty || !value.isEmpty {
            let isRepeated = !seen.insert(name).inserted
            let code: Problem.FieldError.Code? = !names.contains(name) ? .unknown : isRepeated ? .repeated : nil
            guard let code else { continue }
            let error = Problem.FieldError(field: String(name.prefix(Self.nameLimit)), code: code)
            if !errors.contains(error), errors.count < Self.errorLimit { errors.append(error) }
        }
        guard let first = errors.first else { return }
        let reason =
            first.code == .repeated
            ? "is given more than once."
            : names.isEmpty
                ? "is not a parameter of this list, which has none."
                : "is not a parameter of this list. It has \(names.sorted().joined(separator: ", "))."
        var problem = Problem.invalid(first.field, reason, first.code)
        problem.errors = errors
        throw problem
    }

    /// How many characters of the name of an unknown parameter the answer repeats.
    private static var nameLimit: Int { 100 }
    /// The largest number of errors in one answer.
    private static var errorLimit: Int { 20 }

    /// The text to search for (`q`); nil if there is none.
    ///
    /// - Throws: 422 for a text of more than 200 characters, or with a NUL.
    func searchText() throws -> String? {
        let text = try value("q", "cannot have the character U+0000.") { $0.utf8.contains(0) ? nil : $0 }
        if let text, text.unicodeScalars.count > 200 {
            throw Problem.invalid("q", "has to be a text of at most 200 characters.", .tooLong)
        }
        return text
    }

    /// A time in a parameter; nil if there is none.
    ///
    /// - Throws: 422 for a text that is no time of RFC 3339.
    func time(_ name: Substring) throws -> Timestamp? {
        try value(name, "is not a time such as 2026-11-22T09:30:00Z.") { Timestamp(rfc3339: $0) }
    }

    /// The number of items on a page (`limit`).
    ///
    /// - Returns: 50 without the parameter.
    /// - Throws: 422 if the parameter is not a number from 1 to 200.
    func pageLimit() throws -> Int {
        try value("limit", "has to be a number from 1 to 200.") {
            Int($0).flatMap { (1...200).contains($0) ? $0 : nil }
        } ?? 50
    }

    /// Where the page begins (`cursor`): behind the last entry of the page before.
    ///
    /// - Parameter read: Reads the text that a page named as its `next_cursor`.
    /// - Returns: The position; nil for the first page.
    /// - Throws: 422 if `read` returns nil.
    func cursor<Position>(_ read: (String) -> Position?) throws -> Position? {
        guard let text = self["cursor"] else { return nil }
        guard let position = read(String(text)) else { throw Problem.unknownCursor }
        return position
    }
}

extension Problem {
    /// 422: the entry behind which the page begins is gone, or the cursor is of another list.
    static let unknownCursor = Problem.invalid("cursor", "is not a cursor of this list. Begin again without a cursor.")
}
