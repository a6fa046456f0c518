import Domain
import Hummingbird
import HummingbirdCore
public import Logging
import NIOCore
public import ServiceLifecycle
import Store

/// The HTTP server: router, middleware and server sockets.
public struct HTTPServer: Service {
    /// Every route, as the documentation writes it: `GET /api/sessions/{id}`.
    package let routes: [String]

    private let responder: RouterResponder<AppContext>
    private let opener: StreamOpener
    private let settings: HTTPSettings
    private let connections: ConnectionLimit
    private let logger: Logger
    private let onListening: @Sendable (Int) async -> Void

    /// A server that is ready to run.
    ///
    /// - Parameters:
    ///   - settings: How the server behaves, and where it listens.
    ///   - dependencies: What the server works with.
    ///   - logger: Takes the log.
    ///   - onListening: Called with the port once the server accepts connections.
    /// - Throws: The error of the page's template, if the page in the binary is broken.
    public init(
        settings: HTTPSettings, dependencies: HTTPDependencies, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void
    ) throws {
        let router: Router<AppContext>
        let requestMetrics = RequestMetrics(metrics: dependencies.monitoring.metrics, clock: dependencies.clock)
        let securityHeaders = SecurityHeaders(isReachedByTLS: settings.isReachedByTLS)
        (router, routes) = try Self.router(
            settings: settings, dependencies: dependencies, requestMetrics: requestMetrics,
            securityHeaders: securityHeaders)
        responder = router.buildResponder()
        opener = StreamOpener(
            engine: dependencies.streams, tokens: dependencies.authentication.tokens, metrics: requestMetrics,
            head: StreamHead(securityHeaders), trustedProxies: settings.trustedProxies, clock: dependencies.clock)
        connections = ConnectionLimit(settings.requests.maximumConnections)
        self.settings = settings
        self.logger = logger
        self.onListening = onListening
    }

    /// Serves until the graceful shutdown.
    ///
    /// On a loopback address the server also listens on the loopback address of the other IP version. If it cannot, it logs a
    /// warning and serves on the first address alone.
    ///
    /// - Throws: ``BindError`` when the server cannot listen on the address of the settings.
    public func run() async throws {
        let listen = settings.listen
        guard let other = listen.otherLoopbackAddress else {
            return try await serve(on: listen.address, port: listen.port, onListening: onListening)
        }
        let (ports, bound) = AsyncStream.makeStream(of: Int.self)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { bound.finish() }
                try await serve(on: listen.address, port: listen.port) { bound.yield($0) }
            }
            group.addTask {
                // The port is known only now if the setting is 0.
                guard let port = await ports.first(where: { _ in true }) else { return }
                try await serve(onOther: other, port: port)
            }
            try await group.waitForAll()
        }
    }

    /// Serves on the second loopback address, or says that it does not.
    private func serve(onOther address: String, port: Int) async throws {
        do {
            try await serve(on: address, port: port, onListening: onListening)
        } catch let error as BindError {
            logger.warning(
                "not listening on one of the two loopback addresses",
                metadata: ["address": "\(address)", "port": "\(port)", "reason": "\(error.code)"])
            await onListening(port)
        } catch  where Task.isShuttingDownGracefully {
            // The shutdown came between the two sockets.
        }
    }

    private func serve(
        on address: String, port: Int, onListening: @escaping @Sendable (Int) async -> Void
    ) async throws {
        let pace = RequestPace.Limits(
            headTime: TimeAmount(settings.requests.headTimeout), bodyTime: TimeAmount(settings.requests.bodyTimeout))
        let tasks = FrameworkTasks()
        let application = Application(
            responder: responder,
            server: HTTPServerBuilder { [opener, tasks] responder in
                OpeningChannel(
                    opener: opener,
                    server: HTTP1Channel(
                        responder: responder,
                        configuration: .init(
                            additionalChannelHandlers: [ConnectionHandler(), PaceHandler(limits: pace)],
                            idleTimeout: .seconds(75),
                            httpDecoderConfiguration: .init(
                                maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024,
                                maxHeaderFieldCount: 100))),
                    tasks: tasks)
            },
            configuration: ApplicationConfiguration(
                address: .hostname(address, port: port), serverName: nil, backlog: 4096,
                availableConnectionsDelegate: connections),
            onServerRunning: { [connections] channel in
                // After a restart all clients connect at once. The kernel drops what does not fit into the backlog, and a client
                // waits a second before it tries again.
                try? await channel.setOption(.maxMessagesPerRead, value: 256).get()
                connections.add(channel)
                await onListening(channel.localAddress?.port ?? port)
            },
            logger: logger)
        try await tasks.run(logger) {
            try await BindError.naming(.http) { try await application.run() }
        }
    }
}

