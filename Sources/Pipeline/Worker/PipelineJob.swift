import Domain
import Logging
import Postgres
import Recordings
import Store
import SystemPackage

/// One claimed session on its way through the stages.
struct PipelineJob: Sendable {
    let claim: ClaimedSession
    let queue: PipelineStore
    let progress: ProgressStore
    let sessions: SessionStore
    let recordings: RecordingStore
    let stages: PipelineStages
    let metrics: PipelineMetrics
    let clock: any Clock<Duration>
    let logger: Logger

    /// Why the work on a session ends before its end.
    private enum Abandonment: Error {
        /// Another worker has the session, or it was deleted or failed by somebody else.
        case notOurs
    }

    /// Works until the session is processed or failed, or is no longer ours.
    func run() async { metrics.ended(await work()) }

    private func work() async -> PipelineMetrics.SessionOutcome {
        do {
            try await withLeaseKept { try await goThroughStages() }
            return .processed
        } catch is CancellationError {
            // The server stops: the session goes to the next worker as soon as the shortest lease is over.
            await release()
            return .released
        } catch Abandonment.notOurs {
            log(.info, "session left to another")
            return .left
        } catch let failure as StageFailure {
            log(.warning, "stage failed", ["code": "\(failure.code.rawValue)", "detail": "\(failure.detail)"])
            await fail(failure.publicMessage)
            return .failed
        } catch let error as RecordingError where error.code == .unknownKey {
            await leaveLocked(error)
            return .locked
        } catch let error as RecordingError {
            log(.error, "recording damaged", ["error": "\(error)"])
            await fail("The recording on the server is damaged.")
            return .failed
        } catch {
            if Task.isCancelled {
                await release()
                return .released
            }
            log(.error, "session could not be processed", ["error": "\(error)"])
            await fail("The recording could not be processed. Please try again.")
            return .failed
        }
    }

    // MARK: - The way

    private func goThroughStages() async throws {
        guard let recording = try await recordings.open(key: claim.recording) else {
            throw StageFailure(
                .badOutput, publicMessage: "The recording is missing on the server.",
                detail: "no file for the recording of this session in UPLOAD_DIR")
        }
        // One that was taken over goes on in the status where the last worker left it.
        guard var status = try await persistently({ try await progress.progress(of: claim.session) })?.status else {
            throw Abandonment.notOurs
        }
        if status == .pending {
            try await report(.preprocessing, 20, "Preparing the recording")
            status = .preprocessing
        }
        if status == .preprocessing {
            try await noteDuration(of: recording)
            try await report(.transcribing, 20, "Transcribing audio")
            status = .transcribing
        }
        if status == .transcribing || status == .diarizing {
            try await transcribe(recording, as: status)
            try await report(.transcribed, 60, "The transcript is ready")
            status = .transcribed
        }
        if let notes = stages.notes {
            if status == .transcribed { try await report(.extractingNotes, 60, "Writing notes") }
            try await write(notes, recording)
        }
        try await report(.processed, 100, "All done")
        log(.info, "session processed")
    }

    private func noteDuration(of recording: RecordingFile) async throws {
        do {
            let duration = try await withPlainFile(of: recording) {
                try await AudioProbe(clock: clock).duration(of: $0)
            }
            try await persistently { try await sessions.setDuration(duration, of: claim.session) }
        } catch let error as TranscriberError {
            // Whether the recording can be worked with is for the stage to say: a site's own may not need this program.
            log(.info, "length unknown", ["error": "\(error)"])
        }
    }

    private func transcribe(_ recording: RecordingFile, as status: SessionStatus) async throws {
        let result = try await run(.transcription, stages.transcribe, recording, as: status, from: 20, to: 60)
        try await persistently { try await queue.storeTranscript(result.json, of: claim) }
    }

    private func write(_ notes: StageCommand, _ recording: RecordingFile) async throws {
        let result = try await run(.notes, notes, recording, as: .extractingNotes, from: 60, to: 95)
        try await persistently { try await queue.storeNotes(result.json, of: claim) }
    }

    /// Runs a stage, whose own 0-100 % are the part `from`-`to` of the whole way, and notes how long it took.
    private func run(
        _ stage: PipelineMetrics.Stage, _ command: StageCommand, _ recording: RecordingFile, as status: SessionStatus,
        from: Int, to: Int
    ) async throws -> StageResult {
        try await withPlainFile(of: recording) { path in
            let (result, duration) = await timed {
                try await run(command, path, as: status, from: from, to: to)
            }
            switch result {
            case .success: metrics.ended(stage, .finished, after: duration)
            case .failure(let error):
                metrics.ended(stage, error is StageFailure ? .failed : .abandoned, after: duration)
            }
            return try result.get()
        }
    }

    /// Runs an operation, and says how long it took and how it ended.
    private func timed<Value>(
        _ operation: () async throws -> Value
    ) async -> (Result<Value, any Error>, Duration) {
        await timed(by: clock, operation)
    }

    private func timed<Value>(
        by clock: some Clock<Duration>, _ operation: () async throws -> Value
    ) async -> (Result<Value, any Error>, Duration) {
        let start = clock.now
        do {
            let value = try await operation()
            return (.success(value), start.duration(to: clock.now))
        } catch {
            return (.failure(error), start.duration(to: clock.now))
        }
    }

