package import Credentials
import Domain
import Foundation
import HTTPAPI
public import Logging
import Migrations
import Pipeline
package import Polling
import Postgres
import Progress
public import Prometheus
import Recordings
import ServiceLifecycle
import SettingsReading
import Store
import UnixSignals

/// The server, put together: which services there are, and who knows whom.
///
/// Services stand in the order in which they depend on each other: they are started from the first to the last and shut
/// down from the last to the first.
public struct Server: Sendable {
    private let settings: Settings
    private let runsWorker: Bool
    private let logger: Logger
    private let metrics: PrometheusRegistry
    private let handlesSignals: Bool
    private let onListening: @Sendable (Int) async -> Void
    /// Called with the routes of the HTTP server before it is started.
    package var onRoutes: @Sendable ([String]) -> Void = { _ in }
    /// The clock of everything that waits but the connections to the database, which all servers of a process share.
    package var clock: any MonotonicClock = ContinuousClock()
    /// How much work the hash of a password is; a test that is not about that asks for less.
    package var passwordCost = Passwords.Cost.standard

    /// A server that is ready to run.
    ///
    /// - Parameters:
    ///   - settings: The settings of this process.
    ///   - runsWorker: Also works on the queue.
    ///   - logger: Takes the log.
    ///   - metrics: Takes what this server counts, and nothing of another.
    ///   - handlesSignals: Shuts down on SIGTERM and SIGINT; otherwise when its task is cancelled.
    ///   - onListening: Called with the port once the server accepts connections.
    public init(
        settings: Settings, runsWorker: Bool, logger: Logger, metrics: PrometheusRegistry,
        handlesSignals: Bool = true,
        onListening: @escaping @Sendable (Int) async -> Void = { _ in }
    ) {
        self.settings = settings
        self.runsWorker = runsWorker
        self.logger = logger
        self.metrics = metrics
        self.handlesSignals = handlesSignals
        self.onListening = onListening
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// - Throws: ``SettingError`` when something that was set up for it is not there; the error of a service that failed.
    public func run() async throws {
        let identityProvider = try await settings.identityProvider?.provider()
        try await checkSchema()
        let pool = try pool(name: "therapybridge")
        let stores = Stores(pool: pool)
        let recordings = try await settings.recordings.store()
        let streams = try StreamEngine(
            reader: stores.progress, settings: settings.http.streams, drainTimeout: settings.streamDrainTimeout,
            clock: clock, metrics: metrics, logger: logger)
        let (calls, call) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let listener = try listener()
        collectMetrics(pool, listener)

        var services: [any Service] = [pool]
        services += metricsServer()
        services += [
            listener,
            ChangeRelay(
                source: PostgresChangeSource(listener: listener), hub: streams.hub, callWorker: { call.yield() }),
            Janitor(stores: stores, recordings: recordings, clock: clock, logger: logger),
        ]
        if runsWorker {
            services.append(try worker(stores, recordings, calls))
        }
        let reports = ReportBatcher(progress: stores.progress, clock: clock, logger: logger)
        services.append(reports)
        var dependencies = HTTPDependencies(
            stores: stores, reports: reports, recordings: recordings, tokens: await AccessTokens(settings.tokens),
            identityProvider: identityProvider, streams: streams, clock: clock, metrics: metrics,
            missing: { await Self.missing(pool) })
        dependencies.passwords = Passwords(cost: passwordCost)
        let http = try HTTPServer(
            settings: settings.http, dependencies: dependencies, logger: logger, onListening: onListening)
        onRoutes(http.routes)
        services.append(http)
        // Last, so that it is the first to be shut down: it ends the streams, for which the HTTP server waits.
        services.append(streams)
        try await runUntilSignal(services)
    }

    /// What the operator is told, and so with which status the program ends.
    ///
    /// A host or port that this machine does not have is a wrong setting; a port that another program has may be free in
    /// a moment, as when the program before has not ended yet.
    private func failure(of error: BindError) -> any Error {
        let (name, port) =
            switch error.endpoint {
            case .http: ("PORT", settings.http.listen.port)
            case .metrics: ("METRICS_PORT", settings.http.listen.metricsPort ?? 0)
            }
        return switch error.code {
        case .hostUnknown: SettingError("HOST", "is no name or address of this machine")
        case .portForbidden: SettingError(name, "may not be used by this account; choose one above 1023")
        case .portTaken:
            CommandFailure("\(name): \(port) is taken by another program; end it, or choose another port")
        }
    }

    /// Works on the queue alone, until SIGTERM or SIGINT.
    public func work() async throws {
        try await checkSchema()
        let pool = try pool(name: "therapybridge worker")
        let recordings = try await settings.recordings.store()
        let (calls, call) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let listener = try listener()
        collectMetrics(pool, listener)
        try await runUntilSignal(
            [pool] + metricsServer() + [
                listener,
                ChangeRelay(source: PostgresChangeSource(listener: listener), hub: nil, callWorker: { call.yield() }),
                try worker(Stores(pool: pool), recordings, calls),
            ])
    }

    private func runUntilSignal(_ services: [any Service]) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            gracefulShutdownSignals: handlesSignals ? [.sigterm, .sigint] : [], logger: logger)
        configuration.maximumGracefulShutdownDuration = settings.shutdownTimeout
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as BindError {
            throw failure(of: error)
        }
    }

    // MARK: - Parts

    private func pool(name: String) throws -> PostgresPool {
        try PostgresPool(
            configuration: settings.database.queries(name: name, logger: logger), settings: settings.database.pool)
    }

    private func listener() throws -> PostgresListener {
        try PostgresListener(
            configuration: settings.database.listener(logger: logger), channels: [PostgresChangeSource.channel])
    }

    private func collectMetrics(_ pool: PostgresPool, _ listener: PostgresListener) {
        metrics.collect(from: pool, size: settings.database.poolSize)
        metrics.collect(from: listener)
        metrics.collectProcess()
    }

    /// Stands before what is measured, and so is shut down after it.
    private func metricsServer() -> [any Service] {
        settings.http.listen.metricsPort.map { [MetricsServer(port: $0, registry: metrics, logger: logger)] } ?? []
    }

    private func worker(
        _ stores: Stores, _ recordings: RecordingStore, _ calls: AsyncStream<Void>
    ) throws -> PipelineWorker {
        PipelineWorker(
            name: "\(ProcessInfo.processInfo.hostName)/\(ProcessInfo.processInfo.processIdentifier)",
            queue: stores.queue, progress: stores.progress, sessions: stores.sessions, recordings: recordings,
            stages: try PipelineStages(settings.pipeline), calls: calls, metrics: metrics, clock: clock.erased,
            logger: logger)
    }

    // MARK: - Checks

    /// Refuses to start on a schema that lacks something.
    private func checkSchema() async throws {
        let status: MigrationStatus
        do {
            status = try await PostgresConnection.withConnection(
                settings.database.queries(name: "therapybridge", logger: logger)
            ) { connection in
                try await Migrator.status { try await connection.query($0) }
            }
        } catch let error as PostgresError where error.sqlState == .insufficientPrivilege {
            throw SettingError("DATABASE_URL", "its role may not read the schema; use therapybridge_server")
        }
        guard status.edited.isEmpty else {
            throw SettingError(
                status.edited.map(\.filename).joined(separator: ", "),
                "differs from what was applied; run the binary that the schema belongs to, or: therapybridge migrate status"
            )
        }
        guard status.isCurrent else {
            throw SettingError(status.missingFiles, "not applied; run: therapybridge migrate up")
        }
    }

    private static func missing(_ pool: PostgresPool) async -> String? {
        do {
            let status = try await Migrator.status { try await pool.query($0, timeout: .seconds(2)) }
            return status.isCurrent ? nil : "not applied: \(status.missingFiles)"
        } catch {
            return "\(error)"
        }
    }
}

extension MonotonicClock {
    /// The same clock, for what only sleeps and measures: the pipeline knows no poller.
    fileprivate var erased: any Clock<Duration> { self }
}

extension MigrationStatus {
    var missingFiles: String { missing.map(\.filename).joined(separator: ", ") }
}
