import AsyncAlgorithms
import Cage
import Logging
import Metrics
public import ServiceLifecycle
import Store

/// Claims sessions from the queue, one at a time, and runs the stages on each.
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
    /// The lease of a session whose recording this worker has no key for.
    ///
    /// It is as long as the roll-out of a new key over several servers may take. Each claim counts as an attempt.
    static let missingKeyLease = Duration.seconds(300)
    /// The pause between two searches for the directories of killed workers.
    private static let sweepInterval = Duration.seconds(60)

    private let name: String
    private let tools: PipelineTools
    private let wakeUps: AsyncStream<Void>

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

    /// Works until the graceful shutdown, which gives a claimed session back.
    ///
    /// The error of a session goes into its progress. This method never throws one.
    public func run() async throws {
        await cancelWhenGracefulShutdown { await work() }
    }

    private func work() async { await work(by: tools.clock) }

    private func work(by clock: some Clock<Duration>) async {
        LeftOvers.adoptOrphans()
        sweep()
        // The sweep does not wait for the work, which may run for days without a pause: a directory that is left over
        // may hold a decrypted recording.
        async let sweeping: Void = keepSweeping(by: clock)
        await workUntilIdle()
        // One consumer for the whole run. An AsyncStream ends when its consumer is cancelled, and would then yield
        // without a pause.
        let timer = AsyncTimerSequence(interval: Self.idleInterval, clock: clock).map { _ in }
        for await _ in merge(wakeUps, timer) { await workUntilIdle() }
        await sweeping
    }

    private func keepSweeping(by clock: some Clock<Duration>) async {
        for await _ in AsyncTimerSequence(interval: Self.sweepInterval, clock: clock) { sweep() }
    }

    private func sweep() {
        let killed = LeftOvers.kill(account: tools.stages.account)
        if killed > 0 {
            tools.logger.warning("killed processes of stages without a launcher", metadata: ["processes": "\(killed)"])
        }
        let removed = PrivateDirectory.sweep(in: tools.stages.workDirectory, owner: tools.stages.account)
        guard removed > 0 else { return }
        tools.logger.notice("removed directories of killed workers", metadata: ["directories": "\(removed)"])
    }

    private func workUntilIdle() async {
        while !Task.isCancelled {
            do {
                guard let claim = try await tools.stores.queue.claim(worker: name, lease: Self.lease) else { return }
                tools.metrics.claims.increment()
                await PipelineJob(claim: claim, tools: tools).run()
            } catch {
                if !Task.isCancelled {
                    tools.logger.warning("cannot claim a session", metadata: ["error": "\(error)"])
                }
                return
            }
        }
    }
}

// The group of services logs each service. Settings of the site do not belong into the log.
extension PipelineWorker: CustomStringConvertible {
    /// The type and the name of the worker.
    public var description: String { "PipelineWorker(\(name))" }
}
