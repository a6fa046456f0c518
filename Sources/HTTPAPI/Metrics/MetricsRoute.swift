import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Prometheus

/// `GET /metrics`: what the server has counted, for Prometheus.
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
