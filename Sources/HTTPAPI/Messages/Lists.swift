import Hummingbird

/// One page of a list, with the position of the next page.
struct Page<Item: Encodable>: Encodable {
    let items: [Item]
    /// Nil on the last page.
    let nextCursor: String?

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
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(items, forKey: .items)
        // Encodes the member even if it is null.
        try container.encode(nextCursor, forKey: .nextCursor)
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

    /// The number of items on a page (`limit`).
    ///
    /// - Returns: 50 without the parameter.
    /// - Throws: 422 if the parameter is not a number from 1 to 200.
    func pageLimit() throws -> Int {
        try value("limit", "has to be a number from 1 to 200.") {
            Int($0).flatMap { (1...200).contains($0) ? $0 : nil }
        } ?? 50
    }
}
