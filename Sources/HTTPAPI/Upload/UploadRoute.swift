import Credentials
import Crypto
import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Polling
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
    let settings: UploadSettings
    let metrics: UploadMetrics
    let charges: UploadChargeStore
    let clock: any MonotonicClock

    /// How long a repeat waits for the failure of the upload that it repeats.
    private static let repeatWait = Duration.seconds(10)

    func add(to table: inout RouteTable) {
        table.user(.post, "/api/sessions/upload", upload)
    }

    /// What the form may have beside the file.
    private static let formLimit = 65_536

    @Sendable private func upload(_ request: Request, _ context: UserContext) async throws -> Response {
        let declaredLength = request.headers[.contentLength].flatMap { Int64($0) }
        let limit = settings.maximumBytes + Self.formLimit
        if let declaredLength, declaredLength > Int64(limit) { throw tooLarge }
        var reader = try UploadReader(request, limit: limit)
        // Where the client does not say how much it sends, it may be the most.
        let expectedBytes = declaredLength ?? Int64(settings.maximumBytes)
        return try await UploadAllowance.with(
            of: context.user.id, bytes: expectedBytes, limits: settings.limits, charges: charges,
            metrics: metrics, clock: clock, logger: context.logger
        ) { allowance in
            reader.allowance = allowance
            return try await upload(&reader, expectedBytes: expectedBytes, allowance, context)
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
        // A name of our own for each upload: one of the client's choosing would be a path of the client's choosing.
        let upload = UploadReception(
            session: session,
            recording: ExpectedRecording(
                upload: allowance.id,
                key: recordings.key(for: "\(allowance.id.uuidString.lowercased()).\(form.format.rawValue)")),
            form: form, expectedBytes: expectedBytes, allowance: allowance, principal: context.claims.principal,
            route: self, logger: context.logger)
        let isNew = try await sessions.add(
            session, patient: form.patient, therapist: therapist, date: form.sessionDate, filename: form.filename,
            mediaType: form.mediaType, awaiting: upload.recording, as: context.claims.principal)
        guard isNew else { return try await takeRepeat(upload, &reader, context) }
        try await upload.receive(&reader)
        return try await response(for: session, context, status: .created)
    }

    var tooLarge: Problem {
        Problem(.tooLarge, "A recording may have at most \(settings.maximumBytes) bytes.").closing()
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

    /// Takes an upload into a session that is there already: a client that was cut off sends the same again, without
    /// knowing whether the first came through.
    private func takeRepeat(
        _ upload: UploadReception, _ reader: inout UploadReader, _ context: UserContext
    ) async throws -> Response {
        let (session, form) = (upload.session, upload.form)
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
            let isBegun = try await sessions.beginAgain(
                session, date: form.sessionDate, filename: form.filename, mediaType: form.mediaType,
                awaiting: upload.recording, as: context.claims.principal)
            guard isBegun else { fallthrough }
            try await upload.receive(&reader)
            return try await response(for: session, context, status: .created)
        case .underWay:
            throw Problem(.conflict, "session_id: its first upload is still under way.").closing()
        }
        var hasher = SHA256()
        var byteCount = 0
        while let bytes = try await reader.readFile() {
            byteCount += bytes.readableBytes
            guard byteCount <= settings.maximumBytes else { throw tooLarge }
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
                try? await clock.sleep(for: Self.repeatWait)
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
