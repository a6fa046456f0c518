import AsyncAlgorithms
import Cage
import Domain
import Logging
import Metrics
public import ServiceLifecycle
import Store
import Synchronization

/// Claims sessions from the queue, a few at a time, and runs the stages on each.
///
/// Any number of workers in any number of processes share the queue. A claim belongs to its worker until the lease runs
/// out. When a worker dies, the next one takes the session over with a higher attempt, and late reports of the former
/// worker are stale.
public struct PipelineWorker: Service {
    /// The lease of a claim.
    ///
    /// When a worker dies, its session waits this long for another worker.
    static let lease = Duration.seconds(60)
    /// The pause between two looks at the queue without a notification.
    static let idleInterval = Duration.seconds(5)
    /// The pause between two searches for the directories of killed workers.
    private static let sweepInterval = Duration.seconds(60)

    private let name: String
    private let tools: PipelineTools
    private let wakeUps: AsyncStream<Void>

    /// What keeps the worker from working.
    public var condition: WorkerCondition { tools.condition }

    /// Makes a worker of the queue.
    ///
    /// - Parameters:
    ///   - name: The name of the worker in `app.session_leases`.
    ///   - tools: The stores, stages and the rest that the worker uses.
    ///   - wakeUps: Yields when a session may wait in the queue. A lost element delays the session by 5 seconds.
    public init(name: String, tools: PipelineTools, wakeUps: AsyncStream<Void>) {
        self.name = name
        self.tools = tools
        self.wakeUps = wakeUps
    }

    /// Works until the graceful shutdown, which gives claimed sessions back.
    ///
    /// The error of a session goes into its progress. This method never throws one.
    public func run() async throws {
        await cancelWhenGracefulShutdown { await work(by: tools.clock) }
    }

    private func work(by clock: some Clock<Duration>) async {
        LeftOvers.adoptOrphans()
        sweep()
        let start = clock.now
        // An unread look stands for all later ones.
        let (looks, look) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        look.yield()
        let desk = WorkerDesk(
            name: name, tools: tools, now: { start.duration(to: clock.now) }, look: { look.yield() })
        await withDiscardingTaskGroup { group in
            // The sweep does not wait for the work, which may run for days without a pause: a directory that is left over
            // may hold a decrypted recording.
            group.addTask { await keepSweeping(by: clock) }
            group.addTask { for await _ in wakeUps { look.yield() } }
            group.addTask {
                for await _ in AsyncTimerSequence(interval: Self.idleInterval, clock: clock) { look.yield() }
            }
            for await _ in looks { await desk.fill(&group) }
            group.cancelAll()
        }
    }

    private func keepSweeping(by clock: some Clock<Duration>) async {
        for await _ in AsyncTimerSequence(interval: Self.sweepInterval, clock: clock) { sweep() }
    }

    private func sweep() {
        let killed = LeftOvers.kill(account: tools.stages.account)
        if killed > 0 {
            tools.logger.warning("killed processes of stages without a launcher", metadata: ["processes": "\(killed)"])
        }
        let swept = PrivateDirectory.sweep(in: tools.stages.workDirectory, owner: tools.stages.account)
        if swept.removed > 0 {
            tools.logger.notice(
                "removed directories of killed workers", metadata: ["directories": "\(swept.removed)"])
        }
        for (name, remains) in swept.remains {
            // A stage chooses the names in its directory. They do not belong into the log.
            tools.logger.warning(
                "a directory of a stage could not be removed",
                metadata: [
                    "directory": "\(name)", "entries": "\(remains.count)",
                    "error": "\(remains.error.map { "\($0)" } ?? "")",
                ])
        }
    }
}

// The group of services logs each service. Settings of the site do not belong into the log.
extension PipelineWorker: CustomStringConvertible {
    /// The type and the name of the worker.
    public var description: String { "PipelineWorker(\(name))" }
}
