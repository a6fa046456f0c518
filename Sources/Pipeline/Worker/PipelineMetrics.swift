import Metrics

/// What is counted of the worker: sessions by how the work on them ended, and stages by how long they took.
struct PipelineMetrics: Sendable {
    /// How the work on a claimed session ended.
    enum SessionOutcome: String, CaseIterable {
        /// It went all the way.
        case processed
        /// It was marked as failed.
        case failed
        /// Another worker has it, or it was deleted or failed by somebody else.
        case left
        /// The worker was stopped, and gave it back to the queue.
        case released
        /// This worker has no key for its recording, and left it to others.
        case locked
    }

    /// A stage of the way.
    enum Stage: String, CaseIterable {
        case transcription
        case notes
    }

    /// How a stage ended.
    enum StageOutcome: String, CaseIterable {
        case finished
        case failed
        /// The session was lost, or the worker stopped, before its end.
        case abandoned
    }

    /// Sessions that were taken from the queue.
    let claims: Counter
    private let sessions: [SessionOutcome: Counter]
    private let stages: [Stage: [StageOutcome: Metrics.Timer]]

    init(metrics: any MetricsFactory) {
        claims = Counter(label: "therapybridge_pipeline_claims_total", factory: metrics)
        sessions = Self.each { outcome in
            Counter(
                label: "therapybridge_pipeline_sessions_total", dimensions: [("outcome", outcome.rawValue)],
                factory: metrics)
        }
        stages = Self.each { stage in
            Self.each { outcome in
                Metrics.Timer(
                    label: "therapybridge_pipeline_stage_duration_seconds",
                    dimensions: [("stage", stage.rawValue), ("outcome", outcome.rawValue)], factory: metrics)
            }
        }
    }

    /// Counts a session whose work has ended.
    func ended(_ outcome: SessionOutcome) { sessions[outcome]?.increment() }

    /// Notes how long a stage took.
    func ended(_ stage: Stage, _ outcome: StageOutcome, after duration: Duration) {
        stages[stage]?[outcome]?.record(duration: duration)
    }

    /// Makes a value for each case, so that all are there from the start.
    private static func each<Key: CaseIterable & Hashable, Value>(_ make: (Key) -> Value) -> [Key: Value] {
        Dictionary(uniqueKeysWithValues: Key.allCases.map { ($0, make($0)) })
    }
}
