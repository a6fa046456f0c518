import AsyncAlgorithms
public import Logging
public import Metrics
public import Recordings
public import ServiceLifecycle
public import Store

/// The external commands that a recording goes through.
public struct PipelineStages: Sendable {
    /// Makes a transcript (`PIPELINE_TRANSCRIBE_COMMAND`).
    public var transcribe: StageCommand
    /// Makes notes (`PIPELINE_NOTES_COMMAND`); nil where a site has none.
    public var notes: StageCommand?
    /// Where recordings that are stored encrypted lie as they came while a stage reads them (`PIPELINE_WORK_DIR`).
    public let workDirectory: String

    /// The stages of a site.
    ///
    /// - Parameters:
    ///   - transcribe: Makes a transcript.
    ///   - notes: Makes notes; nil for none.
    ///   - workDirectory: Where sealed recordings lie opened, and where the commands have their temporary files.
    public init(transcribe: StageCommand, notes: StageCommand?, workDirectory: String) {
        self.transcribe = transcribe
        self.notes = notes
        self.workDirectory = workDirectory
        self.transcribe.workDirectory = workDirectory
        self.notes?.workDirectory = workDirectory
    }
}

/// Takes sessions from the queue, one at a time, and brings each from its recording to its transcript and notes.
///
/// Any number of workers, in any number of processes, share the queue: a claim is one worker's until its lease runs out,
/// and a worker that dies is replaced by one whose higher attempt makes its late reports stale.
public struct PipelineWorker: Service {
    /// How long a claim lasts without being prolonged: as long as a session waits for another worker when this one dies.
    static let lease = Duration.seconds(60)
    /// How often the queue is looked at when nobody calls.
    static let idleInterval = Duration.seconds(5)
    /// How long a session is left to others whose recording this worker has no key for.
    ///
    /// As long as a server may be unlike the others while a new key is brought out. Each time counts as an attempt.
    static let unknownKeyLease = Duration.seconds(300)
    /// How often what killed workers have left behind is looked for.
    private static let sweepInterval = Duration.seconds(60)

    private let name: String
    private let queue: PipelineStore
    private let job: @Sendable (ClaimedSession) -> PipelineJob
    private let calls: AsyncStream<Void>
    private let workDirectory: String
    private let metrics: PipelineMetrics
    private let clock: any Clock<Duration>
    private let logger: Logger

    /// A worker of a queue.
    ///
    /// - Parameters:
    ///   - name: Who claims; for the people who look into `app.session_leases`.
    ///   - queue: The queue.
    ///   - progress: Takes the reports of progress.
    ///   - sessions: The sessions.
    ///   - recordings: The recordings of the sessions.
    ///   - stages: The commands that do the work.
    ///   - calls: Yields when there may be work. A call that is lost costs 5 seconds.
    ///   - metrics: Counts claims, sessions and stages.
    ///   - clock: The clock by which leases are prolonged, stages are limited and the queue is looked at.
    ///   - logger: Takes the log.
    public init(
        name: String, queue: PipelineStore, progress: ProgressStore, sessions: SessionStore,
        recordings: RecordingStore, stages: PipelineStages, calls: AsyncStream<Void>,
        metrics: any MetricsFactory, clock: any Clock<Duration> = ContinuousClock(), logger: Logger
    ) {
        let metrics = PipelineMetrics(metrics: metrics)
        var stages = stages
        stages.transcribe.clock = clock
        stages.notes?.clock = clock
        self.name = name
        self.queue = queue
        self.calls = calls
        workDirectory = stages.workDirectory
        self.metrics = metrics
        self.clock = clock
        self.logger = logger
        job = { [stages] claim in
            PipelineJob(
                claim: claim, queue: queue, progress: progress, sessions: sessions, recordings: recordings,
                stages: stages, metrics: metrics, clock: clock, logger: logger)
        }
    }

    /// Works until the graceful shutdown, which gives a claimed session back.
    ///
    /// What befalls a session is told in its progress, and never thrown.
    public func run() async throws {
        await cancelWhenGracefulShutdown { await work() }
    }

    private func work() async { await work(by: clock) }

    private func work(by clock: some Clock<Duration>) async {
        sweep()
        // Beside the work, which may not pause for days: what lies there may be a recording as it came.
        async let sweeping: Void = keepSweeping(by: clock)
        await workUntilIdle()
        // One consumer for as long as the worker runs: an AsyncStream whose consumer is cancelled ends, and would then
        // call without a pause.
        let timer = AsyncTimerSequence(interval: Self.idleInterval, clock: clock).map { _ in }
        for await _ in merge(calls, timer) { await workUntilIdle() }
        await sweeping
    }

    private func keepSweeping(by clock: some Clock<Duration>) async {
        for await _ in AsyncTimerSequence(interval: Self.sweepInterval, clock: clock) { sweep() }
    }

    private func sweep() {
        let removed = PrivateDirectory.sweep(in: workDirectory)
        guard removed > 0 else { return }
        logger.notice("removed what a killed worker left behind", metadata: ["directories": "\(removed)"])
    }

    private func workUntilIdle() async {
        while !Task.isCancelled {
            do {
                guard let claim = try await queue.claim(worker: name, lease: Self.lease) else { return }
                metrics.claims.increment()
                await job(claim).run()
            } catch {
                if !Task.isCancelled {
                    logger.warning("cannot look for work", metadata: ["error": "\(error)"])
                }
                return
            }
        }
    }
}
