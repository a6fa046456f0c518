import Domain
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Prometheus

/// Tells load balancers and service managers whether the server runs, and whether it is ready.
struct HealthRoutes: Sendable {
    private struct Health: Encodable {
        var status: String
    }

    /// Returns what keeps the server from being ready; nil if the schema is current and the database answers.
    let missing: @Sendable () async -> String?

    func add(to table: inout RouteTable) {
        let healthy: @Sendable (Request, AppContext) async throws -> Response = { _, _ in
            JSON.response(Health(status: "healthy"))
        }
        table.unauthenticated(.get, "/health", healthy)
        table.unauthenticated(.get, "/health/live", healthy)
        table.unauthenticated(.get, "/health/ready") { [missing] _, context in
            guard let reason = await missing() else { return JSON.response(Health(status: "healthy")) }
            context.logger.warning("not ready", metadata: ["reason": "\(reason)"])
            throw Problem(.unavailable, "The server is not ready.")
        }
    }
}

/// `GET /metrics`: the metrics, in the text format of Prometheus.
struct MetricsRoute: Sendable {
    let recorder: AccessRecorder
    let registry: PrometheusRegistry

    func add(to table: inout RouteTable) {
        table.user(.get, "/metrics", produces: "text/plain") { [recorder, registry] _, context in
            try await recorder.administrator(context, to: .readMetrics)
            return Self.response(registry)
        }
    }

    static func response(_ registry: PrometheusRegistry) -> Response {
        Response(
            status: .ok, headers: [.contentType: PrometheusRegistry.contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: registry.render())))
    }
}
