import Cage
import Domain
import FoundationEssentials
import Glibc
import Logging
import Postgres
import Recordings
import Store
import Synchronization
import SystemPackage

// The way of a session from stage to stage.
extension PipelineJob {
    func goThroughStages() async throws {
        // After a takeover, the work continues at the status that the former worker reached.
        guard var status = claim.status else {
            throw InstallationFault(
                .release, "a newer release works here, too: it knows statuses that this release does not")
        }
        let recording = try await openRecording()
        if status == .pending {
            try await report(.preprocessing, "Preparing the recording")
            status = .preprocessing
        }
        if status == .preprocessing {
            try await measure(recording)
            try await report(.transcribing, "Transcribing audio")
            status = .transcribing
        }
        if status == .transcribing || status == .diarizing {
            try await transcribe(recording, as: status)
            try await report(.transcribed, try await length().notice ?? "The transcript is ready")
            status = .transcribed
        }
        if let notes = tools.stages.notes {
            if status == .transcribed { try await report(.extractingNotes, "Writing notes") }
            try await write(notes, recording)
        }
        let notice = try await length().notice
        try await lease.ending { try await sendReport(.processed, SessionStatus.processed.floor, notice ?? "All done") }
        log(.info, "session processed")
    }

    /// Opens the recording.
    ///
    /// - Throws: ``InstallationFault`` if most other recordings are missing, too; ``StageFailure`` if this one is.
    private func openRecording() async throws -> RecordingFile {
        if let recording = try await tools.recordings.openForWork(key: claim.recording) { return recording }
        let others = try await lease.persistently {
            try await tools.stores.queue.sampleRecordings(besides: claim.session, most: 20)
        }
        let missing = try await tools.recordings.countMissing(others)
        // Without its file system, UPLOAD_DIR may have files, too: those of uploads that were made since.
        guard missing * 2 <= others.count else {
            throw InstallationFault(
                .recordings,
                "\(missing) of \(others.count) other recordings are missing in UPLOAD_DIR, too; is its file system mounted?"
            )
        }
        throw StageFailure(
            .badOutput, publicMessage: "The recording is missing on the server.",
            detail: "no file for the recording of this session in UPLOAD_DIR")
    }

    /// Measures the recording, and stores its length.
    private func measure(_ recording: RecordingFile) async throws {
        let measurement: MeasuredLength
        do {
            var command = tools.stages.measure
            command.timeout = tools.stages.limits.timeout(ofLength: 0)
            let result = try await withPlainFile(of: recording) { [command] path in
                try await command.run(recording: path) { _ in }
            }
            measurement = try JSONDecoder().decode(MeasuredLength.self, from: Data(result.json.utf8))
        } catch let failure as StageFailure {
            let failed = FailedStage(stage: .measure, failure: failure)
            // A measurement that was killed or took too long has found nothing out about the recording.
            guard failure.fault == .recording else { throw failed }
            tools.metrics.failed(.measure, failure.code)
            // The next stage decides whether it can use the recording. A site's own stage may not need ffprobe.
            log(.warning, "duration of the recording unknown, and not checked", ["detail": "\(failure.detail)"])
            await keepLastWords(of: failed)
            return
        }
        let longest = tools.stages.limits.longest / .seconds(1)
        guard measurement.seconds <= longest else {
            tools.metrics.failed(.measure, .tooLong)
            throw StageFailure(
                .tooLong, publicMessage: TranscriberError.tooLong(seconds: longest).description,
                detail: "PIPELINE_MAX_DURATION is \(longest) s, and the recording has \(measurement.seconds) s")
        }
        let length = RecordingLength(
            decoded: measurement.seconds, announced: measurement.announcedSeconds, hasCutTrack: measurement.hasCutTrack)
        try await lease.persistently { try await tools.stores.sessions.setLength(length, of: claim.session) }
    }

    /// The length of the recording, as far as the database knows it.
    private func length() async throws -> RecordingLength {
        try await lease.persistently { try await tools.stores.sessions.length(of: claim.session) }
    }

    private func transcribe(_ recording: RecordingFile, as status: SessionStatus) async throws {
        var command = tools.stages.transcribe
        command.environment["TB_MAX_DURATION_SECONDS"] = "\(tools.stages.limits.longest / .seconds(1))"
        command.resultRule = .transcript(recordingSeconds: try await length().decoded)
        let result = try await run(
            .transcribe, command, recording, as: status, from: SessionStatus.transcribing.floor,
            to: SessionStatus.transcribed.floor)
        try await lease.persistently { try await tools.stores.queue.storeTranscript(result.json, of: claim) }
    }

