import HTTPTypes
import Hummingbird
import Logging

/// Whether the server lives and can serve: for load balancers and service managers.
struct HealthRoutes: Sendable {
    private struct Health: Encodable {
        var status: String
    }

    /// Asks whether the schema is current and the database answers; nil when both, else what is missing.
    let missing: @Sendable () async -> String?

    func add(to table: inout RouteTable) {
        let healthy: @Sendable (Request, AppContext) async throws -> Response = { _, _ in
            JSON.response(Health(status: "healthy"))
        }
        table.open(.get, "/health", healthy)
        table.open(.get, "/health/live", healthy)
        table.open(.get, "/health/ready") { [missing] _, context in
            guard let reason = await missing() else { return JSON.response(Health(status: "healthy")) }
            context.logger.warning("not ready", metadata: ["reason": "\(reason)"])
            throw Problem(.unavailable, "The server is not ready to serve.")
        }
    }
}
