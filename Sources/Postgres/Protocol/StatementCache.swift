import OrderedCollections

/// The statements that one connection has prepared, the least recently used first.
struct StatementCache {
    private var names: OrderedDictionary<StatementKey, String> = [:]
    private var lastNumber = 0
    let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { names.count }

    /// The name of a query's statement, which counts as used now; nil if it is not prepared.
    mutating func name(for key: StatementKey) -> String? {
        guard let index = names.index(forKey: key) else { return nil }
        let name = names.elements[index].value
        // To move a name to the end takes O(n) over a few hundred small elements. It happens only if the name is not
        // near the end.
        if index < names.count - 1 - capacity / 4 {
            names.remove(at: index)
            names[key] = name
        }
        return name
    }

    /// Makes a name that was never used before.
    mutating func newName() -> String {
        lastNumber += 1
        return "tb_\(lastNumber)"
    }

    /// Removes the least recently used statement if there is no room for another.
    ///
    /// - Returns: The name of the statement; nil if there is room.
    mutating func evict() -> String? {
        guard names.count >= capacity else { return nil }
        return names.removeFirst().value
    }

    mutating func insert(_ name: String, for key: StatementKey) { names[key] = name }

    mutating func remove(_ key: StatementKey) { names[key] = nil }
}
