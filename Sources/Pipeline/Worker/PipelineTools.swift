import Cage
public import Logging
public import Metrics
public import Recordings
public import Store

/// The external commands of the pipeline.
public struct PipelineStages: Sendable {
    /// Measures the recording: `therapybridge measure`.
    public var measure: StageCommand
    /// Writes the transcript (`PIPELINE_TRANSCRIBE_COMMAND`).
    public var transcribe: StageCommand
    /// Writes the notes (`PIPELINE_NOTES_COMMAND`), or nil if the site has no such command.
    public var notes: StageCommand?
    /// The folder of temporary files, which holds a decrypted recording while a stage reads it (`PIPELINE_WORK_DIR`).
    public let workDirectory: String
    /// The longest recording (`PIPELINE_MAX_DURATION`).
    public let longest: Duration

    /// Makes the stages of a site.
    ///
    /// - Parameters:
    ///   - measure: Measures the recording.
    ///   - transcribe: Writes the transcript.
    ///   - notes: Writes the notes, or nil for none.
    ///   - program: The path of this program. The name `therapybridge` in a command stands for it, wherever it lies.
    ///   - longest: The longest recording.
    ///   - workDirectory: The folder of decrypted recordings and of the commands' temporary files.
    public init(
        measure: StageCommand, transcribe: StageCommand, notes: StageCommand?, program: String, longest: Duration,
        workDirectory: String
    ) {
        self.measure = measure
        self.transcribe = transcribe
        self.notes = notes
        self.longest = longest
        self.workDirectory = workDirectory
        changeEach {
            $0.programs["therapybridge"] = program
            $0.workDirectory = workDirectory
        }
    }

    /// Puts all stages into cages.
    ///
    /// - Parameter cage: What the stages may use, see and change.
    public mutating func enclose(in cage: StageCage) {
        changeEach { $0.cage = cage }
    }

    /// The Unix user of the stages, or nil for the user of this process.
    var account: CageAccount? { transcribe.cage.account }

    /// Changes all commands.
    mutating func changeEach(_ change: (inout StageCommand) -> Void) {
        change(&measure)
        change(&transcribe)
        if var command = notes {
            change(&command)
            notes = command
        }
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
        stages.changeEach { $0.clock = clock }
        self.stores = stores
        self.recordings = recordings
        self.stages = stages
        self.metrics = PipelineMetrics(metrics: metrics)
        self.clock = clock
        self.logger = logger
    }
}
