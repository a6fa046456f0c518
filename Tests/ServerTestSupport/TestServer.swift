public import App
public import Credentials
public import Domain
public import Foundation
import Logging
public import Polling
public import PostgresTestSupport
import Prometheus
import SettingsReading
public import TestSupport

/// A server of one test's own, on a free port, in this process.
public struct TestServer: Sendable {
    /// Its database.
    public let database: TestDatabase
    /// The port of 127.0.0.1 where it listens.
    public let port: Int
    /// Where recordings are stored.
    public let uploads: URL
    /// Every route that the server has registered, as in `GET /api/sessions/{id}`.
    public var routes: [String] = []

    /// The key of its access tokens.
    public static let jwtSecret = "a secret of tests, and of tests alone"

    /// Its URL, without a path.
    public var baseURL: String { "http://127.0.0.1:\(port)" }

    /// The same server at another of its ports.
    public func at(port: Int) -> TestServer {
        TestServer(database: database, port: port, uploads: uploads, routes: routes)
    }

    /// An access token, under a sign-in of its own.
    public func token(
        _ user: UserID, lifetime: Duration = .seconds(600)
    ) async throws -> String {
        try await signIn(user, lifetime: lifetime).token
    }

    /// An access token, and the sign-in that it stands under.
    public func signIn(
        _ user: UserID, lifetime: Duration = .seconds(600)
    ) async throws -> (token: String, signIn: SignInID) {
        let signIn = try await database.addSignIn(of: user)
        let claims = AccessClaims(user: user, signIn: signIn, expiresAt: .now().advanced(by: lifetime))
        return (try await AccessTokens(secret: Self.jwtSecret).issue(claims), signIn)
    }
}

/// Lends a running server over a database of its own.
///
/// - Parameters:
///   - environment: Settings beside those that the test needs anyway.
///   - runsWorker: Also works on the queue.
///   - clock: What it waits by, but for the connections to the database.
///   - passwordCost: The work of a new hash of a password; next to nothing unless a test says otherwise.
///   - log: Where it logs to, at every level.
///   - canaries: What may be neither in its log nor in its metrics.
///   - body: The test.
/// - Returns: What the body returns.
/// - Throws: ``CanaryFound`` when something private is in its log or its metrics; what the body throws.
public func withServer<Result: Sendable>(
    _ environment: [String: String] = [:], runsWorker: Bool = false, clock: any MonotonicClock = ContinuousClock(),
    passwordCost: Passwords.Cost = .forTests, log: LogMemory = LogMemory(), canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (TestServer) async throws -> Result
) async throws -> Result {
    try await withDatabase { database in
        try await withServer(
            over: database, environment, runsWorker: runsWorker, clock: clock, passwordCost: passwordCost, log: log,
            canaries: canaries, body)
    }
}

/// Lends a running server over a database that is there already.
///
/// Where the database is away in a test, the `databaseTimeouts` are `standard`. A hash of a password costs next to nothing
/// unless `passwordCost` says otherwise: in a debug build the standard cost takes seconds.
public func withServer<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String] = [:], runsWorker: Bool = false,
    databaseTimeouts: DatabaseTimeouts = .forTests, clock: any MonotonicClock = ContinuousClock(),
    passwordCost: Passwords.Cost = .forTests, log: LogMemory = LogMemory(), canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (TestServer) async throws -> Result
) async throws -> Result {
    let metrics = MetricsOutput.registry()
    canaries.plant(TestServer.jwtSecret)
    let result = try await withUnwatchedServer(
        over: database, environment, runsWorker: runsWorker, databaseTimeouts: databaseTimeouts, clock: clock,
        passwordCost: passwordCost, logger: log.logger, metrics: metrics, body)
    // All that it does has ended, and so has what it has to say.
    try canaries.inspect(log.text, in: "the log")
    try canaries.inspect(metrics.render(), in: "a metric")
    return result
}

private func withUnwatchedServer<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String], runsWorker: Bool,
    databaseTimeouts: DatabaseTimeouts, clock: any MonotonicClock, passwordCost: Passwords.Cost, logger: Logger,
    metrics: PrometheusRegistry,
    _ body: @escaping @Sendable (TestServer) async throws -> Result
) async throws -> Result {
    let uploads = FileManager.default.temporaryDirectory.appending(path: "tb-uploads-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: uploads) }
    var settings = try Settings(
        SettingsReader(
            environment: [
                "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": TestServer.jwtSecret,
                "UPLOAD_DIR": uploads.path(percentEncoded: false), "PORT": "0", "SHUTDOWN_TIMEOUT": "5",
                "DATABASE_POOL_SIZE": "4",
            ].merging(environment) { _, new in new }))
    settings.database.timeouts = databaseTimeouts
    let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
    let (routes, routesContinuation) = AsyncStream.makeStream(of: [String].self)
    var server = Server(
        settings: settings, runsWorker: runsWorker, logger: logger, metrics: metrics,
        handlesSignals: false, onListening: { continuation.yield($0) })
    server.onRoutes = { routesContinuation.yield($0) }
    server.clock = clock
    server.passwordCost = passwordCost
    return try await withThrowingTaskGroup(of: Result?.self) { group in
        group.addTask { [server] in
            defer {
                continuation.finish()
                routesContinuation.finish()
            }
            try await server.run()
            return nil
        }
        group.addTask {
            guard let routes = await routes.first(where: { _ in true }),
                let port = await ports.first(where: { _ in true })
            else { return nil }
            return try await body(TestServer(database: database, port: port, uploads: uploads, routes: routes))
        }
        defer { group.cancelAll() }
        while let finished = try await group.next() {
            if let result = finished { return result }
        }
        throw ServerDidNotStart()
    }
}

extension Passwords.Cost {
    /// More than the fixtures' hashes take, so that signing in renews those, and less than anybody notices.
    public static var forTests: Passwords.Cost { Passwords.Cost(logN: 5, blockSize: 1, parallelism: 1) }
}

/// The server ended before the test did.
struct ServerDidNotStart: Error {}