    /// Lends the path of a file that holds the recording as it came: for a command, and no longer than it runs.
    private func withPlainFile<Result: Sendable>(
        of recording: RecordingFile, _ body: (String) async throws -> Result
    ) async throws -> Result {
        if let path = recording.plainPath { return try await body(path.string) }
        return try await PrivateDirectory.with(purpose: "recording", in: stages.workDirectory) { directory in
            let path = FilePath(directory).appending("recording.\(recording.fileExtension)")
            try await recording.copy(to: path)
            return try await body(path.string)
        }
    }

    private func run(
        _ command: StageCommand, _ path: String, as status: SessionStatus, from: Int, to: Int
    ) async throws -> StageResult {
        try await command.run(recording: path) { stageProgress in
            do {
                try await progress.report(
                    ProgressReport(
                        sessionID: claim.session, status: status,
                        progress: from + stageProgress.progress * (to - from) / 100,
                        message: stageProgress.message?.replacing("\0", with: " "),
                        estimatedTimeRemaining: stageProgress.estimatedTimeRemaining, attempt: claim.attempt))
            } catch let error as PostgresError where error.isTransient {
                // A percentage more or less: the work goes on while the database is away.
            } catch let error as PostgresError where error.isRefusal {
                throw Abandonment.notOurs
            }
        }
    }

    // MARK: - Reports

    /// Reports a transition, for as long as that takes: the session must not stop half-way because PostgreSQL restarts.
    private func report(_ status: SessionStatus, _ percentage: Int, _ message: String) async throws {
        try await persistently {
            try await progress.report(
                ProgressReport(
                    sessionID: claim.session, status: status, progress: percentage, message: message,
                    attempt: claim.attempt))
        }
    }

    private func fail(_ reason: String) async {
        let report = ProgressReport(
            sessionID: claim.session, status: .failed, progress: 0, error: reason, attempt: claim.attempt)
        do {
            try await withLeaseKept { _ = try await persistently { try await progress.report(report) } }
        } catch {
            log(.warning, "failure not recorded: another worker will take the session", ["error": "\(error)"])
        }
    }

    private func release() async {
        // Not in this task, which is cancelled: a statement of a cancelled task is not sent.
        _ = await Task { try? await queue.keepLease(of: claim, lease: .seconds(1)) }.value
    }

    /// Leaves a session whose recording this worker has no key for to others, as it is.
    ///
    /// The session has not failed: a setting is missing here, or not yet the new one.
    private func leaveLocked(_ error: RecordingError) async {
        log(.error, "recording cannot be opened by this worker", ["error": "\(error)"])
        do {
            guard let state = try await progress.progress(of: claim.session) else { return }
            try await progress.report(
                ProgressReport(
                    sessionID: claim.session, status: state.status, progress: state.progress,
                    message: "Waiting for a worker that can open the recording", attempt: claim.attempt))
            _ = try await queue.keepLease(of: claim, lease: PipelineWorker.unknownKeyLease)
        } catch {
            log(.warning, "session is left until its lease is over", ["error": "\(error)"])
        }
    }

    /// Repeats what fails because the database is away.
    ///
    /// - Throws: ``Abandonment/notOurs`` when the database says that the session is no longer this worker's.
    @discardableResult
    private func persistently<Result: Sendable>(_ operation: () async throws -> Result) async throws -> Result {
        while true {
            do {
                return try await operation()
            } catch let error as PostgresError where error.isTransient {
                log(.warning, "database away, trying again", ["error": "\(error)"])
                try await clock.sleep(for: .seconds(1))
            } catch let error as PostgresError where error.isRefusal {
                throw Abandonment.notOurs
            }
        }
    }

    // MARK: - The lease

    /// Keeps the lease while `work` runs, and ends the work when the lease is lost.
    private func withLeaseKept(_ work: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask(operation: work)
            group.addTask { try await keepLease() }
            defer { group.cancelAll() }
            // The lease is kept without end: whatever ends first is the work, or its error, or the loss of the lease.
            try await group.next()
        }
    }

    private func keepLease() async throws {
        while true {
            try await clock.sleep(for: PipelineWorker.lease / 3)
            do {
                guard try await queue.keepLease(of: claim, lease: PipelineWorker.lease) else {
                    throw Abandonment.notOurs
                }
            } catch let error as PostgresError where error.isTransient {
                // If the database stays away until the lease is over, the next claim raises the attempt, and this worker
                // learns of it from the refusal of its next report.
                log(.warning, "lease not prolonged", ["error": "\(error)"])
            }
        }
    }

    private func log(_ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata = [:]) {
        let session: Logger.Metadata = ["session": "\(claim.session)", "attempt": "\(claim.attempt)"]
        logger.log(level: level, message, metadata: session.merging(metadata) { first, _ in first })
    }
}

extension PostgresError {
    /// The state machine, or the attempt of another worker, stands against it, or the session is gone.
    fileprivate var isRefusal: Bool { sqlState == .checkViolation || sqlState == .noDataFound }
}
