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

extension Parameters {
    /// How many items a page is to have (`limit`).
    ///
    /// - Throws: 422 when it is there and not from 1 to 200.
    func pageLimit() throws -> Int {
        try value("limit", "has to be a number from 1 to 200.") {
            Int($0).flatMap { (1...200).contains($0) ? $0 : nil }
        } ?? 50
    }
}
