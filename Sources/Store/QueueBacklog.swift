import Postgres

extension PipelineStore {
    /// The sessions that wait for a worker, of all servers.
    public struct Backlog: Sendable, Equatable {
        /// The number of sessions that a worker could claim now, at most 10,000.
        public var waiting: Int
        /// The time since the oldest of them joined the queue; zero without one.
        public var oldest: Duration

        /// A backlog.
        public init(waiting: Int, oldest: Duration) {
            self.waiting = waiting
            self.oldest = oldest
        }
    }

    /// Reads how many sessions wait for a worker, and for how long.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func backlog() async throws -> Backlog {
        let rows = try await pool.query("SELECT waiting, oldest FROM app.queue_backlog()")
        guard let row = rows.first else { throw StoreError.noRow }
        return Backlog(
            waiting: Int(try row.decode("waiting", as: Int64.self)),
            oldest: .seconds(try row.decode("oldest", as: Double.self)))
    }
}
