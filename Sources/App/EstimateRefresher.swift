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
        await repeatUntilShutdown(
            every: Self.interval, on: clock, logger, failure: "estimates not renewed; trying again"
        ) { try await queue.refreshEstimates() }
    }
}
