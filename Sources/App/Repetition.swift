import Logging
import Polling
import ServiceLifecycle

/// Repeats work on the database until the graceful shutdown.
///
/// - Parameters:
///   - interval: The pause between two times.
///   - clock: Measures the pause.
///   - logger: Takes one line when the work begins to fail. While the database is away, one line is enough.
///   - failure: The line.
///   - work: The work; its error delays it until the next time.
func repeatUntilShutdown(
    every interval: Duration, on clock: any MonotonicClock, _ logger: Logger, failure: Logger.Message,
    _ work: @escaping @Sendable () async throws -> Void
) async {
    await cancelWhenGracefulShutdown {
        var hasFailed = false
        while !Task.isCancelled {
            do {
                try await work()
                hasFailed = false
            } catch {
                if !Task.isCancelled, !hasFailed { logger.notice(failure, metadata: ["error": "\(error)"]) }
                hasFailed = true
            }
            try? await clock.sleep(for: interval)
        }
    }
}
