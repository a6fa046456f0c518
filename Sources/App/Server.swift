import Credentials
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
    /// How long the database is waited for; a test on a busy machine waits longer.
    public var databaseTimeouts = DatabaseTimeouts()

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
        let identityProvider = try await identityProvider()
        try await checkSchema()
        let pool = try pool(name: "therapybridge")
        let recordings = try await recordingStore()
        let progress = ProgressStore(pool: pool)
        let sessions = SessionStore(pool: pool)
        let tickets = TicketStore(pool: pool)
        let attempts = AttemptStore(pool: pool)
        let charges = UploadChargeStore(pool: pool)
        let signIns = SignInStore(pool: pool)
        let streams = try StreamEngine(
            reader: progress, settings: settings.http, clock: clock, metrics: metrics, logger: logger)
        let (calls, call) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let listener = try listener()
        collectMetrics(pool, listener)

        var services: [any Service] = [pool]
        services += metricsServer()
        services += [
            listener,
            ChangeRelay(
                source: PostgresChangeSource(listener: listener), hub: streams.hub, callWorker: { call.yield() }),
            Janitor(
                progress: progress, sessions: sessions, signIns: signIns, tickets: tickets, attempts: attempts,
                charges: charges, recordings: recordings, clock: clock, logger: logger),
        ]
        if runsWorker {
            services.append(try worker(pool, progress, sessions, recordings, calls))
        }
        let reports = ReportBatcher(progress: progress, clock: clock, logger: logger)
        services.append(reports)
        let dependencies = HTTPDependencies(
            users: UserStore(pool: pool), signIns: signIns, tickets: tickets, attempts: attempts,
            audit: AuditStore(pool: pool), charges: charges, sessions: sessions, progress: progress,
            reports: reports, recordings: recordings, passwords: Passwords(),
            tokens: await AccessTokens(
                secret: settings.jwtSecret, previousSecrets: settings.previousJWTSecrets),
            identityProvider: identityProvider, streams: streams, clock: clock, metrics: metrics,
            missing: { await Self.missing(pool) })
        let http = try HTTPServer(
            host: settings.host, port: settings.port, settings: settings.http, dependencies: dependencies,
            logger: logger, onListening: onListening)
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
    private func failure(of error: ListenError) -> any Error {
        let (name, port) =
            switch error.listener {
            case .http: ("PORT", settings.port)
            case .metrics: ("METRICS_PORT", settings.metricsPort ?? 0)
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
        let recordings = try await recordingStore()
        let (calls, call) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let listener = try listener()
        collectMetrics(pool, listener)
        try await runUntilSignal(
            [pool] + metricsServer() + [
                listener,
                ChangeRelay(source: PostgresChangeSource(listener: listener), hub: nil, callWorker: { call.yield() }),
                try worker(pool, ProgressStore(pool: pool), SessionStore(pool: pool), recordings, calls),
            ])
    }

    private func runUntilSignal(_ services: [any Service]) async throws {
        var configuration = ServiceGroupConfiguration(
            services: services.map { .init(service: $0) },
            gracefulShutdownSignals: handlesSignals ? [.sigterm, .sigint] : [], logger: logger)
        configuration.maximumGracefulShutdownDuration = settings.shutdownTimeout
        do {
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as ListenError {
            throw failure(of: error)
        }
    }

    // MARK: - Parts

    private func configuration(_ url: String, name: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(
            connectionString: url, pooler: settings.isBehindTransactionPooler ? .transaction : .off,
            applicationName: name, connectTimeout: databaseTimeouts.connect, queryTimeout: databaseTimeouts.query,
            logger: logger)
    }

    private func pool(name: String) throws -> PostgresPool {
        try PostgresPool(
            configuration: try configuration(settings.databaseURL, name: name),
            settings: PostgresPoolConfiguration(size: settings.poolSize, waitTimeout: databaseTimeouts.lease))
    }

    private func identityProvider() async throws -> IdentityProvider? {
        guard let provider = settings.identityProvider else { return nil }
        do {
            return try await IdentityProvider(
                jwks: provider.jwks, issuer: provider.issuer, audience: provider.audience)
        } catch let error as ProviderKeysError {
            throw SettingError("JWT_JWKS_FILE", error.description)
        }
    }

    private func listener() throws -> PostgresListener {
        try PostgresListener(
            configuration: try PostgresConfiguration(
                connectionString: settings.databaseListenURL, applicationName: "therapybridge listener", logger: logger),
            channels: [PostgresChangeSource.channel])
    }

    private func collectMetrics(_ pool: PostgresPool, _ listener: PostgresListener) {
        metrics.collect(from: pool, size: settings.poolSize)
        metrics.collect(from: listener)
        metrics.collectProcess()
    }

    /// Stands before what is measured, and so is shut down after it.
    private func metricsServer() -> [any Service] {
        settings.metricsPort.map { [MetricsServer(port: $0, registry: metrics, logger: logger)] } ?? []
    }

    private func recordingStore() async throws -> RecordingStore {
        let recordings = RecordingStore(directory: settings.uploadDirectory, keys: settings.recordingKeys)
        do {
            try await recordings.prepare()
        } catch {
            throw SettingError("UPLOAD_DIR", "cannot be made or used; name a folder that this account may write to")
        }
        return recordings
    }

    private func worker(
        _ pool: PostgresPool, _ progress: ProgressStore, _ sessions: SessionStore, _ recordings: RecordingStore,
        _ calls: AsyncStream<Void>
    ) throws -> PipelineWorker {
        PipelineWorker(
            name: "\(ProcessInfo.processInfo.hostName)/\(ProcessInfo.processInfo.processIdentifier)",
            queue: PipelineStore(pool: pool), progress: progress, sessions: sessions, recordings: recordings,
            stages: try settings.stages(), calls: calls, metrics: metrics, clock: clock.erased, logger: logger)
    }

    // MARK: - Checks

    /// Refuses to start on a schema that lacks something.
    private func checkSchema() async throws {
        let status: MigrationStatus
        do {
            status = try await PostgresConnection.withConnection(
                try configuration(settings.databaseURL, name: "therapybridge")
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

extension Settings {
    var http: HTTPSettings {
        HTTPSettings(
            publicURL: publicURL, allowedOrigins: allowedOrigins, signInLimits: signInLimits,
            trustedProxies: trustedProxies, accessLifetime: accessLifetime,
            refreshLifetime: refreshLifetime, heartbeatInterval: heartbeatInterval,
            maximumStreamLifetime: maximumStreamLifetime, updateInterval: updateInterval,
            // The HTTP server and the pool are shut down after the streams, and need some of the time.
            drainTimeout: shutdownTimeout * 0.7, maximumStreams: maximumStreams,
            maximumStreamsPerUser: maximumStreamsPerUser, maximumUploadBytes: maximumUploadBytes,
            uploadLimits: uploadLimits,
            headTimeout: headTimeout, bodyTimeout: bodyTimeout, maximumConnections: maximumConnections)
    }

    func stages() throws(SettingError) -> PipelineStages {
        PipelineStages(
            transcribe: try stage(transcribeCommand, "PIPELINE_TRANSCRIBE_COMMAND", "transcription"),
            notes: try notesCommand.map { command throws(SettingError) in
                try stage(command, "PIPELINE_NOTES_COMMAND", "notes")
            },
            workDirectory: try preparedWorkDirectory())
    }

    private func preparedWorkDirectory() throws(SettingError) -> String {
        guard let workDirectory else { return FileManager.default.temporaryDirectory.path }
        do {
            try FileManager.default.createDirectory(
                atPath: workDirectory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw SettingError("PIPELINE_WORK_DIR", "cannot be made; name a folder that this account may write to")
        }
        guard FileManager.default.isWritableFile(atPath: workDirectory) else {
            throw SettingError("PIPELINE_WORK_DIR", "cannot be used; name a folder that this account may write to")
        }
        // A command may have another working directory.
        return URL(filePath: workDirectory).standardizedFileURL.path(percentEncoded: false)
    }

    private func stage(_ command: String, _ name: String, _ title: String) throws(SettingError) -> StageCommand {
        do {
            var stage = try StageCommand(command, setting: name, title: title)
            // The default names this program, wherever it lies.
            stage.programs["therapybridge"] = Bundle.main.executablePath ?? CommandLine.arguments[0]
            return stage
        } catch {
            throw SettingError(name, "cannot be read as a command: \(error)")
        }
    }
}
