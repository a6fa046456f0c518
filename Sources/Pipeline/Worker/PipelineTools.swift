public import Logging
public import Metrics
public import Recordings
public import Store

/// The external commands of the pipeline.
public struct PipelineStages: Sendable {
    /// Writes the transcript (`PIPELINE_TRANSCRIBE_COMMAND`).
    public var transcribe: StageCommand
    /// Writes the notes (`PIPELINE_NOTES_COMMAND`), or nil if the site has no such command.
    public var notes: StageCommand?
    /// The folder of temporary files, which holds a decrypted recording while a stage reads it (`PIPELINE_WORK_DIR`).
    public let workDirectory: String

    /// Makes the stages of a site.
    ///
    /// - Parameters:
    ///   - transcribe: Writes the transcript.
    ///   - notes: Writes the notes, or nil for none.
    ///   - workDirectory: The folder of decrypted recordings and of the commands' temporary files.
    public init(transcribe: StageCommand, notes: StageCommand?, workDirectory: String) {
        self.transcribe = transcribe
        self.notes = notes
        self.workDirectory = workDirectory
        self.transcribe.workDirectory = workDirectory
        self.notes?.workDirectory = workDirectory
    }
}

/// All that a worker and its jobs use.
public struct PipelineTools: Sendable {
    let stores: Stores
    let recordings: RecordingStore
    let stages: PipelineStages
    let metrics: PipelineMetrics
    let clock: any Clock<Duration>
    let logger: Logger

    /// Puts the tools of a worker together.
    ///
    /// - Parameters:
    ///   - stores: The queue, the sessions and their progress.
    ///   - recordings: The recordings of the sessions.
    ///   - stages: The commands that do the work.
    ///   - metrics: Counts claims, sessions and stages.
    ///   - clock: The clock of leases, of the stages' timeouts and of the pauses between two looks at the queue.
    ///   - logger: Receives the log.
    public init(
        stores: Stores, recordings: RecordingStore, stages: PipelineStages, metrics: any MetricsFactory,
        clock: any Clock<Duration> = ContinuousClock(), logger: Logger
    ) {
        var stages = stages
        stages.transcribe.clock = clock
        stages.notes?.clock = clock
        self.stores = stores
        self.recordings = recordings
        self.stages = stages
        self.metrics = PipelineMetrics(metrics: metrics)
        self.clock = clock
        self.logger = logger
    }
}