extension HTTPServer {
    private static func router(
        settings: HTTPSettings, dependencies: HTTPDependencies, requestMetrics: RequestMetrics,
        securityHeaders: SecurityHeaders
    ) throws -> (Router<AppContext>, routes: [String]) {
        let router = Router(context: AppContext.self)
        let (stores, metrics) = (dependencies.stores, dependencies.monitoring.metrics)
        let (tokens, provider) = (dependencies.authentication.tokens, dependencies.authentication.identityProvider)
        let passwords = dependencies.authentication.passwords
        let limits = RequestLimits(settings.requests, clock: dependencies.clock, metrics: metrics)
        router.addMiddleware {
            requestMetrics
            RequestLog(clock: dependencies.clock)
            securityHeaders
            CrossOrigin(settings: settings)
            ErrorMiddleware()
            RequestTarget()
            Preflight(settings: settings)
            Authenticator(tokens: tokens, provider: provider, signIns: stores.signIns, settings: settings)
            RequestLimiter(limits: limits)
        }
        let gate = SessionGate(progress: stores.progress)
        let recorder = AccessRecorder(log: stores.audit)
        let tickets = TicketReader(tickets: stores.tickets)
        var table = RouteTable(router: router, userLoader: UserLoader(users: stores.users), ticketReader: tickets)
        let attemptLimits = AttemptLimits(attempts: stores.attempts, settings: settings)
        AuthenticationRoutes(
            passwordCheck: PasswordCheck(users: stores.users, passwords: passwords), signIns: stores.signIns,
            tokens: tokens, settings: settings, limits: attemptLimits,
            signOut: SignOut(
                signIns: stores.signIns, tokens: tokens, provider: provider, settings: settings, limits: attemptLimits),
            metrics: SignInMetrics(metrics: metrics)
        ).add(to: &table)
        UploadRoute(
            recorder: recorder, users: stores.users, sessions: stores.sessions, progress: stores.progress,
            recordings: dependencies.recordings, hub: dependencies.streams.hub, settings: settings.uploads,
            metrics: UploadMetrics(metrics: metrics), charges: stores.charges, clock: dependencies.clock
        ).add(to: &table)
        SessionRoutes(
            gate: gate, recorder: recorder, sessions: stores.sessions, progress: stores.progress, users: stores.users,
            recordings: dependencies.recordings
        ).add(to: &table)
        SignInRoutes(recorder: recorder, users: stores.users).add(to: &table)
        UserRoutes(recorder: recorder, users: stores.users, passwords: passwords).add(to: &table)
        AssignmentRoutes(recorder: recorder, users: stores.users).add(to: &table)
        RecordingRoute(
            gate: gate, sessions: stores.sessions, recordings: dependencies.recordings, clock: dependencies.clock
        ).add(to: &table)
        ReportRoutes(gate: gate, recorder: recorder, users: stores.users, batcher: dependencies.reports)
            .add(to: &table)
        StreamRoute(engine: dependencies.streams).add(to: &table)
        WebSocketRoute(engine: dependencies.streams, tickets: tickets, settings: settings, limits: limits).add(
            to: &table)
        TicketRoutes(gate: gate, recorder: recorder, tickets: stores.tickets).add(to: &table)
        HealthRoutes(missing: dependencies.monitoring.missing).add(to: &table)
        MetricsRoute(recorder: recorder, registry: metrics).add(to: &table)
        AuditRoute(recorder: recorder, log: stores.audit).add(to: &table)
        try PageRoutes(settings: settings).add(to: &table)
        DescriptionRoutes().add(to: &table)
        table.finish()
        return (router, table.routes.map(\.description))
    }
}
