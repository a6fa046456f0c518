import Logging
import Polling
import ServiceLifecycle
import Store

/// Writes `PIPELINE_MAX_ATTEMPTS` into the database, where it binds every worker, of whatever program.
///
/// It writes once. A primary that is in recovery at the start gets the limit as soon as it takes writes.
struct AttemptLimit: Service {
    /// The pause after a failed try.
    private static let pause = Duration.seconds(5)

    let queue: PipelineStore
    let maxAttempts: Int
    let clock: any MonotonicClock
    let logger: Logger

    func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await queue.setMaxAttempts(maxAttempts)
                    break
                } catch {
                    if Task.isCancelled { return }
                    logger.warning("the limit of attempts is not written yet", metadata: ["error": "\(error)"])
                    try? await clock.sleep(for: Self.pause)
                }
            }
        }
        // A service that returns would end the others.
        try? await gracefulShutdown()
    }
}
