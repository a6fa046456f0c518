/// A table without triggers, in which each row is updated once: the least that a commit costs.
struct PlainRows: Sendable {
    /// Adds the table, with rows from number 0 on.
    static func add(to database: BenchDatabase, count: Int) async throws {
        try await database.add(
            """
            CREATE TABLE plain_rows (id integer PRIMARY KEY, changed_at timestamptz, reason text);
            INSERT INTO plain_rows SELECT n FROM generate_series(0, \(count - 1)) n;
            """)
    }

    /// The statement that updates a row.
    ///
    /// The number is an expression in SQL.
    static func update(_ number: String) -> String {
        "UPDATE plain_rows SET changed_at = clock_timestamp(), reason = 'x' WHERE id = \(number)"
    }
}
