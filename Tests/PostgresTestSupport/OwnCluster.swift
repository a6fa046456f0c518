import LocalPostgres
import Postgres

/// Lends a database in a cluster of the test's own, to be stopped, killed and started again.
///
/// A commit that was answered is on disk here, as in production: what a listener heard of is still there after a crash.
public func withOwnCluster<Result>(_ body: (TestDatabase) async throws -> Result) async throws -> Result {
    try await TestCluster.makeCluster().use(stopMode: .immediate) { cluster in
        let database = TestDatabase(cluster: cluster, name: "own")
        try await TestCluster.migrate(database.name, of: cluster)
        try await database.query("ALTER DATABASE own SET synchronous_commit = on")
        return try await body(database)
    }
}
