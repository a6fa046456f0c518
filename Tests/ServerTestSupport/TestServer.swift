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
public import Webhooks

/// A server for one test, on a free port, in this process.
public struct TestServer: Sendable {
    /// The server's database.
    public let database: TestDatabase
    /// The port on 127.0.0.1.
    public let port: Int
    /// The folder of recordings.
    public let uploads: URL
    /// The registered routes, as in `GET /api/sessions/{id}`.
    public var routes: [String] = []
    /// The metrics of a server in this process; nil for one in a process of its own.
    var registry: PrometheusRegistry?
    /// False for a port whose answers the description of the API does not have.
    var isDescribed = true

    /// The key of the access tokens.
    public static let jwtSecret = "a secret of tests, and of tests alone"

    /// The metrics of a server in this process, as `GET /metrics` shows them.
    public var metrics: String { registry?.render() ?? "" }

    /// The URL of the server, without a path.
    public var baseURL: String { "http://127.0.0.1:\(port)" }

    /// The settings that every test's server or worker needs.
    public static func settings(over database: TestDatabase, port: Int = 0, uploads: URL) -> [String: String] {
        [
            "DATABASE_URL": database.url("therapybridge_server"), "JWT_SECRET": jwtSecret, "PORT": "\(port)",
            "UPLOAD_DIR": uploads.path(percentEncoded: false), "SHUTDOWN_TIMEOUT": "5", "DATABASE_POOL_SIZE": "4",
        ]
    }

    /// The URL of an unused folder for recordings, which the server makes.
    static func newUploadFolder() -> URL {
        FileManager.default.temporaryDirectory.appending(path: "tb-uploads-\(UUID().uuidString.prefix(8))")
    }

    /// The same server at another of its ports.
    public func at(port: Int) -> TestServer {
        TestServer(
            database: database, port: port, uploads: uploads, routes: routes, registry: registry, isDescribed: false)
    }

    /// Issues an access token under a new sign-in.
    public func token(
        _ user: UserID, lifetime: Duration = .seconds(7200)
    ) async throws -> String {
        try await signIn(user, lifetime: lifetime).token
    }

    /// Issues an access token under a new sign-in, and returns both.
    ///
    /// By default the token outlasts every test.
    public func signIn(
        _ user: UserID, lifetime: Duration = .seconds(7200)
    ) async throws -> (token: String, signIn: SignInID) {
        let signIn = try await database.addSignIn(of: user)
        let claims = AccessClaims(user: user, signIn: signIn, expiresAt: .now().advanced(by: lifetime))
        return (try await AccessTokens(secret: Self.jwtSecret).issue(claims), signIn)
    }
}

/// Lends a running server with a database of its own.
///
/// - Parameters:
///   - environment: Settings in addition to those that every test server needs.
///   - runsWorker: True if the server also runs a worker.
///   - clock: The clock of the server. Connections to the database use the system's clock.
///   - passwordCost: The cost of a new hash of a password; almost nothing by default.
///   - log: Receives the log, at every level.
///   - canaries: The texts that the log and the metrics may not contain.
///   - body: The test.
/// - Returns: What the body returns.
/// - Throws: ``CanaryFound`` when the log or a metric contains a canary; what the body throws.
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

/// Lends a running server for an existing database.
///
/// A test that stops the database passes `databaseTimeouts: .standard`. A new hash of a password costs almost nothing
/// by default: in a debug build the standard cost takes seconds.
public func withServer<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String] = [:], runsWorker: Bool = false,
    databaseTimeouts: DatabaseTimeouts = .forTests, clock: any MonotonicClock = ContinuousClock(),
    passwordCost: Passwords.Cost = .forTests, webhookTransport: WebhookTransport = WebhookTransport(),
    log: LogMemory = LogMemory(), canaries: CanaryWatch = .shared,
    _ body: @escaping @Sendable (TestServer) async throws -> Result
) async throws -> Result {
    let metrics = MetricsOutput.registry()
    canaries.plant(TestServer.jwtSecret)
    let result = try await withUnwatchedServer(
        over: database, environment, runsWorker: runsWorker, databaseTimeouts: databaseTimeouts, clock: clock,
        passwordCost: passwordCost, webhookTransport: webhookTransport, logger: log.logger, metrics: metrics, body)
    // The server has ended, so the log is complete.
    try canaries.inspect(log.text, in: "the log")
    try canaries.inspect(metrics.render(), in: "a metric")
    return result
}

private func withUnwatchedServer<Result: Sendable>(
    over database: TestDatabase, _ environment: [String: String], runsWorker: Bool,
    databaseTimeouts: DatabaseTimeouts, clock: any MonotonicClock, passwordCost: Passwords.Cost,
    webhookTransport: WebhookTransport, logger: Logger, metrics: PrometheusRegistry,
    _ body: @escaping @Sendable (TestServer) async throws -> Result
) async throws -> Result {
    let uploads = TestServer.newUploadFolder()
    defer { try? FileManager.default.removeItem(at: uploads) }
    var settings = try Settings(
        SettingsReader(
            environment: TestServer.settings(over: database, port: 0, uploads: uploads).merging(environment) { $1 }))
    settings.database.timeouts = databaseTimeouts
    let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
    let (routes, routesContinuation) = AsyncStream.makeStream(of: [String].self)
    var server = Server(
        settings: settings, runsWorker: runsWorker, logger: logger, metrics: metrics,
        handlesSignals: false, onListening: { continuation.yield($0) })
    server.onRoutes = { routesContinuation.yield($0) }
    server.clock = clock
    server.passwordCost = passwordCost
    server.webhookTransport = webhookTransport
    server.program = builtProgram
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
            return try await body(
                TestServer(database: database, port: port, uploads: uploads, routes: routes, registry: metrics))
        }
        defer { group.cancelAll() }
        while let finished = try await group.next() {
            if let result = finished { return result }
        }
        throw ServerDidNotStart()
    }
}

extension Passwords.Cost {
    /// A cost above that of the tests' stored hashes, so that a login renews them, and too small to slow a test.
    public static var forTests: Passwords.Cost { Passwords.Cost(logN: 5, blockSize: 1, parallelism: 1) }
}

extension DatabaseTimeouts {
    /// The timeouts of a test's server: long enough for a loaded machine.
    public static var forTests: DatabaseTimeouts {
        var timeouts = DatabaseTimeouts()
        timeouts.connect = TestDeadline.event
        timeouts.borrow = TestDeadline.event
        timeouts.query = TestDeadline.event
        timeouts.lock = TestDeadline.event
        timeouts.readiness = TestDeadline.event
        return timeouts
    }

    /// The timeouts of the program.
    ///
    /// A test that stops the database gets its errors sooner with these.
    public static var standard: DatabaseTimeouts { DatabaseTimeouts() }
}

/// The server ended before the test did.
struct ServerDidNotStart: Error {}
