import Hummingbird
public import Logging
public import Prometheus
public import ServiceLifecycle

/// A second listening socket, on loopback alone, that gives the metrics without a token: for a Prometheus, or its agent,
/// on the same machine.
public struct MetricsServer: Service {
    private let application: Application<RouterResponder<AppContext>>

    /// A server for a port of 127.0.0.1.
    ///
    /// - Parameters:
    ///   - port: Where to listen.
    ///   - registry: What it renders.
    ///   - logger: Takes the log.
    public init(port: Int, registry: PrometheusRegistry, logger: Logger) {
        var logger = logger
        // Both servers say where they listen.
        logger[metadataKey: "server"] = "metrics"
        let router = Router(context: AppContext.self, options: .autoGenerateHeadEndpoints)
        router.addMiddleware {
            SecurityHeaders(isReachedByTLS: false)
            ErrorMiddleware()
        }
        router.get("/metrics") { request, _ in
            try RouteTable.checkAccept(of: request, against: "text/plain")
            return MetricsRoute.response(registry)
        }
        application = Application(
            router: router, server: .http1(configuration: .init(idleTimeout: .seconds(75))),
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: port), serverName: nil),
            logger: logger)
    }

    /// Serves until the graceful shutdown.
    ///
    /// - Throws: ``BindError`` when it cannot accept connections where it was told to.
    public func run() async throws {
        try await BindError.naming(.metrics) { try await application.run() }
    }
}
