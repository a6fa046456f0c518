public import Credentials
import Domain
import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore
public import Polling
import Progress
public import Prometheus
public import Recordings
public import ServiceLifecycle
public import Store

/// What the HTTP side of the server works with.
public struct HTTPDependencies: Sendable {
    /// The database.
    public var stores: Stores
    /// Gathers progress reports; has to run for as long as the server does.
    public var reports: ReportBatcher
    /// The recordings on disk.
    public var recordings: RecordingStore
    /// Hashes and verifies passwords.
    public var passwords = Passwords()
    /// Issues and verifies access tokens.
    public var tokens: AccessTokens
    /// Verifies the tokens of the site's own identity provider; nil when there is none.
    public var identityProvider: IdentityProvider?
    /// The open streams.
    public var streams: StreamEngine
    /// The clock of all that waits or is measured.
    public var clock: any MonotonicClock
    /// Takes what is counted, and renders it.
    public var metrics: PrometheusRegistry
    /// What keeps the server from being ready, in words for the log; nil when nothing does.
    public var missing: @Sendable () async -> String?

    /// Gathers what the HTTP side works with.
    public init(
        stores: Stores, reports: ReportBatcher, recordings: RecordingStore, tokens: AccessTokens,
        identityProvider: IdentityProvider?, streams: StreamEngine, clock: any MonotonicClock,
        metrics: PrometheusRegistry,
        missing: @escaping @Sendable () async -> String?
    ) {
        self.stores = stores
        self.reports = reports
        self.recordings = recordings
        self.tokens = tokens
        self.identityProvider = identityProvider
        self.streams = streams
        self.clock = clock
        self.metrics = metrics
        self.missing = missing
    }
}

/// The HTTP server: router, middleware and listening socket.
public struct HTTPServer: Service {
    /// Every route that is registered, as the documentation writes it: `GET /api/sessions/{id}`.
    package let routes: [String]

    private let application: Application<RouterResponder<AppContext>>

    /// A server that is ready to run.
    ///
    /// - Parameters:
    ///   - settings: How it behaves, and where it listens.
    ///   - dependencies: What it works with.
    ///   - logger: Takes the log.
    ///   - onListening: Called with the port once connections are accepted.
    /// - Throws: When the page that the binary carries is broken.
    public init(
        settings: HTTPSettings, dependencies: HTTPDependencies, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void
    ) throws {
        let router: Router<AppContext>
        (router, routes) = try Self.router(settings: settings, dependencies: dependencies)
        let pace = RequestPace.Limits(
            headTime: TimeAmount(settings.requests.headTimeout), bodyTime: TimeAmount(settings.requests.bodyTimeout))
        application = Application(
            router: router,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [ConnectionHandler(), PaceHandler(limits: pace)],
                    idleTimeout: .seconds(75),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024, maxHeaderFieldCount: 100))),
            configuration: ApplicationConfiguration(
                address: .hostname(settings.listen.host, port: settings.listen.port), serverName: nil, backlog: 4096,
                // A connection too many waits in the backlog. Streams have left, and do not count.
                availableConnectionsDelegate: MaximumAvailableConnections(
                    settings.requests.maximumConnections, logger: logger)),
            onServerRunning: { channel in await onListening(channel.localAddress?.port ?? settings.listen.port) },
            logger: logger)
    }

    /// Serves until the graceful shutdown.
    ///
    /// - Throws: ``BindError`` when it cannot accept connections where it was told to.
    public func run() async throws {
        try await BindError.naming(.http) { try await application.run() }
    }

    private static func router(
        settings: HTTPSettings, dependencies: HTTPDependencies
    ) throws -> (Router<AppContext>, routes: [String]) {
        let router = Router(context: AppContext.self)
        let stores = dependencies.stores
        router.addMiddleware {
            RequestMetrics(metrics: dependencies.metrics, clock: dependencies.clock)
            RequestLog(clock: dependencies.clock)
            SecurityHeaders(isReachedByTLS: settings.isReachedByTLS)
            CrossOrigin(settings: settings)
            ErrorMiddleware()
            Authenticator(
                tokens: dependencies.tokens, provider: dependencies.identityProvider, signIns: stores.signIns,
                settings: settings)
        }
        let gate = SessionGate(progress: stores.progress)
        let recorder = AccessRecorder(log: stores.audit)
        let tickets = TicketReader(tickets: stores.tickets)
        var table = RouteTable(router: router, userLoader: UserLoader(users: stores.users), ticketReader: tickets)
        let attemptLimits = AttemptLimits(attempts: stores.attempts, settings: settings)
        AuthenticationRoutes(
            users: stores.users, signIns: stores.signIns, passwords: dependencies.passwords,
            tokens: dependencies.tokens,
            settings: settings, limits: attemptLimits,
            signOut: SignOut(
                signIns: stores.signIns, tokens: dependencies.tokens, provider: dependencies.identityProvider,
                settings: settings, limits: attemptLimits),
            metrics: SignInMetrics(metrics: dependencies.metrics)
        ).add(to: &table)
        UploadRoute(
            recorder: recorder, users: stores.users, sessions: stores.sessions, progress: stores.progress,
            recordings: dependencies.recordings, hub: dependencies.streams.hub, settings: settings.uploads,
            metrics: UploadMetrics(metrics: dependencies.metrics), charges: stores.charges, clock: dependencies.clock
        ).add(to: &table)
        SessionRoutes(
            gate: gate, recorder: recorder, sessions: stores.sessions, progress: stores.progress, users: stores.users,
            recordings: dependencies.recordings
        ).add(to: &table)
        UserRoutes(recorder: recorder, users: stores.users, passwords: dependencies.passwords).add(to: &table)
        AssignmentRoutes(recorder: recorder, users: stores.users).add(to: &table)
        RecordingRoute(gate: gate, sessions: stores.sessions, recordings: dependencies.recordings).add(to: &table)
        ReportRoutes(gate: gate, recorder: recorder, users: stores.users, batcher: dependencies.reports)
            .add(to: &table)
        StreamRoute(engine: dependencies.streams).add(to: &table)
        WebSocketRoute(engine: dependencies.streams, tickets: tickets, settings: settings).add(to: &table)
        TicketRoutes(gate: gate, recorder: recorder, tickets: stores.tickets).add(to: &table)
        HealthRoutes(missing: dependencies.missing).add(to: &table)
        MetricsRoute(recorder: recorder, registry: dependencies.metrics).add(to: &table)
        AuditRoute(recorder: recorder, log: stores.audit).add(to: &table)
        try PageRoutes(settings: settings).add(to: &table)
        DescriptionRoutes().add(to: &table)
        table.finish()
        return (router, table.routes.map(\.description))
    }
}
