import Metrics

/// The metrics of the worker: sessions by outcome, stages by duration and outcome, and what went wrong.
struct PipelineMetrics: Sendable {
    /// How the work on a claimed session ended.
    enum SessionOutcome: String, CaseIterable {
        /// The session is processed.
        case processed
        /// The session has failed.
        case failed
        /// Another worker has claimed the session, or it was cancelled or deleted.
        case left
        /// The worker stopped, and gave the session back to the queue.
        case released
        /// The worker has no key for the recording, and gave the session back.
        case locked
        /// The installation is at fault in another way, and the session went back to the queue.
        case waiting
        /// The attempt ended without a result, and another one follows.
        case ended
    }

    /// How a stage ended.
    enum StageOutcome: String, CaseIterable {
        case finished
        case failed
        /// The session was lost or the worker stopped before the end of the stage.
        case abandoned
    }

    /// The number of claimed sessions.
    let claims: Counter
    private let sessions: [SessionOutcome: Counter]
    private let stages: [PipelineStage: [StageOutcome: Metrics.Timer]]
    private let stageFailures: [PipelineStage: [StageFailure.Code: Counter]]
    private let leasesLost: Counter
    private let foreignLines: [PipelineStage: Counter]
    private let faults: [InstallationFault.Kind: Counter]
    private let paused: Gauge
    private let slow: Gauge

    init(metrics: any MetricsFactory) {
        claims = Counter(label: "therapybridge_pipeline_claims_total", factory: metrics)
        sessions = Self.each { outcome in
            Counter(
                label: "therapybridge_pipeline_sessions_total", dimensions: [("outcome", outcome.rawValue)],
                factory: metrics)
        }
        stages = Self.each(of: PipelineStage.counted) { stage in
            Self.each { outcome in
                Metrics.Timer(
                    label: "therapybridge_pipeline_stage_duration_seconds",
                    dimensions: [("stage", stage.label), ("outcome", outcome.rawValue)], factory: metrics)
            }
        }
        stageFailures = Self.each { stage in
            Self.each { code in
                Counter(
                    label: "therapybridge_pipeline_stage_failures_total",
                    dimensions: [("stage", stage.label), ("code", code.rawValue)], factory: metrics)
            }
        }
        leasesLost = Counter(label: "therapybridge_pipeline_leases_lost_total", factory: metrics)
        foreignLines = Self.each(of: PipelineStage.counted) { stage in
            Counter(
                label: "therapybridge_pipeline_foreign_lines_total", dimensions: [("stage", stage.label)],
                factory: metrics)
        }
        faults = Self.each { kind in
            Counter(
                label: "therapybridge_pipeline_faults_total", dimensions: [("kind", kind.rawValue)], factory: metrics)
        }
        paused = Gauge(label: "therapybridge_pipeline_paused", factory: metrics)
        slow = Gauge(label: "therapybridge_pipeline_slow", factory: metrics)
        paused.record(0)
        slow.record(0)
    }

    /// Counts a stage without a result.
    func failed(_ stage: PipelineStage, _ code: StageFailure.Code) { stageFailures[stage]?[code]?.increment() }

    /// Counts a session that another worker has claimed, because this worker did not extend its lease in time.
    func lostLease() { leasesLost.increment() }

    /// Counts a fault of the installation.
    func noted(_ fault: InstallationFault.Kind) { faults[fault]?.increment() }

    /// Records whether the worker pauses, and whether it takes one session a minute.
    func braked(hasFault: Bool, isSlow: Bool) {
        paused.record(hasFault ? 1 : 0)
        slow.record(isSlow ? 1 : 0)
    }

    /// Counts lines of a stage that were passed over.
    func passedOver(_ lines: Int, of stage: PipelineStage) { foreignLines[stage]?.increment(by: lines) }

    /// Counts a session at the end of the work on it.
    func ended(_ outcome: SessionOutcome) { sessions[outcome]?.increment() }

    /// Records the duration of a stage.
    func ended(_ stage: PipelineStage, _ outcome: StageOutcome, after duration: Duration) {
        stages[stage]?[outcome]?.record(duration: duration)
    }

    /// Makes a value for each case, so that all series exist from the start.
    private static func each<Key: CaseIterable & Hashable, Value>(
        of keys: [Key] = Array(Key.allCases), _ make: (Key) -> Value
    ) -> [Key: Value] {
        Dictionary(uniqueKeysWithValues: keys.map { ($0, make($0)) })
    }
}
