import LocalPostgres
import Postgres

/// Lends a database in a cluster of its own, which the test may stop, kill and start again.
///
/// As in production, a commit is on disk before it is answered: a change that a listener was notified of survives a
/// crash.
public func withOwnCluster<Result>(_ body: (TestDatabase) async throws -> Result) async throws -> Result {
    try await TestCluster.makeCluster().use(stopMode: .immediate) { cluster in
        let database = TestDatabase(cluster: cluster, name: "own")
        try await TestCluster.migrate(database.name, of: cluster)
        try await database.query("ALTER DATABASE own SET synchronous_commit = on")
        return try await body(database)
    }
}
