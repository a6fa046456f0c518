import Domain
import Hummingbird
import HummingbirdCore
public import Logging
import Metrics
import NIOCore
import Polling
public import ServiceLifecycle
import Store

/// The HTTP server: router, middleware and server sockets.
public struct HTTPServer: Service {
    /// Every route, as the documentation writes it: `GET /api/sessions/{id}`.
    package let routes: [String]

    private let responder: RouterResponder<AppContext>
    private let opener: StreamOpener
    private let settings: HTTPSettings
    private let uploadsEnd: AsyncStream<Void>
    private let dateHeader = DateHeader()
    private let logger: Logger
    private let onListening: @Sendable (Int) async -> Void

    /// A server that is ready to run.
    ///
    /// - Parameters:
    ///   - settings: How the server behaves, and where it listens.
    ///   - dependencies: What the server works with.
    ///   - uploadsEnd: Tells that the server is about to go. The uploads that are still under way then get their answer.
    ///   - logger: Takes the log.
    ///   - onListening: Called with the port once the server accepts connections.
    /// - Throws: The error of the page's template, if the page in the binary is broken.
    public init(
        settings: HTTPSettings, dependencies: HTTPDependencies, uploadsEnd: AsyncStream<Void>, logger: Logger,
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
            head: StreamHead(securityHeaders, dateHeader), trustedProxies: settings.trustedProxies,
            clock: dependencies.clock)
        self.settings = settings
        self.uploadsEnd = uploadsEnd
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
        let sockets = try listen()
        let framework = FrameworkConnections(frameworkChannel, logger: logger)
        // Unstructured: it runs beside the connections, and ends before this method returns.
        let uploadsEnder = Task { [uploadsEnd] in
            for await _ in uploadsEnd { framework.endUploads() }
        }
        defer { uploadsEnder.cancel() }
        let acceptor = try Acceptor(
            sockets, limit: ConnectionLimit(settings.requests.maximumConnections), opener: opener, framework: framework,
            clock: opener.clock, logger: logger)
        let result: Result<Void, any Error>
        do {
            try await withTaskCancellationHandler {
                try await withGracefulShutdownHandler {
                    // A shutdown may have begun before the server did.
                    if try await acceptor.start() { await onListening(sockets[0].port) }
                    await framework.run()
                } onGracefulShutdown: {
                    acceptor.shutDown()
                }
            } onCancel: {
                acceptor.shutDown()
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await acceptor.end()
        try result.get()
    }

    /// Listens on the address of the settings and, if it can, on the loopback address of the other IP version.
    private func listen() throws -> [ListeningSocket] {
        let listen = settings.listen
        let socket = try self.listen(on: listen.address, port: listen.port)
        guard let other = listen.otherLoopbackAddress else { return [socket] }
        do {
            // The port is known only now if the setting is 0.
            return [socket, try self.listen(on: other, port: socket.port)]
        } catch let error as BindError {
            logger.warning(
                "not listening on one of the two loopback addresses",
                metadata: ["address": "\(other)", "port": "\(socket.port)", "reason": "\(error.code)"])
            return [socket]
        }
    }

    private func listen(on host: String, port: Int) throws -> ListeningSocket {
        do {
            let socket =
                switch try SocketAddress.makeAddressResolvingHost(host, port: port) {
                case .v4(let address): try ListeningSocket(address.address)
                case .v6(let address): try ListeningSocket(address.address)
                case .unixDomainSocket: preconditionFailure("a host and a port are an address of the internet")
                }
            logger.info("Server started and listening on \(host):\(socket.port)")
            return socket
        } catch {
            throw BindError(error, of: .http) ?? error
        }
    }

    /// Sets up the connections that the framework answers.
    private var frameworkChannel: HTTP1Channel {
        let pace = RequestPace.Limits(
            headTime: TimeAmount(settings.requests.headTimeout), bodyTime: TimeAmount(settings.requests.bodyTimeout),
            uploadTime: TimeAmount(settings.uploads.bodyTimeout))
        return HTTP1Channel(
            responder: FrameworkResponder.responder(responder, date: dateHeader, logger: logger),
            configuration: .init(
                additionalChannelHandlers: [ConnectionHandler(), PaceHandler(limits: pace)],
                // The framework counts a pause in the body of an upload as idle, too.
                idleTimeout: TimeAmount(max(Acceptor.idleTimeout, settings.uploads.bodyTimeout + .seconds(15))),
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 16 * 1024, maxHeaderListSize: 32 * 1024, maxHeaderFieldCount: 100)))
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
            JSONCompression()
            TusVersion()
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
        let uploadMetrics = UploadMetrics(metrics: metrics)
        let upload = UploadRoute(
            recorder: recorder, users: stores.users, sessions: stores.sessions, progress: stores.progress,
            recordings: dependencies.recordings, hub: dependencies.streams.hub, settings: settings.uploads,
            metrics: uploadMetrics, charges: stores.charges, entries: dependencies.entries, clock: dependencies.clock,
            rests: BodyRests()
        )
        upload.add(to: &table)
        ResumableUploadRoutes(form: upload, uploads: stores.uploads, metrics: uploadMetrics).add(to: &table)
        SessionRoutes(
            gate: gate, recorder: recorder, sessions: stores.sessions, progress: stores.progress, users: stores.users,
            recordings: dependencies.recordings
        ).add(to: &table)
        ProcessingRoutes(gate: gate, sessions: stores.sessions, progress: stores.progress).add(to: &table)
        TranscriptRoute(gate: gate, sessions: stores.sessions).add(to: &table)
        SignInRoutes(recorder: recorder, users: stores.users).add(to: &table)
        UserRoutes(recorder: recorder, users: stores.users, passwords: passwords).add(to: &table)
        AssignmentRoutes(recorder: recorder, users: stores.users).add(to: &table)
        PeopleRoutes(recorder: recorder, users: stores.users).add(to: &table)
        PatientDataRoutes(
            recorder: recorder, users: stores.users, sessions: stores.sessions, progress: stores.progress,
            log: stores.audit, recordings: dependencies.recordings, clock: dependencies.clock
        ).add(to: &table)
        RecordingRoute(
            gate: gate, users: stores.users, sessions: stores.sessions, recordings: dependencies.recordings,
            clock: dependencies.clock
        ).add(to: &table)
        ClaimRoute(
            recorder: recorder, queue: stores.queue, signals: dependencies.work, clock: dependencies.clock,
            waiting: Meter(label: "therapybridge_pipeline_claims_waiting", factory: metrics)
        ).add(to: &table)
        LeaseRoutes(gate: gate, queue: stores.queue).add(to: &table)
        let corrections = CorrectionRoutes(gate: gate, sessions: stores.sessions)
        corrections.add(to: &table)
        HistoryRoute(gate: gate, sessions: stores.sessions).add(to: &table)
        ResultRoutes(
            gate: gate, queue: stores.queue, users: stores.users, corrections: corrections,
            largeBodyPace: LargeBodies.Pace(time: settings.requests.bodyTimeout, clock: dependencies.clock)
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
        ProbeRoute(recorder: recorder, sessions: stores.sessions).add(to: &table)
        WebhookRoutes(recorder: recorder, webhooks: stores.webhooks, rules: dependencies.webhookRules).add(to: &table)
        try PageRoutes(settings: settings).add(to: &table)
        DescriptionRoutes().add(to: &table)
        table.finish()
        return (router, table.routes.map(\.description))
    }
}
