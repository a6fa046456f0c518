import LocalPostgres
import Postgres
import PostgresTestSupport
import TestSupport

extension TestCluster {
    /// The server that the tests of this target share.
    ///
    /// It can be reached by TCP too.
    static let reachable = TestCluster(listensOnLoopback: true)
}

/// Lends a connection to the shared server.
func withConnection<Value>(
    _ change: (inout PostgresConfiguration) -> Void = { _ in },
    _ body: (PostgresConnection) async throws -> Value
) async throws -> Value {
    try await PostgresConnection.withConnection(try await testConfiguration(change)) { try await body($0) }
}

/// Lends a pool on the shared server.
func withPool<Value>(
    size: Int = 4,
    _ change: (inout PostgresPoolConfiguration) -> Void = { _ in },
    _ body: (PostgresPool) async throws -> Value
) async throws -> Value {
    var settings = PostgresPoolConfiguration(size: size, waitTimeout: TestDeadline.event)
    change(&settings)
    return try await PostgresPool.withPool(try await testConfiguration(), settings: settings) { try await body($0) }
}

/// The configuration of the shared server, with generous timeouts.
func testConfiguration(_ change: (inout PostgresConfiguration) -> Void = { _ in }) async throws -> PostgresConfiguration
{
    let server = try await TestCluster.reachable.server()
    var configuration = try PostgresConfiguration(
        connectionString: server.connectionString(), connectTimeout: TestDeadline.event,
        queryTimeout: TestDeadline.event)
    change(&configuration)
    return configuration
}
