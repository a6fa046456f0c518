public import Logging
public import ServiceLifecycle
public final class PostgresListener: Service {
    public init(configuration: PostgresConfiguration, channels: [String], logger: Logger) {}
    public func run() async throws { try await gracefulShutdown() }
}
