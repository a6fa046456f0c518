import Hummingbird

/// One page of a list, and where the next one begins.
struct Page<Item: Encodable>: Encodable {
    let items: [Item]
    /// Nil on the last page.
    let nextCursor: String?

    /// - Parameters:
    ///   - found: One more than `limit` when there is a next page.
    ///   - limit: How many a page has.
    ///   - cursor: What stands for the last item of a page.
    init(_ found: [Item], limit: Int, cursor: (Item) -> String) {
        items = Array(found.prefix(limit))
        nextCursor = found.count > limit ? items.last.map(cursor) : nil
    }

    enum CodingKeys: String, CodingKey {
        case items
        case nextCursor = "next_cursor"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(items, forKey: .items)
        // Also when it is null.
        try container.encode(nextCursor, forKey: .nextCursor)
    }
}

/// A list that is short enough to be sent whole.
struct Items<Item: Encodable>: Encodable {
    var items: [Item]
}

extension Parameters {
    /// A query parameter, if there is one.
    ///
    /// - Throws: 422 when it is there and `read` makes nothing of it.
    func value<Result>(_ name: Substring, _ reason: String, _ read: (String) -> Result?) throws -> Result? {
        guard let text = self[name] else { return nil }
        guard let value = read(String(text)) else { throw Problem.invalid(String(name), reason) }
        return value
    }

    /// How many items a page is to have (`limit`).
    ///
    /// - Throws: 422 when it is there and not from 1 to 200.
    func pageLimit() throws -> Int {
        try value("limit", "has to be a number from 1 to 200.") {
            Int($0).flatMap { (1...200).contains($0) ? $0 : nil }
        } ?? 50
    }
}
