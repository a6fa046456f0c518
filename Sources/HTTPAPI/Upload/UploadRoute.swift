import Credentials
import Crypto
import Domain
import HTTPTypes
import Hummingbird
import Logging
import Metrics
import NIOCore
import NIOHTTP1
import Postgres
import Progress
import Recordings
import Store

/// `POST /api/sessions/upload`: brings a recording, from the first byte to the queue for a worker.
struct UploadRoute: Sendable {
    let recorder: AccessRecorder
    let users: UserStore
    let sessions: SessionStore
    let progress: ProgressStore
    let recordings: RecordingStore
    let hub: ProgressHub
    let settings: HTTPSettings
    let metrics: UploadMetrics
    let charges: UploadChargeStore

    /// How long a repeat waits for the failure of the upload that it repeats.
    private static let patience = Duration.seconds(10)

    func add(to table: inout RouteTable) {
        table.user(.post, "/api/sessions/upload", upload)
    }

    @Sendable private func upload(_ request: Request, _ context: UserContext) async throws -> Response {
        let declaredLength = request.headers[.contentLength].flatMap { Int64($0) }
        if let declaredLength, declaredLength > Int64(settings.maximumUploadBytes) + 65_536 { throw tooLarge }
        var reader = try UploadReader(request)
        // Where the client does not say how much it sends, it may be the most.
        let expectedBytes = declaredLength ?? Int64(settings.maximumUploadBytes)
        return try await UploadAllowance.with(
            of: context.user.id, bytes: expectedBytes, limits: settings.uploadLimits, charges: charges,
            metrics: metrics, logger: context.logger
        ) { allowance in
            try await upload(&reader, expectedBytes: expectedBytes, allowance, context)
        }
    }

    private func upload(
        _ reader: inout UploadReader, expectedBytes: Int64, _ allowance: UploadAllowance, _ context: UserContext
    ) async throws -> Response {
        let form = try await reader.readForm()
        let session = form.session ?? .random()
        try await checkRight(toUploadInto: session, for: form.patient, context)
        allowance.begin()

        let therapist = context.user.role == .therapist ? context.user.id : nil
        let isNew = try await sessions.add(
            session, patient: form.patient, therapist: therapist, date: form.sessionDate, filename: form.filename,
            mediaType: form.mediaType, as: context.claims.principal)
        guard isNew else {
            return try await takeRepeat(of: session, form, &reader, context, allowance, expectedBytes: expectedBytes)
        }
        let upload = Upload(session: session, attempt: 1, expectedBytes: expectedBytes, allowance: allowance)
        try await receive(&reader, form, upload, context)
        return try await response(for: session, context, status: .created)
    }

    /// One try to bring a session's recording.
    private struct Upload {
        let session: SessionID
        /// Makes whatever this upload says stale once another has taken its place.
        let attempt: Int
        let expectedBytes: Int64
        let allowance: UploadAllowance
    }

    private var tooLarge: Problem {
        Problem(.tooLarge, "A recording may have at most \(settings.maximumUploadBytes) bytes.").closing()
    }

    private func checkRight(
        toUploadInto session: SessionID, for patient: UserID, _ context: UserContext
    ) async throws {
        let relation = try await users.acting(as: context.claims.principal)
            .relation(of: context.user, toPatient: patient)
        if relation == nil, context.user.role == .admin {
            throw Problem.invalid("patient_id", "is not an active patient.").closing()
        }
        let isAllowed = relation.map { Access.permits(.upload, to: context.user.role, as: $0) } ?? false
        // Who may not upload for a patient is not told whether there is one; and no session comes of it.
        try await recorder.admit(
            context, to: .upload, if: isAllowed, session: isAllowed ? session : nil, patient: patient,
            else: Problem(.forbidden, "You may not upload a recording for this patient.").closing())
    }

    /// Takes in the recording of a session, or marks the session as failed.
    private func receive(
        _ reader: inout UploadReader, _ form: UploadForm, _ upload: Upload, _ context: UserContext
    ) async throws {
        do {
            try await store(&reader, form, upload, as: context.claims.principal)
        } catch {
            await fail(upload, because: error, context)
            throw error
        }
        metrics.finished.increment()
        context.logger.info("recording received", metadata: ["session": "\(upload.session)"])
    }

    /// Stores the file while it comes and puts the session into the queue.
    ///
    /// No file is left behind when that fails.
    private func store(
        _ reader: inout UploadReader, _ form: UploadForm, _ upload: Upload, as principal: Principal
    ) async throws {
        try await progress.report(
            ProgressReport(
                sessionID: upload.session, status: .uploading, progress: 0, message: "Uploading the recording",
                attempt: upload.attempt))
        // A key of its own for each upload: a name of the client's choosing would be a path of the client's choosing.
        let key = recordings.key(for: "\(SessionID.random()).\(form.format.rawValue)")
        let meter = UploadProgress(
            store: progress, session: upload.session, attempt: upload.attempt, expectedBytes: upload.expectedBytes)
        let recording: StoredRecording
        do {
            recording = try await write(&reader, form, key: key, upload.allowance, meter)
        } catch {
            await meter.end()
            throw error
        }
        await meter.end()
        try await enter(recording, upload, as: principal)
    }

    /// Enters a stored recording into the database, or removes it again.
    private func enter(_ recording: StoredRecording, _ upload: Upload, as principal: Principal) async throws {
        do {
            let isEntered = try await sessions.enter(
                recording, of: upload.session, attempt: upload.attempt, as: principal)
            if isEntered { return }
            try await recordings.remove(key: recording.key)
            throw Problem(.conflict, "Another upload has taken the place of this one.")
        } catch let error as PostgresError {
            // The connection may have broken at the commit, and the commit may still be under way: the database is asked
            // behind a lock that waits for it. The file is removed only when it answers that it does not have it: a file
            // too many is better than a recording lost. In a task of its own, since this one may be cancelled.
            let (sessions, recordings) = (sessions, recordings)
            let isEntered = try await Task {
                if try await sessions.settledRecording(of: upload.session, as: principal) == recording.key {
                    return true
                }
                try await recordings.remove(key: recording.key)
                return false
            }.value
            if !isEntered { throw error }
        }
    }

