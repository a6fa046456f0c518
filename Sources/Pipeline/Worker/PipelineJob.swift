import Domain
import Logging
import Postgres
import Recordings
import Store

/// The work on one claimed session, from its claim to its end.
struct PipelineJob: Sendable {
    let claim: ClaimedSession
    let tools: PipelineTools
    let lease: JobLease

    init(claim: ClaimedSession, tools: PipelineTools) {
        self.claim = claim
        self.tools = tools
        lease = JobLease(claim: claim, tools: tools)
    }

    /// A stage that has no result.
    struct FailedStage: Error {
        let stage: PipelineStage
        let failure: StageFailure
    }

    /// How the work ended: for the metrics, and for the brake of the worker.
    typealias End = (session: PipelineMetrics.SessionOutcome, brake: WorkerBrake.Outcome)

    /// Works until the session is processed or failed, or belongs to this worker no more.
    func run() async -> WorkerBrake.Outcome {
        defer { tools.hints.forget(claim.session, attempt: claim.attempt) }
        let end = await work()
        tools.metrics.ended(end.session)
        return end.brake
    }

    private func work() async -> End {
        do {
            try await lease.kept { try await goThroughStages() }
            return (.processed, .processed)
        } catch {
            // The worker stops. Whatever else went wrong did so because of that.
            if Task.isCancelled { return await giveBack() }
            return await end(because: error)
        }
    }

    // MARK: - The end

    private func end(because error: any Error) async -> End {
        if case JobLease.Loss.notOurs = error {
            // A session in the queue has another claim. One that was cancelled or deleted is not there any more.
            let isClaimed = (try? await tools.stores.queue.patient(of: claim)) ?? nil
            if isClaimed != nil { tools.metrics.lostLease() }
            log(.info, "session belongs to another worker, or has ended")
            return (.left, .other)
        }
        let fault = InstallationFault((error as? FailedStage)?.failure ?? error)
        if let failed = error as? FailedStage {
            tools.metrics.failed(failed.stage, failed.failure.code)
            log(
                .warning, "stage failed",
                [
                    "stage": "\(failed.stage.rawValue)", "code": "\(failed.failure.code.rawValue)",
                    "detail": "\(failed.failure.detail)",
                ])
            // While the installation is at fault, the session comes back every 30 s, and its stage says the same.
            let isNew = tools.condition.isNew(failed, of: claim.session)
            if fault == nil || isNew { await keepLastWords(of: failed) }
        }
        if let fault { return await wait(because: fault) }
        switch error {
        case let failed as FailedStage where failed.failure.fault == .run:
            return await endAttempt(failed.failure.publicMessage, .failed(failed.stage))
        case let failed as FailedStage:
            return await fail(failed.failure.publicMessage, .failed(failed.stage))
        case let failure as StageFailure:
            log(.warning, "recording refused", ["code": "\(failure.code.rawValue)", "detail": "\(failure.detail)"])
            return await fail(failure.publicMessage)
        case let error as RecordingError:
            log(.error, "recording damaged", ["error": "\(error)"])
            return await fail("The recording on the server is damaged.")
        case JobLease.Loss.database(let cause):
            log(.error, "the database does not take a result or a report", ["error": "\(cause)"])
            return await endAttempt("The server could not store the result.", .other)
        case let error as PostgresError where error.sqlState == .programLimitExceeded:
            log(.error, "result too large for the database", ["error": "\(error)"])
            return await fail("The result is too large to be stored.")
        default:
            log(.error, "session could not be processed", ["error": "\(error)"])
            return await fail("The recording could not be processed. Please try again.")
        }
    }

    private func fail(_ reason: String, _ brake: WorkerBrake.Outcome = .other) async -> End {
        let report = ProgressReport(
            sessionID: claim.session, status: .failed, progress: 0, error: reason, attempt: claim.attempt,
            lease: claim.lease)
        do {
            try await lease.lastly { try await tools.stores.progress.report(report) }
        } catch {
            if Task.isCancelled { return await giveBack() }
            log(.warning, "failure not recorded; another worker will claim the session", ["error": "\(error)"])
        }
        return (.failed, brake)
    }

    /// Uses up an attempt: the session goes back to the queue, or fails if this was the last one.
    private func endAttempt(_ reason: String, _ brake: WorkerBrake.Outcome) async -> End {
        do {
            let isLast = try await lease.lastly {
                try await !tools.stores.queue.endAttempt(of: claim, because: reason)
            }
            return (isLast ? .failed : .ended, brake)
        } catch {
            if Task.isCancelled { return await giveBack() }
            log(.warning, "attempt not ended; it ends with the lease", ["error": "\(error)"])
            return (.ended, brake)
        }
    }

    /// Gives the session back without using up an attempt, because the installation is at fault.
    private func wait(because fault: InstallationFault) async -> End {
        let message: Logger.Message =
            fault.kind == .key
            ? "this worker has no key for the recording" : "the installation is at fault, the session goes back"
        log(.error, message, ["fault": "\(fault.kind.rawValue)", "error": "\(fault.detail)"])
        tools.metrics.noted(fault.kind)
        tools.condition.note(fault)
        do {
            try await lease.lastly {
                // The fault may be this session's alone. The patient's other sessions then have to get their turns.
                try await tools.stores.queue.giveBack(claim, saying: fault.publicMessage, keepsPlace: false)
            }
        } catch {
            log(.warning, "session left until its lease ends", ["error": "\(error)"])
        }
        return (fault.kind == .key ? .locked : .waiting, .installationFault)
    }

    /// Gives the session back because the worker stops.
    private func giveBack() async -> End {
        // This task is cancelled, and the pool sends no statement of a cancelled task. Another task sends it.
        _ = await Task { try? await tools.stores.queue.giveBack(claim, saying: nil, keepsPlace: true) }.value
        return (.released, .other)
    }

    /// Keeps the last words of a stage for administrators.
    func keepLastWords(of failed: FailedStage) async {
        do {
            let record = StageFailureRecord(
                attempt: claim.attempt, stage: failed.stage.rawValue, exitStatus: failed.failure.exitStatus,
                outputTail: failed.failure.outputTail)
            // The lease goes on: a report follows, or after a measurement the next stage.
            try await lease.kept {
                try await lease.persistently { try await tools.stores.queue.record(record, of: claim) }
            }
        } catch {
            log(.warning, "last words of a stage not recorded", ["error": "\(error)"])
        }
    }

    func log(_ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata = [:]) {
        tools.log(level, message, of: claim, metadata)
    }
}
