public import SettingsReading

/// The commands that the pipeline's worker runs, their limits, and the folder for their temporary files.
///
/// A process without a worker reads these settings, but checks neither commands nor folder.
public struct PipelineSettings: Sendable {
    static let transcribeName = "PIPELINE_TRANSCRIBE_COMMAND"
    static let notesName = "PIPELINE_NOTES_COMMAND"
    static let workDirectoryName = "PIPELINE_WORK_DIR"
    /// The default of `PIPELINE_MAX_DURATION`, in seconds.
    public static let defaultMaxDuration = 14_400.0

    /// The command that writes a transcript.
    let transcribeCommand: String
    /// The command that writes notes, or nil if the site has none.
    let notesCommand: String?
    /// The folder of the stages' own directories, or nil for the default.
    let workDirectory: String?
    /// The limits of a worker and its stages.
    let limits: PipelineLimits
    /// How many attempts a session has, over all workers.
    public let maxAttempts: Int

    /// Reads the group.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Pipeline")
        transcribeCommand = reader.text(
            Self.transcribeName, form: "a command", default: "therapybridge transcribe",
            "Writes the transcript; see [stages](pipeline.md#stages).")
        notesCommand = reader.text(
            Self.notesName, form: "a command", "Writes the notes. Without it, a transcribed session is processed.")
        workDirectory = reader.text(
            Self.workDirectoryName, form: "a folder", absent: "a folder of its own in the system's temporary folder",
            "The folder of the stages' own directories. It holds decrypted recordings while a stage reads them."
        )
        limits = try PipelineLimits(reader)
        maxAttempts = try reader.integer(
            "PIPELINE_MAX_ATTEMPTS", in: 1...1_000, default: 3,
            "How many attempts a session has before it fails. A stage that is killed, stalls or takes too long uses one, and so "
                + "does a worker that dies while it works. The value of the last server or worker that starts "
                + "applies to all; see [the pipeline](pipeline.md#attempts).")
    }
}

/// The limits of a worker and of the stages that it runs.
public struct PipelineLimits: Sendable {
    /// The longest recording (`PIPELINE_MAX_DURATION`).
    public var longest = Duration.seconds(PipelineSettings.defaultMaxDuration)
    /// How many sessions a worker works on at a time (`PIPELINE_CONCURRENCY`).
    public var concurrency = 1
    /// How long a stage may take, or nil for a time by the length of the recording (`PIPELINE_STAGE_TIMEOUT`).
    public var stageTimeout: Duration?
    /// How long a stage may print nothing, or nil for no limit (`PIPELINE_STALL_TIMEOUT`).
    public var stallTimeout: Duration? = defaultStallTimeout

    /// The time that a stage has without a setting, as a multiple of the length of the recording.
    private static let timesLength = 4
    /// The least time that a stage has without a setting.
    private static let leastTimeout = Duration.seconds(600)

    /// How long a stage is silent before its watchers are told: a quarter of the time after which it is ended.
    ///
    /// Without such a time, it is a quarter of the default.
    var silenceNotice: Duration { (stallTimeout ?? Self.defaultStallTimeout) / 4 }

    /// The default of `PIPELINE_STALL_TIMEOUT`.
    private static let defaultStallTimeout = Duration.seconds(1_800)

    /// The limits without a setting.
    public init() {}

    /// Reads the limits.
    ///
    /// - Throws: ``SettingError`` for the first setting that is bad.
    init(_ reader: SettingsReader) throws(SettingError) {
        longest = try reader.seconds(
            "PIPELINE_MAX_DURATION", in: 1...1_000_000, default: PipelineSettings.defaultMaxDuration,
            "The longest recording, in seconds of audio. The session of a longer one fails, and its error says why.")
        concurrency = try reader.integer(
            "PIPELINE_CONCURRENCY", in: 1...256, default: 1, "How many sessions one worker process works on at a time.")
        let timeout = try reader.seconds(
            "PIPELINE_STAGE_TIMEOUT", in: 0...10_000_000, default: 0,
            "How long a stage may take, in seconds; 0: four times the length of the audio, and at least 600.")
        stageTimeout = timeout == .zero ? nil : timeout
        let stall = try reader.seconds(
            "PIPELINE_STALL_TIMEOUT", in: 0...10_000_000, default: 1_800,
            "How long a stage may print nothing, in seconds. Then the worker ends it, which uses an attempt. 0: for ever."
        )
        stallTimeout = stall == .zero ? nil : stall
    }

    /// How long a stage may work on a recording.
    ///
    /// - Parameter length: The length of the recording in seconds, or nil if it is not known.
    /// - Returns: The time.
    func timeout(ofLength length: Double?) -> Duration {
        stageTimeout ?? max(Self.leastTimeout, (length.map { .seconds($0) } ?? longest) * Self.timesLength)
    }
}