    private func write(_ notes: StageCommand, _ recording: RecordingFile) async throws {
        var notes = notes
        notes.resultRule = .object
        notes.transcript = try await lease.persistently { try await tools.stores.queue.transcript(of: claim) }
        // The last per cents are for the storage of the notes.
        let result = try await run(
            .notes, notes, recording, as: .extractingNotes, from: SessionStatus.extractingNotes.floor, to: 95)
        try await lease.persistently { try await tools.stores.queue.storeNotes(result.json, of: claim) }
    }

    /// Runs a stage and records its duration.
    ///
    /// The stage's 0-100 % become `from`-`to` of the whole session.
    private func run(
        _ stage: PipelineStage, _ command: StageCommand, _ recording: RecordingFile, as status: SessionStatus,
        from: Int, to: Int
    ) async throws -> StageResult {
        let length = try await length().decoded
        var command = command
        command.environment["TB_SESSION_ID"] = "\(claim.session)"
        command.environment["TB_ATTEMPT"] = "\(claim.attempt)"
        command.environment["TB_STAGE"] = stage.rawValue
        command.environment["TB_DURATION_SECONDS"] = length.map { "\($0)" }
        command.environment["TB_LANGUAGE"] = try await lease.persistently {
            try await tools.stores.sessions.language(of: claim.session)
        }?.description
        command.timeout = tools.stages.limits.timeout(ofLength: length)
        command.stallTimeout = tools.stages.limits.stallTimeout
        command.silenceNotice = tools.stages.limits.silenceNotice
        return try await withPlainFile(of: recording) { [command] path in
            let (result, duration) = await timed {
                try await run(command, path, as: status, from: from, to: to)
            }
            switch result {
            case .success(let result):
                tools.metrics.ended(stage, .finished, after: duration)
                note(result.foreignLines, of: stage)
                return result
            case .failure(let failure as StageFailure):
                tools.metrics.ended(stage, .failed, after: duration)
                note(failure.foreignLines, of: stage)
                throw FailedStage(stage: stage, failure: failure)
            case .failure(let error):
                tools.metrics.ended(stage, .abandoned, after: duration)
                throw error
            }
        }
    }

    /// Counts the lines of a stage that were passed over, and logs their number.
    private func note(_ lines: ForeignLines, of stage: PipelineStage) {
        guard lines.count > 0 else { return }
        tools.metrics.passedOver(lines.count, of: stage)
        log(.notice, "lines of a stage passed over", ["stage": "\(stage.rawValue)", "lines": "\(lines)"])
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
        let partial = PartialTranscript(of: claim, in: tools.stores.queue, clock: tools.clock)
        // The bundled transcriber knows this recording alone. The database knows the earlier ones, too.
        let hasExpectation = try await lease.persistently { try await tools.stores.queue.hasExpectation(of: claim) }
        let voice = Mutex(
            StageVoice(title: command.title, tellsEstimates: !command.isBundled || !hasExpectation))
        return try await command.run(recording: path) { update in
            do {
                if let stageProgress = voice.withLock({ $0.words(for: update) }) {
                    try await tools.stores.progress.report(
                        ProgressReport(
                            sessionID: claim.session, status: status,
                            progress: from + stageProgress.progress * (to - from) / 100,
                            message: stageProgress.message?.replacing("\0", with: " "),
                            estimatedTimeRemaining: stageProgress.estimatedTimeRemaining, attempt: claim.attempt,
                            lease: claim.lease))
                }
                // Only the transcriber has segments.
                if status != .extractingNotes, try await !partial.add(update.segments) {
                    log(.notice, "segments of a stage cannot be stored before its result")
                }
            } catch let error as PostgresError where error.isTransient {
                // A lost percentage does no harm. The work goes on while the database is away.
            } catch let error as PostgresError where error.isLeaseFault {
                try await lease.renew()
            } catch let error as PostgresError where error.isRefusal {
                throw JobLease.Loss.notOurs
            }
        }
    }

    /// Reports that the session enters a status, however long PostgreSQL is away.
    ///
    /// A restart of PostgreSQL must not end the work half-way.
    private func report(_ status: SessionStatus, _ message: String) async throws {
        try await lease.persistently { try await sendReport(status, status.floor, message) }
    }

    private func sendReport(_ status: SessionStatus, _ percentage: Int, _ message: String) async throws {
        try await tools.stores.progress.report(
            ProgressReport(
                sessionID: claim.session, status: status, progress: percentage, message: message,
                attempt: claim.attempt, lease: claim.lease))
    }
}
