import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Prometheus

/// `GET /metrics`: what the server has counted, for Prometheus.
struct MetricsRoute: Sendable {
    let registry: PrometheusRegistry

    func add(to table: inout RouteTable) {
        table.user(.get, "/metrics", produces: "text/plain") { [registry] _, context in
            guard context.user.role == .admin else {
                throw Problem(.forbidden, "Only an administrator may read the metrics.")
            }
            return Self.response(registry)
        }
    }

    static func response(_ registry: PrometheusRegistry) -> Response {
        Response(
            status: .ok, headers: [.contentType: PrometheusRegistry.contentType, .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: registry.render())))
    }
}
