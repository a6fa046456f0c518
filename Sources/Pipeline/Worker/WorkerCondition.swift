import Domain
import Synchronization

/// What keeps a worker from working, for the details of readiness and the metrics.
///
/// A worker that cannot work leaves its process ready: the web server is well.
public final class WorkerCondition: Sendable {
    private struct State {
        var fault: InstallationFault?
        var brokenStage: PipelineStage?
        /// How the stage of a session failed last, for the sessions that have failed lately.
        var failures: [SessionID: Failure] = [:]
    }

    /// A failure as far as it repeats: what a stage prints may hold the time.
    private struct Failure: Equatable {
        var stage: PipelineStage
        var exitStatus: Int?
    }

    /// The number of sessions whose last failure is remembered.
    ///
    /// Beyond it, all are forgotten, and each session may record one more failure.
    private static let rememberedSessions = 10_000

    private let state = Mutex(State())

    init() {}

    /// True if nothing keeps the worker from working.
    public var isGood: Bool { state.withLock { $0.fault == nil && $0.brokenStage == nil } }

    /// What keeps the worker from working, for the operator.
    public var text: String {
        let state = state.withLock { $0 }
        if let fault = state.fault { return "paused: \(fault.detail)" }
        if let stage = state.brokenStage {
            return
                "takes one session a minute: the recordings of \(WorkerBrake.patientsToTrip) patients in a row have failed at "
                + "the stage \(stage.rawValue)"
        }
        return "works"
    }

    /// Notes a fault of the installation.
    func note(_ fault: InstallationFault) { state.withLock { $0.fault = fault } }

    /// Notes how the stage of a session failed.
    ///
    /// - Returns: False if this worker saw the session fail in the same way the last time.
    func isNew(_ failed: PipelineJob.FailedStage, of session: SessionID) -> Bool {
        let failure = Failure(stage: failed.stage, exitStatus: failed.failure.exitStatus)
        return state.withLock { state in
            if state.failures.count >= Self.rememberedSessions { state.failures = [:] }
            return state.failures.updateValue(failure, forKey: session) != failure
        }
    }

    /// Notes what the brake holds the worker for.
    func note(_ brake: WorkerBrake) {
        state.withLock {
            if !brake.hasFault { $0.fault = nil }
            $0.brokenStage = brake.brokenStage
        }
    }
}
