import Hummingbird
public import Logging
public import Prometheus
public import ServiceLifecycle

/// A second server, on 127.0.0.1 only, that serves the metrics and the details of readiness without a token.
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
    ///   - readiness: Returns whether the process is ready, and the state of its parts.
    public init(
        port: Int, registry: PrometheusRegistry, logger: Logger,
        readiness: @escaping @Sendable () async -> ReadinessReport
    ) {
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
        router.get("/health/ready") { _, _ in
            let report = await readiness()
            let unready = report.missing.map { ReadinessDetail(name: "server", isGood: false, text: $0) }
            let body = Readiness(
                status: report.missing == nil ? "healthy" : "unavailable",
                details: (unready.map { [$0] } ?? []) + report.details)
            var response = JSON.response(body)
            if report.missing != nil { response.status = .serviceUnavailable }
            return response
        }
        application = Application(
            router: router,
            server: .http1(
                configuration: .init(additionalChannelHandlers: [ConnectionHandler()], idleTimeout: .seconds(75))),
            configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: port), serverName: nil),
            logger: logger)
    }

    /// The body of `GET /health/ready`.
    private struct Readiness: Encodable {
        var status: String
        var details: [ReadinessDetail]
    }

    /// Serves until the graceful shutdown.
    ///
    /// - Throws: ``BindError`` if the server cannot listen on its port.
    public func run() async throws {
        try await BindError.naming(.metrics) { try await application.run() }
    }
}
