import Cage
import Domain
import Foundation
import Logging
import Postgres
import Recordings
import Store
import SystemPackage

/// The work on one claimed session, from stage to stage.
struct PipelineJob: Sendable {
    let claim: ClaimedSession
    let tools: PipelineTools

    /// Why the worker leaves a session.
    private enum Abandonment: Error {
        /// Another worker has claimed the session, or it was deleted or has failed.
        case notOurs
    }

    /// Works until the session is processed or failed, or belongs to this worker no more.
    func run() async { tools.metrics.ended(await work()) }

    private func work() async -> PipelineMetrics.SessionOutcome {
        do {
            try await withLeaseKept { try await goThroughStages() }
            return .processed
        } catch is CancellationError {
            // The server stops. The shortest lease lets the next worker claim the session at once.
            await release()
            return .released
        } catch Abandonment.notOurs {
            log(.info, "session belongs to another worker")
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

    // MARK: - Stages

    private func goThroughStages() async throws {
        guard let recording = try await tools.recordings.open(key: claim.recording) else {
            throw StageFailure(
                .badOutput, publicMessage: "The recording is missing on the server.",
                detail: "no file for the recording of this session in UPLOAD_DIR")
        }
        // After a takeover, the work continues at the status that the former worker reached.
        guard
            var status = try await persistently({ try await tools.stores.progress.progress(of: claim.session) })?.status
        else {
            throw Abandonment.notOurs
        }
        if status == .pending {
            try await report(.preprocessing, 20, "Preparing the recording")
            status = .preprocessing
        }
        if status == .preprocessing {
            try await measure(recording)
            try await report(.transcribing, 20, "Transcribing audio")
            status = .transcribing
        }
        if status == .transcribing || status == .diarizing {
            try await transcribe(recording, as: status)
            try await report(.transcribed, 60, try await length().notice ?? "The transcript is ready")
            status = .transcribed
        }
        if let notes = tools.stages.notes {
            if status == .transcribed { try await report(.extractingNotes, 60, "Writing notes") }
            try await write(notes, recording)
        }
        try await report(.processed, 100, try await length().notice ?? "All done")
        log(.info, "session processed")
    }

    /// Measures the recording, and stores its length.
    private func measure(_ recording: RecordingFile) async throws {
        let measurement: MeasuredLength
        do {
            let result = try await withPlainFile(of: recording) { path in
                try await tools.stages.measure.run(recording: path) { _ in }
            }
            measurement = try JSONDecoder().decode(MeasuredLength.self, from: Data(result.json.utf8))
        } catch let failure as StageFailure {
            // The next stage decides whether it can use the recording. A site's own stage may not need ffprobe.
            log(.info, "duration of the recording unknown", ["detail": "\(failure.detail)"])
            return
        }
        let longest = tools.stages.longest / .seconds(1)
        guard measurement.seconds <= longest else {
            throw StageFailure(
                .tooLong, publicMessage: TranscriberError.tooLong(seconds: longest).description,
                detail: "PIPELINE_MAX_DURATION is \(longest) s, and the recording has \(measurement.seconds) s")
        }
        let length = RecordingLength(decoded: measurement.seconds, announced: measurement.announcedSeconds)
        try await persistently { try await tools.stores.sessions.setLength(length, of: claim.session) }
    }

    /// The length of the recording, as far as the database knows it.
    private func length() async throws -> RecordingLength {
        try await persistently { try await tools.stores.sessions.length(of: claim.session) }
    }

    private func transcribe(_ recording: RecordingFile, as status: SessionStatus) async throws {
        var command = tools.stages.transcribe
        command.environment["TB_MAX_DURATION_SECONDS"] = "\(tools.stages.longest / .seconds(1))"
        command.environment["TB_DURATION_SECONDS"] = try await length().decoded.map { "\($0)" }
        let result = try await run(.transcription, command, recording, as: status, from: 20, to: 60)
        try await persistently { try await tools.stores.queue.storeTranscript(result.json, of: claim) }
    }

    private func write(_ notes: StageCommand, _ recording: RecordingFile) async throws {
        let result = try await run(.notes, notes, recording, as: .extractingNotes, from: 60, to: 95)
        try await persistently { try await tools.stores.queue.storeNotes(result.json, of: claim) }
    }

    /// Runs a stage and records its duration.
    ///
    /// The stage's 0-100 % become `from`-`to` of the whole session.
    private func run(
        _ stage: PipelineMetrics.Stage, _ command: StageCommand, _ recording: RecordingFile, as status: SessionStatus,
        from: Int, to: Int
    ) async throws -> StageResult {
        var command = command
        command.environment["TB_SESSION_ID"] = "\(claim.session)"
        command.environment["TB_ATTEMPT"] = "\(claim.attempt)"
        command.environment["TB_STAGE"] = stage.rawValue
        return try await withPlainFile(of: recording) { [command] path in
            let (result, duration) = await timed {
                try await run(command, path, as: status, from: from, to: to)
            }
            switch result {
            case .success: tools.metrics.ended(stage, .finished, after: duration)
            case .failure(let error):
                tools.metrics.ended(stage, error is StageFailure ? .failed : .abandoned, after: duration)
            }
            return try result.get()
        }
    }

    /// Measures the duration of an operation, and returns it with the result.
    private func timed<Value>(
        _ operation: () async throws -> Value
    ) async -> (Result<Value, any Error>, Duration) {
        await timed(by: tools.clock, operation)
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

    /// Lends the path of a file with the plain recording while `body` runs.
    ///
    /// A sealed recording is decrypted into a temporary file. A stage that runs as another Unix user than the worker gets a
    /// copy, because only the worker may read the recordings.
    private func withPlainFile<Result: Sendable>(
        of recording: RecordingFile, _ body: (String) async throws -> Result
    ) async throws -> Result {
        let owner = tools.stages.account
        if owner == nil, let path = recording.plainPath { return try await body(path.string) }
        return try await PrivateDirectory.with(
            purpose: "recording", in: tools.stages.workDirectory, owner: owner
        ) { directory in
            let path = FilePath(directory).appending("recording")
            try await recording.copy(to: path)
            if let owner, chown(path.string, owner.user, owner.group) != 0 { throw Errno(rawValue: errno) }
            return try await body(path.string)
        }
    }

    private func run(
        _ command: StageCommand, _ path: String, as status: SessionStatus, from: Int, to: Int
    ) async throws -> StageResult {
        try await command.run(recording: path) { stageProgress in
            do {
                try await tools.stores.progress.report(
                    ProgressReport(
                        sessionID: claim.session, status: status,
                        progress: from + stageProgress.progress * (to - from) / 100,
                        message: stageProgress.message?.replacing("\0", with: " "),
                        estimatedTimeRemaining: stageProgress.estimatedTimeRemaining, attempt: claim.attempt,
                        lease: claim.lease))
            } catch let error as PostgresError where error.isTransient {
                // A lost percentage does no harm. The work goes on while the database is away.
            } catch let error as PostgresError where error.isLeaseFault {
                try await renewLease()
            } catch let error as PostgresError where error.isRefusal {
                throw Abandonment.notOurs
            }
        }
    }

    // MARK: - Reports

    /// Reports a transition, however long PostgreSQL is away: a restart must not end the work half-way.
    private func report(_ status: SessionStatus, _ percentage: Int, _ message: String) async throws {
        try await persistently {
            try await tools.stores.progress.report(
                ProgressReport(
                    sessionID: claim.session, status: status, progress: percentage, message: message,
                    attempt: claim.attempt, lease: claim.lease))
        }
    }

    private func fail(_ reason: String) async {
        let report = ProgressReport(
            sessionID: claim.session, status: .failed, progress: 0, error: reason, attempt: claim.attempt,
            lease: claim.lease)
        do {
            try await withLeaseKept { _ = try await persistently { try await tools.stores.progress.report(report) } }
        } catch {
            log(.warning, "failure not recorded; another worker will claim the session", ["error": "\(error)"])
        }
    }

    private func release() async {
        // This task is cancelled, and the pool sends no statement of a cancelled task. Another task sends it.
        _ = await Task { try? await tools.stores.queue.keepLease(of: claim, lease: .seconds(1)) }.value
    }

    /// Leaves a session to other workers if this worker lacks the key of its recording.
    ///
    /// The session has not failed: this worker's setting is missing or out of date.
    private func leaveLocked(_ error: RecordingError) async {
        log(.error, "this worker has no key for the recording", ["error": "\(error)"])
        do {
            guard let state = try await tools.stores.progress.progress(of: claim.session) else { return }
            try await tools.stores.progress.report(
                ProgressReport(
                    sessionID: claim.session, status: state.status, progress: state.progress,
                    message: "Waiting for a worker that can open the recording", attempt: claim.attempt,
                    lease: claim.lease))
            _ = try await tools.stores.queue.keepLease(of: claim, lease: PipelineWorker.missingKeyLease)
        } catch {
            log(.warning, "session left until its lease ends", ["error": "\(error)"])
        }
    }

    /// Repeats an operation while the database is away.
    ///
    /// - Throws: ``Abandonment/notOurs`` when the database says that the session does not belong to this worker.
    @discardableResult
    private func persistently<Result: Sendable>(_ operation: () async throws -> Result) async throws -> Result {
        var isRenewed = false
        while true {
            do {
                return try await operation()
            } catch let error as PostgresError where error.isTransient {
                log(.warning, "database away, trying again", ["error": "\(error)"])
                try await tools.clock.sleep(for: .seconds(1))
            } catch let error as PostgresError where error.isLeaseFault && !isRenewed {
                try await renewLease()
                isRenewed = true
            } catch let error as PostgresError where error.isRefusal {
                throw Abandonment.notOurs
            }
        }
    }

    // MARK: - The lease

    /// Extends the lease while `work` runs.
    ///
    /// Cancels the work when the lease is lost.
    private func withLeaseKept(_ work: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask(operation: work)
            group.addTask { try await keepLease() }
            defer { group.cancelAll() }
            // Extending never ends by itself. The first to end is therefore the work, or the loss of the lease.
            try await group.next()
        }
    }

    /// Extends a lease that does not stand.
    ///
    /// It has run out while the database was away, or the session belongs to another worker.
    ///
    /// - Throws: ``Abandonment/notOurs`` when the session belongs to this worker no more.
    private func renewLease() async throws {
        let isKept = try await persistently {
            try await tools.stores.queue.keepLease(of: claim, lease: PipelineWorker.lease)
        }
        guard isKept else { throw Abandonment.notOurs }
        log(.notice, "lease ran out and was extended")
    }

    private func keepLease() async throws {
        while true {
            try await tools.clock.sleep(for: PipelineWorker.lease / 3)
            do {
                guard try await tools.stores.queue.keepLease(of: claim, lease: PipelineWorker.lease) else {
                    throw Abandonment.notOurs
                }
            } catch let error as PostgresError where error.isTransient {
                // If the database stays away until the lease ends, the next claim raises the attempt. The database then
                // refuses the next report of this worker.
                log(.warning, "lease not extended", ["error": "\(error)"])
            }
        }
    }

    private func log(_ level: Logger.Level, _ message: Logger.Message, _ metadata: Logger.Metadata = [:]) {
        let session: Logger.Metadata = ["session": "\(claim.session)", "attempt": "\(claim.attempt)"]
        tools.logger.log(level: level, message, metadata: session.merging(metadata) { first, _ in first })
    }
}

extension PostgresError {
    /// True if the database refused the report: by the state machine, because of a higher attempt or another worker's
    /// lease, or without a session.
    fileprivate var isRefusal: Bool { sqlState == .checkViolation || sqlState == .noDataFound || isLeaseFault }
}
