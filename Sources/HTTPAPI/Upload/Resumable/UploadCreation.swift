import Domain
import DurationUnits
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Postgres
import Recordings
import Store

/// The creation of a resumable upload, with its session.
struct UploadCreation: Sendable {
    let route: ResumableUploadRoutes
    let context: UserContext

    private var principal: Principal { context.claims.principal }

    /// The longest `Upload-Metadata`, in bytes.
    private static let metadataLimit = 8192

    /// Creates an upload, or finds the one that the same request created before.
    ///
    /// - Returns: The upload; `isNew` is false for one that was there.
    /// - Throws: A ``Problem``; the error of the database.
    func run(_ request: Request) async throws -> (upload: ResumableUpload, isNew: Bool) {
        let (length, metadata, form) = try read(request)
        do {
            try await route.form.checkRight(toUploadFor: form.patient, context)
        } catch let problem as Problem {
            throw problem.closing(request)
        }
        try await refuseByName(form, request)
        let session = form.session ?? .random()
        if form.session != nil, let known = try await known(session, length: length, form, request) {
            return (known, false)
        }
        let upload = ResumableUpload(
            id: .random(), session: session, patient: form.patient, user: context.user.id, metadata: metadata,
            length: length, expiresAt: Timestamp.now().advanced(by: route.settings.resumeLifetime))
        do {
            try await route.form.charges.chargeCreation(
                upload.id.rawValue, of: context.user.id, bytes: length, limits: route.settings.limits)
        } catch let refusal as UploadRefusal {
            route.metrics.refused(by: refusal.limit)
            throw Problem(refusal, route.settings.limits).closing(request)
        }
        do {
            return try await enter(upload, form, request)
        } catch {
            try? await route.form.charges.end(upload.id.rawValue, bytes: nil)
            throw error
        }
    }

    /// Reads and checks the headers.
    private func read(_ request: Request) throws(Problem) -> (Int64, String, UploadForm) {
        guard request.headers[.uploadDeferLength] == nil else {
            throw Problem(.malformed, "Send Upload-Length: the server does not take an upload without its length.")
                .closing(request)
        }
        let length = try Tus.byteCount(.uploadLength, of: request)
        let metadata = request.headers[.uploadMetadata] ?? ""
        guard metadata.utf8.count <= Self.metadataLimit else {
            throw Problem(.malformed, "Upload-Metadata may have at most \(Self.metadataLimit) bytes.").closing(request)
        }
        let form: UploadForm
        do {
            form = try UploadForm(try UploadMetadata(metadata))
        } catch {
            throw error.closing(request)
        }
        guard length <= Int64(route.settings.maximumBytes) else { throw route.form.tooLarge }
        guard length > 0 else { throw Problem(FileKind.empty) }
        if request.hasBody { try Tus.checkMediaType(of: request) }
        return (length, metadata, form)
    }

    /// Refuses a file whose name or declared type shows that it is no recording, and records that as the form does.
    private func refuseByName(_ form: UploadForm, _ request: Request) async throws {
        guard let kind = form.refusal else { return }
        try await route.form.recorder.admit(context, to: .upload, patient: form.patient)
        route.metrics.failed(with: .unsupportedMedia)
        throw Problem(kind)
    }

    /// Finds the caller's own unfinished upload of a session, which a repeated creation gets.
    ///
    /// - Throws: 409 if the session waits for another recording.
    private func known(
        _ session: SessionID, length: Int64, _ form: UploadForm, _ request: Request
    ) async throws -> ResumableUpload? {
        guard let reading = try await route.uploads.openUpload(of: session, as: principal) else { return nil }
        let upload = reading.upload
        guard upload.state(at: reading.now) == .open else {
            try await route.expire(upload, context.logger)
            return nil
        }
        let known = try UploadForm(try UploadMetadata(upload.metadata))
        guard upload.length == length, known.filename == form.filename, known.patient == form.patient else {
            throw try await conflict(
                "session_id: an upload of another recording is unfinished. Continue it, or end it by DELETE.", session,
                form,
                request)
        }
        try await route.form.recorder.admit(context, to: .upload, session: session, patient: form.patient)
        return upload
    }

    /// Enters an upload and its session into the database.
    private func enter(
        _ upload: ResumableUpload, _ form: UploadForm, _ request: Request
    ) async throws -> (upload: ResumableUpload, isNew: Bool) {
        if try await create(upload, form, again: false, request) { return (upload, true) }
        // The session exists. A request that ran at the same time may have created the same upload.
        guard let first = try await route.form.sessions.upload(upload.session, as: principal),
            first.uploadedBy == context.user.id, first.patient == form.patient
        else { throw try await conflict("session_id: belongs to another session.", upload.session, form, request) }
        if let known = try await known(upload.session, length: upload.length, form, request) {
            try? await route.form.charges.end(upload.id.rawValue, bytes: nil)
            return (known, false)
        }
        guard first.sha256 == nil else {
            throw try await conflict(
                "session_id: the session already has a recording.", upload.session, form, request)
        }
        _ = try await route.form.sessions.failSilentUpload(
            of: upload.session, silentFor: ResumableUpload.silence, as: principal)
        if try await create(upload, form, again: true, request) { return (upload, true) }
        throw try await conflict(
            "session_id: the first upload of this session is still in progress.", upload.session, form, request
        ).retry(after: ResumableUpload.silence)
    }

    private func create(
        _ upload: ResumableUpload, _ form: UploadForm, again: Bool, _ request: Request
    ) async throws -> Bool {
        do {
            return try await route.uploads.create(
                upload, lifetime: route.settings.resumeLifetime,
                key: route.form.recordings.partsKey(of: upload.id.description),
                therapist: Access.isNamedAsTherapist(context.user.role) ? context.user.id : nil, form.described,
                again: again, as: principal, from: UploadOrigin(context))
        } catch let error as PostgresError where error.sqlState == .deletedSessionID {
            throw try await refuse(ErrorMiddleware.problem(for: error), upload.session, form, request)
        } catch let error as PostgresError where error.sqlState == .insufficientPrivilege {
            // The right has ended since the check.
            throw try await refuse(UploadRoute.forbidden, upload.session, form, request)
        }
    }

    private func conflict(
        _ detail: String, _ session: SessionID, _ form: UploadForm, _ request: Request
    ) async throws -> Problem {
        try await refuse(Problem(.conflict, detail), session, form, request)
    }

    /// Records a refusal, and returns the problem to answer.
    private func refuse(
        _ problem: Problem, _ session: SessionID, _ form: UploadForm, _ request: Request
    ) async throws -> Problem {
        let problem = problem.closing(request)
        do {
            try await route.form.recorder.admit(
                context, to: .upload, if: false, session: session, patient: form.patient, else: problem)
        } catch let refusal as Problem {
            return refusal
        }
        return problem
    }
}
