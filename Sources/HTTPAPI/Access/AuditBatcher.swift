public import Logging
public import Polling
public import ServiceLifecycle
public import Store

/// Appends the counted repeats of accesses to the audit log.
///
/// It has to run for as long as anything else records accesses, and a little longer: at the graceful shutdown it appends what is
/// left. A crash loses the repeats that were not appended, and no first access.
public struct AuditBatcher: Service {
    /// The pause between two rounds.
    ///
    /// A round appends the repeats whose ten minutes end before the next one.
    static let interval = Duration.seconds(15)

    private let log: AuditStore
    private let clock: any MonotonicClock
    private let logger: Logger

    /// A batcher for the accesses that a store counts.
    ///
    /// - Parameters:
    ///   - log: The store. It shares its merger with the stores that record accesses.
    ///   - clock: Times the rounds.
    ///   - logger: Takes the log.
    public init(log: AuditStore, clock: any MonotonicClock, logger: Logger) {
        self.log = log
        self.clock = clock
        self.logger = logger
    }

    /// Appends repeats until the graceful shutdown, and then the rest.
    public func run() async {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                try? await clock.sleep(for: Self.interval)
                if Task.isCancelled { return }
                await attempt { try await log.recordRepeats(endingWithin: Self.interval) }
            }
        }
        // Unstructured: without a graceful shutdown this task is cancelled, and could not write.
        await Task { await attempt { try await log.endMerging() } }.value
    }

    private func attempt(_ record: () async throws -> some Any) async {
        do {
            _ = try await record()
        } catch {
            logger.warning("cannot record repeated accesses yet", metadata: ["error": "\(error)"])
        }
    }
}
