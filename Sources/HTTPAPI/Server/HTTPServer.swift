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
    /// The accounts.
    public var users: UserStore
    /// The sign-ins.
    public var signIns: SignInStore
    /// The tickets for streams.
    public var tickets: TicketStore
    /// What failed attempts to sign in have used up.
    public var attempts: AttemptStore
    /// The audit log.
    public var audit: AuditStore
    /// What users have uploaded.
    public var charges: UploadChargeStore
    /// The sessions.
    public var sessions: SessionStore
    /// The progress of sessions.
    public var progress: ProgressStore
    /// Has to run for as long as the server does.
    public var reports: ReportBatcher
    /// The recordings.
    public var recordings: RecordingStore
    /// Hashes passwords.
    public var passwords: Passwords
    /// Issues and verifies access tokens.
    public var tokens: AccessTokens
    /// Whose tokens count beside our own; nil when nobody's do.
    public var identityProvider: IdentityProvider?
    /// The hub and the open streams.
    public var streams: StreamEngine
    /// The clock of all that waits or is measured.
    public var clock: any MonotonicClock
    /// Takes what is counted, and renders it.
    public var metrics: PrometheusRegistry
    /// What keeps the server from being ready, in words for the log; nil when nothing does.
    public var missing: @Sendable () async -> String?

    /// All that the HTTP side works with.
    public init(
        users: UserStore, signIns: SignInStore, tickets: TicketStore, attempts: AttemptStore, audit: AuditStore,
        charges: UploadChargeStore, sessions: SessionStore, progress: ProgressStore, reports: ReportBatcher,
        recordings: RecordingStore, passwords: Passwords,
        tokens: AccessTokens, identityProvider: IdentityProvider?,
        streams: StreamEngine, clock: any MonotonicClock, metrics: PrometheusRegistry,
        missing: @escaping @Sendable () async -> String?
    ) {
        self.users = users
        self.signIns = signIns
        self.tickets = tickets
        self.attempts = attempts
        self.audit = audit
        self.charges = charges
        self.sessions = sessions
        self.progress = progress
        self.reports = reports
        self.recordings = recordings
        self.passwords = passwords
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
    ///   - host: The name or address where to listen.
    ///   - port: The port; 0 takes a free one.
    ///   - settings: How it behaves.
    ///   - dependencies: What it works with.
    ///   - logger: Takes the log.
    ///   - onListening: Called with the port once connections are accepted.
    /// - Throws: When the page that the binary carries is broken.
    public init(
        host: String, port: Int, settings: HTTPSettings, dependencies: HTTPDependencies, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void
    ) throws {
        let router: Router<AppContext>
        (router, routes) = try Self.router(settings: settings, dependencies: dependencies)
        let pace = RequestPace.Limits(
            headTime: TimeAmount(settings.headTimeout), bodyTime: TimeAmount(settings.bodyTimeout))
        application = Application(
            router: router,
            server: .http1(
                configuration: .init(
                    additionalChannelHandlers: [ConnectionHandler(), PaceHandler(limits: pace)],
                    idleTimeout: .seconds(75),
                    httpDecoderConfiguration: .init(
                        maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024, maxHeaderFieldCount: 100))),
            configuration: ApplicationConfiguration(
                address: .hostname(host, port: port), serverName: nil, backlog: 4096,
                // A connection too many waits in the backlog. Streams have left, and do not count.
                availableConnectionsDelegate: MaximumAvailableConnections(settings.maximumConnections, logger: logger)),
            onServerRunning: { channel in await onListening(channel.localAddress?.port ?? port) },
            logger: logger)
    }

    /// Serves until the graceful shutdown.
    ///
    /// - Throws: ``ListenError`` when it cannot accept connections where it was told to.
    public func run() async throws {
        try await ListenError.naming(.http) { try await application.run() }
    }

    private static func router(
        settings: HTTPSettings, dependencies: HTTPDependencies
    ) throws -> (Router<AppContext>, routes: [String]) {
        let router = Router(context: AppContext.self)
        router.addMiddleware {
            RequestMetrics(metrics: dependencies.metrics, clock: dependencies.clock)
            RequestLog(clock: dependencies.clock)
            SecurityHeaders(isReachedByTLS: settings.isReachedByTLS)
            CrossOrigin(settings: settings)
            ErrorMiddleware()
            Authenticator(
                tokens: dependencies.tokens, provider: dependencies.identityProvider, signIns: dependencies.signIns,
                settings: settings)
        }
        let gate = SessionGate(progress: dependencies.progress)
        let recorder = AccessRecorder(log: dependencies.audit)
        let tickets = TicketReader(tickets: dependencies.tickets)
        var table = RouteTable(
            router: router, userLoader: UserLoader(users: dependencies.users), ticketReader: tickets)
        let attemptLimits = AttemptLimits(attempts: dependencies.attempts, settings: settings)
        AuthenticationRoutes(
            users: dependencies.users, signIns: dependencies.signIns, passwords: dependencies.passwords,
            tokens: dependencies.tokens, settings: settings, limits: attemptLimits,
            signOut: SignOut(
                signIns: dependencies.signIns, tokens: dependencies.tokens, provider: dependencies.identityProvider,
                settings: settings, limits: attemptLimits),
            metrics: SignInMetrics(metrics: dependencies.metrics)
        ).add(to: &table)
        UploadRoute(
            recorder: recorder, users: dependencies.users, sessions: dependencies.sessions,
            progress: dependencies.progress, recordings: dependencies.recordings, hub: dependencies.streams.hub,
            settings: settings,
            metrics: UploadMetrics(metrics: dependencies.metrics), charges: dependencies.charges,
            clock: dependencies.clock
        ).add(to: &table)
        SessionRoutes(
            gate: gate, recorder: recorder, sessions: dependencies.sessions, progress: dependencies.progress,
            users: dependencies.users, recordings: dependencies.recordings
        ).add(to: &table)
        UserRoutes(recorder: recorder, users: dependencies.users, passwords: dependencies.passwords).add(to: &table)
        AssignmentRoutes(recorder: recorder, users: dependencies.users).add(to: &table)
        RecordingRoute(gate: gate, sessions: dependencies.sessions, recordings: dependencies.recordings).add(to: &table)
        ReportRoutes(gate: gate, recorder: recorder, users: dependencies.users, batcher: dependencies.reports)
            .add(to: &table)
        StreamRoute(engine: dependencies.streams, settings: settings).add(to: &table)
        WebSocketRoute(engine: dependencies.streams, tickets: tickets, settings: settings).add(to: &table)
        TicketRoutes(gate: gate, recorder: recorder, tickets: dependencies.tickets).add(to: &table)
        HealthRoutes(missing: dependencies.missing).add(to: &table)
        MetricsRoute(recorder: recorder, registry: dependencies.metrics).add(to: &table)
        AuditRoute(recorder: recorder, log: dependencies.audit).add(to: &table)
        try PageRoutes(settings: settings).add(to: &table)
        DescriptionRoutes().add(to: &table)
        table.finish()
        return (router, table.routes.map(\.description))
    }
}