    private func write(
        _ reader: inout UploadReader, _ form: UploadForm, key: String, _ allowance: UploadAllowance,
        _ meter: UploadProgress
    ) async throws -> StoredRecording {
        try await recordings.write(key: key) { writer in
            var check = RecordingCheck(form.format)
            while let received = try await reader.readFile() {
                allowance.received(received.readableBytes)
                guard let bytes = try check.take(received) else { continue }
                guard writer.byteCount + Int64(bytes.readableBytes) <= Int64(settings.maximumUploadBytes) else {
                    throw tooLarge
                }
                try await writer.write(bytes)
                metrics.bytes.increment(by: bytes.readableBytes)
                meter.received(writer.byteCount)
            }
            try check.finish()
            try await reader.readEnd()
            return StoredRecording(key: key, bytes: writer.byteCount, sha256: writer.digest())
        }
    }

    /// Marks the session of a broken upload, so that whoever watches it knows.
    private func fail(_ upload: Upload, because error: any Error, _ context: UserContext) async {
        let problem = ErrorMiddleware.problem(for: error)
        let isBrokenOff = Self.isBrokenConnection(error) || problem.kind == .malformed
        metrics.failed(with: isBrokenOff ? nil : problem.kind)
        let reason =
            switch problem.kind {
            case _ where isBrokenOff: "The upload broke off before the recording was complete."
            case .internalError, .unavailable: "The recording could not be stored."
            default: problem.detail
            }
        let report = ProgressReport(
            sessionID: upload.session, status: .failed, progress: 0, error: reason, attempt: upload.attempt)
        // In a task of its own: when the client has gone, this one is cancelled, and the watchers would wait for ever.
        let store = progress
        let logger = context.logger
        await Task {
            do {
                try await store.report(report)
            } catch {
                logger.warning(
                    "a broken upload could not be marked as failed",
                    metadata: ["session": "\(upload.session)", "error": "\(error)"])
            }
        }.value
    }

    /// Whether the client has gone, or been cut off: in the middle of a body that is an end which HTTP does not expect.
    private static func isBrokenConnection(_ error: any Error) -> Bool {
        error is HTTPParserError || error is IOError || error is ChannelError || error is CancellationError
    }

    /// Takes an upload into a session that is there already: a client that was cut off sends the same again, without
    /// knowing whether the first came through.
    private func takeRepeat(
        of session: SessionID, _ form: UploadForm, _ reader: inout UploadReader, _ context: UserContext,
        _ allowance: UploadAllowance, expectedBytes: Int64
    ) async throws -> Response {
        let taken = Problem(.conflict, "session_id: is taken by another session.").closing()
        guard let first = try await sessions.upload(session, as: context.claims.principal),
            first.uploadedBy == context.user.id,
            first.patient == form.patient
        else { throw taken }
        let sha256: [UInt8]
        switch try await outcome(of: session, as: context.claims.principal) {
        case .stored(let digest):
            sha256 = digest
        case .failed:
            // The first one left no recording: this one takes its place.
            guard
                let attempt = try await sessions.beginAgain(
                    session, date: form.sessionDate, filename: form.filename, mediaType: form.mediaType,
                    as: context.claims.principal)
            else { fallthrough }
            let upload = Upload(
                session: session, attempt: attempt, expectedBytes: expectedBytes, allowance: allowance)
            try await receive(&reader, form, upload, context)
            return try await response(for: session, context, status: .created)
        case .underWay:
            throw Problem(.conflict, "session_id: its first upload is still under way.").closing()
        }
        var hasher = SHA256()
        var byteCount = 0
        while let bytes = try await reader.readFile() {
            byteCount += bytes.readableBytes
            allowance.received(bytes.readableBytes)
            guard byteCount <= settings.maximumUploadBytes else { throw tooLarge }
            bytes.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
        }
        try await reader.readEnd()
        guard sha256 == Array(hasher.finalize()) else {
            throw Problem(.conflict, "session_id: has another recording already.")
        }
        return try await response(for: session, context, status: .ok)
    }

    /// What has become of the upload into a session.
    private enum FirstUpload {
        case stored(sha256: [UInt8])
        case failed
        case underWay
    }

    /// What has become of the upload into a session; waits a little for one that is at its end, or whose connection has
    /// just broken.
    private func outcome(of session: SessionID, as principal: Principal) async throws -> FirstUpload {
        guard try await progress.progress(of: session, as: principal) != nil else { throw Problem.noSession }
        let states = await hub.states(of: session)
        return try await withThrowingTaskGroup(of: FirstUpload?.self) { group in
            group.addTask {
                for await state in states where state.status != .uploading {
                    if let sha256 = try await sessions.upload(session, as: principal)?.sha256 {
                        return .stored(sha256: sha256)
                    }
                    if state.status == .failed { return .failed }
                }
                return nil
            }
            group.addTask {
                try? await Task.sleep(for: Self.patience)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next().flatMap { $0 } ?? .underWay
        }
    }

    private func response(
        for id: SessionID, _ context: UserContext, status: HTTPResponse.Status
    ) async throws -> Response {
        guard let session = try await sessions.session(id, as: context.claims.principal) else {
            throw Problem.noSession
        }
        return JSON.response(session, status: status, headers: [.location: "/api/sessions/\(id)"])
    }
}
