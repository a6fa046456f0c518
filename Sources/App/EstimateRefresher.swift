import Logging
import Polling
import ServiceLifecycle
import Store

/// Renews the estimates of remaining time as time passes, and lets the database learn from the stages that have ended.
///
/// Every server runs it. The database lets one of them do the work, every few seconds.
struct EstimateRefresher: Service {
    /// The pause between two calls.
    private static let interval = Duration.seconds(5)

    let queue: PipelineStore
    let clock: any MonotonicClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            // While the database is away, one line in the log is enough.
            var hasFailed = false
            while !Task.isCancelled {
                do {
                    try await queue.refreshEstimates()
                    hasFailed = false
                } catch {
                    if !Task.isCancelled, !hasFailed {
                        logger.notice("estimates not renewed; trying again", metadata: ["error": "\(error)"])
                    }
                    hasFailed = true
                }
                try? await clock.sleep(for: Self.interval)
            }
        }
    }
}
