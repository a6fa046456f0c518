package import Credentials
import Domain
import FoundationEssentials
import Glibc
import HTTPAPI
public import Logging
import Metrics
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
package import Webhooks

/// Builds the server: its services and their connections.
///
/// The services are in the order of dependence. They start from the first to the last, and shut down from the last to
/// the first.
public struct Server: Sendable {
    private let settings: Settings
    private let runsWorker: Bool
    private let logger: Logger
    private let metrics: PrometheusRegistry
    private let handlesSignals: Bool
    private let onListening: @Sendable (Int) async -> Void
    private let reloadable = ReloadableParts()
    /// Receives the routes of the HTTP server before the server starts.
    package var onRoutes: @Sendable ([String]) -> Void = { _ in }
    /// The clock of all waits, except those of database connections.
    package var clock: any MonotonicClock = ContinuousClock()
    /// The clock of database connections.
    ///
    /// A test that moves ``clock`` by hand leaves this one alone: a leap would end every query that is under way.
    package var databaseClock: any MonotonicClock = ContinuousClock()
    /// The cost of hashing a password.
    ///
    /// Tests lower it.
    package var passwordCost = Passwords.Cost.standard
    /// How deliveries of webhooks leave the server.
    package var webhookTransport = WebhookTransport()
    /// The path of this program, which the worker starts for its own stages.
    package var program =
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]

    /// Makes a server that is ready to run.
    ///
    /// - Parameters:
    ///   - settings: The settings of this process.
    ///   - runsWorker: True to run a worker, too.
    ///   - logger: Receives the log.
    ///   - metrics: Receives the metrics of this server alone.
    ///   - handlesSignals: True to shut down on SIGTERM and SIGINT, false to shut down when the task is cancelled.
    ///   - onListening: Receives the port once the server accepts connections.
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
    /// - Throws: ``SettingError`` when a setting names something that is missing or unusable; the error of a service
    ///   that failed.
    public func run() async throws { try await underSignals(serve(until:)) }

    private func serve(until stop: StopRequest) async throws {
        let identityProvider = try await settings.identityProvider?.provider()
        let tokens = await AccessTokens(settings.tokens)
        reloadable.set(tokens: tokens, provider: identityProvider)
        guard try await databaseAnswers(before: stop, issuer: identityProvider?.issuer) else { return }
        SettingsWarnings.log(settings, serves: true, to: logger)
        DescriptorCapacity.log(streams: settings.http.streams.maximumStreams, to: logger)
        let pool = try pool(name: "therapybridge")
        let stores = Stores(pool: pool, merger: AccessMerger { [clock] in clock.now })
        let recordings = try await settings.recordings.store()
        let streams = try StreamEngine(
            reader: stores.progress, settings: settings.http.streams, drainTimeout: settings.streamDrainTimeout,
            clock: clock, metrics: metrics, logger: logger)
        let (wakeUps, wakeUp) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let (webhookWakeUps, webhookWakeUp) = AsyncStream.makeStream(
            of: Void.self, bufferingPolicy: .bufferingNewest(1))
        collectMetrics(pool)
        metrics.collect(from: streams.hub.delays)

        let hints = SessionHints()
        let work = WorkSignals()
        let worker = runsWorker ? try await worker(stores, recordings, wakeUps, hints) : nil
        var services: [any Service] = [pool]
        let readiness = Readiness(
            pool: pool, recordings: recordings, audit: stores.audit, patience: settings.database.timeouts.readiness,
            clock: clock)
        services += metricsServer(readiness, pool) { worker?.details() ?? [] }
        // It ends after everything that records accesses.
        services.append(AuditBatcher(log: stores.audit, clock: clock, logger: logger))
        services += try changes(
            to: streams.hub,
            wakeWorker: {
                wakeUp.yield()
                work.signal()
            },
            wakeWebhooks: { webhookWakeUp.yield() },
            onHints: hints.wake)
        services += [
            Janitor(
                stores: stores, recordings: recordings, uploadLifetime: settings.http.uploads.resumeLifetime,
                expiredUploads: Counter(label: "therapybridge_uploads_expired_total", factory: metrics), clock: clock,
                logger: logger),
            RetentionSweeper(settings: settings.retention, store: stores.retention, clock: clock, logger: logger),
            attemptLimit(stores),
            EstimateRefresher(queue: stores.queue, clock: clock, logger: logger),
            BacklogReader(stores: stores, metrics: metrics, clock: clock, logger: logger),
        ]
        // It ends after everything that makes transitions.
        services.append(
            WebhookService(
                outbox: stores.outbox, settings: settings.webhooks, transport: webhookTransport,
                wakeUps: webhookWakeUps,
                drainTime: settings.webhookDrainTimeout, clock: clock, metrics: metrics, logger: logger))
        if let worker { services.append(worker.service) }
        let reports = ReportBatcher(progress: stores.progress, logger: logger)
        services.append(reports)
        let entries = LateEntries(
            stores: stores, recordings: recordings, resumeLifetime: settings.http.uploads.resumeLifetime,
            metrics: metrics, clock: clock, logger: logger)
        services.append(entries)
        let dependencies = HTTPDependencies(
            stores: stores, recordings: recordings, entries: entries, reports: reports, work: work, streams: streams,
            authentication: .init(
                tokens: tokens, identityProvider: identityProvider,
                passwordCost: passwordCost),
            monitoring: .init(metrics: metrics) { await readiness.missing() }, webhookRules: settings.webhooks.rules,
            clock: clock)
        let (uploadsEnd, endUploads) = AsyncStream.makeStream(of: Void.self)
        stop.onRequest { [clock, settings] in
            // Unstructured: the handler of a signal cannot wait. The task ends with the process.
            Task {
                try? await clock.sleep(for: settings.uploadDrainTimeout)
                endUploads.yield()
            }
        }
        let http = try HTTPServer(
            settings: settings.http, dependencies: dependencies, uploadsEnd: uploadsEnd, logger: logger,
            onListening: onListening)
        onRoutes(http.routes)
        services.append(http)
        // The last service shuts down first: it ends the streams, and the HTTP server waits for them.
        services.append(streams)
        try await run(services, until: stop)
    }

    /// The error for the operator, which decides the exit status.
    ///
    /// A host or port that this machine does not have is a wrong setting. A port in use may soon be free, for example
    /// when the previous process is about to end.
    private func failure(of error: BindError) -> any Error {
        let (name, port) =
            switch error.endpoint {
            case .http: ("PORT", settings.http.listen.port)
            case .metrics: ("METRICS_PORT", settings.http.listen.metricsPort ?? 0)
            }
        return switch error.code {
        case .hostUnknown: SettingError("HOST", "is not a name or address of this machine")
        case .portForbidden: SettingError(name, "may not be used by this account; choose one above 1023")
        case .portTaken:
            CommandFailure("\(name): \(port) is taken by another program; end it, or choose another port")
        }
    }

    /// Runs the worker without an HTTP server, until SIGTERM or SIGINT.
    ///
    /// - Throws: ``SettingError`` when a setting names something that is missing or unusable; the error of a service
    ///   that failed.
    public func work() async throws { try await underSignals(work(until:)) }

    private func work(until stop: StopRequest) async throws {
        guard try await databaseAnswers(before: stop, issuer: nil) else { return }
        SettingsWarnings.log(settings, serves: false, to: logger)
        let pool = try pool(name: "therapybridge worker")
        let recordings = try await settings.recordings.store()
        let (wakeUps, wakeUp) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        collectMetrics(pool)
        let hints = SessionHints()
        let stores = Stores(pool: pool)
        let worker = try await worker(stores, recordings, wakeUps, hints)
        let readiness = Readiness(
            pool: pool, recordings: recordings, audit: nil, patience: settings.database.timeouts.readiness,
            clock: clock)
        try await run(
            [pool] + metricsServer(readiness, pool, details: worker.details)
                + changes(to: nil, wakeWorker: { wakeUp.yield() }, onHints: hints.wake)
                + [attemptLimit(stores), worker.service],
            until: stop)
    }

    // MARK: - Signals

    private func underSignals(_ body: (StopRequest) async throws -> Void) async throws {
        let stop = StopRequest()
        guard handlesSignals else { return try await body(stop) }
        let reloading = Reloading(settings: settings, parts: reloadable, logger: logger)
        try await ProcessSignals(stop: stop, reload: reloading.run, logger: logger).handled { try await body(stop) }
    }

    /// Waits until the database answers, and checks it.
    ///
    /// - Returns: False if the process has to stop first.
    /// - Throws: ``SettingError`` for what waiting cannot mend.
    private func databaseAnswers(before stop: StopRequest, issuer: String?) async throws -> Bool {
        let start = DatabaseStart(
            database: settings.database, issuer: issuer, databaseClock: databaseClock, clock: clock, logger: logger)
        return try await stop.cancelling { try await start.run() }
    }

    private func run(_ services: [any Service], until stop: StopRequest) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) }, gracefulShutdownSignals: [], logger: logger)
        configuration.maximumGracefulShutdownDuration = settings.shutdownTimeout
        let group = ServiceGroup(configuration: configuration)
        // The request may come before the group runs. The group remembers it. The handler of a signal cannot wait.
        stop.onRequest { Task { await group.triggerGracefulShutdown() } }
        do {
            try await group.run()
        } catch let error as BindError {
            throw failure(of: error)
        }
    }

    // MARK: - Parts

    private func pool(name: String) throws -> PostgresPool {
        try PostgresPool(
            configuration: settings.database.queries(name: name, logger: logger), settings: settings.database.pool,
            clock: databaseClock, observer: DatabaseMetrics(factory: metrics))
    }

    /// What learns of changes, and tells the parts of the process.
    private func changes(
        to hub: ProgressHub?, wakeWorker: @escaping @Sendable () -> Void,
        wakeWebhooks: @escaping @Sendable () -> Void = {},
        onHints: @escaping @Sendable ([SessionID]?) -> Void
    ) throws -> [any Service] {
        func relay(_ source: some ChangeSource) -> any Service {
            ChangeRelay(
                source: source, hub: hub, wakeWorker: wakeWorker, wakeWebhooks: wakeWebhooks, onHints: onHints)
        }
        switch settings.database.changeSource {
        case .notify:
            let listener = try PostgresListener(
                configuration: settings.database.listener(logger: logger), channels: [PostgresChangeSource.channel],
                clock: databaseClock)
            metrics.collect(from: listener)
            return [listener, relay(PostgresChangeSource(listener: listener))]
        case .poll:
            return [relay(PollingChangeSource(interval: settings.http.streams.updateInterval, clock: clock))]
        }
    }

    private func collectMetrics(_ pool: PostgresPool) {
        metrics.collect(from: pool, size: settings.database.poolSize)
        metrics.collectProcess()
        metrics.collect(from: .shared)
    }

    /// This service comes before the services that it measures, and therefore shuts down after them.
    ///
    /// `details` tells about the parts of the process whenever somebody asks.
    private func metricsServer(
        _ readiness: Readiness, _ pool: PostgresPool, details: @escaping @Sendable () -> [ReadinessDetail]
    ) -> [any Service] {
        guard let port = settings.http.listen.metricsPort else { return [] }
        return [
            MetricsServer(port: port, registry: metrics, logger: logger) {
                // Both at the same time: a database that is silent does not keep the caller waiting twice.
                async let missing = readiness.missing()
                // Without an answer of the database, `missing` says so.
                let installation = try? await Installation.readNow(pool)
                return await ReadinessReport(missing: missing, details: (installation?.details ?? []) + details())
            }
        ]
    }

    private func attemptLimit(_ stores: Stores) -> AttemptLimit {
        AttemptLimit(queue: stores.queue, maxAttempts: settings.pipeline.maxAttempts, clock: clock, logger: logger)
    }

    private func worker(
        _ stores: Stores, _ recordings: RecordingStore, _ wakeUps: AsyncStream<Void>, _ hints: SessionHints
    ) async throws -> (service: PipelineWorker, details: @Sendable () -> [ReadinessDetail]) {
        var stages = try PipelineStages(settings.pipeline, program: program)
        let cage = try await WorkerCage(enclosing: &stages, settings, logger: logger)
        cage.record(in: metrics)
        let programs = WorkerPrograms(of: stages)
        programs.logFaults(to: logger)
        let tools = PipelineTools(
            stores: stores, recordings: recordings, stages: stages, metrics: metrics, hints: hints, clock: clock.erased,
            logger: logger)
        let process = ProcessInfo.processInfo
        let worker = PipelineWorker(
            name: "\(process.hostName)/\(process.processIdentifier)", tools: tools, wakeUps: wakeUps)
        return (
            worker,
            {
                let condition = worker.condition
                let work = ReadinessDetail(name: "worker", isGood: condition.isGood, text: condition.text)
                return cage.details + programs.details + [work]
            }
        )
    }
}

extension MonotonicClock {
    /// The same clock for the pipeline, which only sleeps and measures, and does not depend on `Polling`.
    fileprivate var erased: any Clock<Duration> { self }
}

extension MigrationStatus {
    var missingFiles: String { missing.map(\.filename).joined(separator: ", ") }
}
