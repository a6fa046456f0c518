public import Logging
public import Metrics
public import Recordings
public import Store

/// All that a worker and its jobs use.
public struct PipelineTools: Sendable {
    let stores: Stores
    let recordings: RecordingStore
    let stages: PipelineStages
    let metrics: PipelineMetrics
    let hints: SessionHints
    let condition = WorkerCondition()
    let clock: any Clock<Duration>
    let logger: Logger

    /// Puts the tools of a worker together.
    ///
    /// - Parameters:
    ///   - stores: The queue, the sessions and their progress.
    ///   - recordings: The recordings of the sessions.
    ///   - stages: The commands that do the work.
    ///   - metrics: Counts claims, sessions and stages.
    ///   - hints: Tells a job that its session may have changed. A lost hint delays the job by 2 seconds.
    ///   - clock: The clock of leases, of the stages' timeouts and of the pauses between two looks at the queue.
    ///   - logger: Receives the log.
    public init(
        stores: Stores, recordings: RecordingStore, stages: PipelineStages, metrics: any MetricsFactory,
        hints: SessionHints = SessionHints(), clock: any Clock<Duration> = ContinuousClock(), logger: Logger
    ) {
        var stages = stages
        stages.changeEach { $0.clock = clock }
        self.stores = stores
        self.recordings = recordings
        self.stages = stages
        self.metrics = PipelineMetrics(metrics: metrics)
        self.hints = hints
        self.clock = clock
        self.logger = logger
    }

    /// Logs a message about a claimed session.
    func log(
        _ level: Logger.Level, _ message: Logger.Message, of claim: ClaimedSession, _ metadata: Logger.Metadata
    ) {
        let session: Logger.Metadata = ["session": "\(claim.session)", "attempt": "\(claim.attempt)"]
        logger.log(level: level, message, metadata: session.merging(metadata) { first, _ in first })
    }
}
