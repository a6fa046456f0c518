import OrderedCollections

/// The statements that one connection has prepared, the least recently used first.
struct StatementCache {
    private var names: OrderedDictionary<StatementKey, String> = [:]
    private var lastNumber = 0
    let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { names.count }

    /// The name for a query, which counts as used now.
    mutating func name(for key: StatementKey) -> String? {
        guard let index = names.index(forKey: key) else { return nil }
        let name = names.elements[index].value
        // Moving to the end is O(n) over a few hundred small elements; only done when it is not near the end already.
        if index < names.count - 1 - capacity / 4 {
            names.remove(at: index)
            names[key] = name
        }
        return name
    }

    /// A name that was never used before.
    mutating func newName() -> String {
        lastNumber += 1
        return "tb_\(lastNumber)"
    }

    /// Takes out the least recently used when there is no room for another.
    mutating func evict() -> String? {
        guard names.count >= capacity else { return nil }
        return names.removeFirst().value
    }

    mutating func insert(_ name: String, for key: StatementKey) { names[key] = name }

    mutating func remove(_ key: StatementKey) { names[key] = nil }
}
