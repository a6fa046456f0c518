import Logging
import Polling
import ServiceLifecycle
import Store

/// Removes what is older than the times of the settings `RETAIN_…`.
///
/// Every server sweeps. Two that do it at once find different rows, or wait for each other for a batch.
struct RetentionSweeper: Service {
    /// The longest pause between two sweeps.
    private static let interval = Duration.seconds(600)

    let settings: RetentionSettings
    let store: RetentionStore
    let clock: any MonotonicClock
    let logger: Logger

    func run() async throws {
        let ages = [settings.events, settings.audit, settings.recordings, settings.failures].compactMap { $0 }
        await cancelWhenGracefulShutdown {
            guard let shortest = ages.min() else {
                try? await gracefulShutdown()
                return
            }
            // A short time is kept exactly enough, and a long one costs little.
            let pause = min(Self.interval, max(shortest / 4, .seconds(1)))
            while !Task.isCancelled {
                await sweep()
                try? await clock.sleep(for: pause)
            }
        }
    }

    private func sweep() async {
        await remove("transitions", settings.events) { try await store.deleteEvents(olderThan: $0) }
        await remove("recordings", settings.recordings) { try await store.discardRecordings(olderThan: $0) }
        await remove("audit records", settings.audit) { try await store.deleteAudit(olderThan: $0) }
        await remove("last words of stages", settings.failures) {
            try await store.deleteFailures(olderThan: $0)
            return 0
        }
    }

    /// Removes one kind, and logs how much, or the error.
    ///
    /// The next sweep tries again.
    private func remove(_ what: String, _ age: Duration?, _ body: (Duration) async throws -> Int64) async {
        guard let age else { return }
        do {
            let total = try await body(age)
            if total > 0 {
                logger.notice("removed after its time", metadata: ["what": "\(what)", "number": "\(total)"])
            }
        } catch {
            if Task.isCancelled { return }
            logger.warning("removal failed; trying again later", metadata: ["what": "\(what)", "error": "\(error)"])
        }
    }
}
