import Hummingbird
public import Logging
public import Prometheus
public import ServiceLifecycle

/// A second server, on 127.0.0.1 only, that serves the metrics without a token.
///
/// Prometheus, or its agent, reads it from the same machine.
public struct MetricsServer: Service {
    private let application: Application<RouterResponder<AppContext>>

    /// A server for a port of 127.0.0.1.
    ///
    /// - Parameters:
    ///   - port: The port.
    ///   - registry: The metrics that it renders.
    ///   - logger: Takes the log.
    public init(port: Int, registry: PrometheusRegistry, logger: Logger) {
        var logger = logger
        // Both servers log where they listen.
        logger[metadataKey: "server"] = "metrics"
        let router = Router(context: AppContext.self, options: .autoGenerateHeadEndpoints)
        router.addMiddleware {
            SecurityHeaders(isReachedByTLS: false)
            ErrorMiddleware()
            RequestTarget()
        }
        router.get("/metrics") { request, _ in
            try RouteTable.checkAccept(of: request, against: "text/plain")
            return MetricsRoute.response(registry)
        }
        application = Application(
            router: router,
            server: .http1(
                configuration: .init(additionalChannelHandlers: [ConnectionHandler()], idleTimeout: .seconds(75))),
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: port), serverName: nil),
            logger: logger)
    }

    /// Serves until the graceful shutdown.
    ///
    /// - Throws: ``BindError`` if the server cannot listen on its port.
    public func run() async throws {
        try await BindError.naming(.metrics) { try await application.run() }
    }
}
