import Credentials
import Crypto
import Domain
import DurationUnits
import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Polling
import Postgres
import Progress
import Recordings
import Store

/// `POST /api/sessions/upload`: receives a recording, from the first byte to the queue for a worker.
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
    let entries: LateEntries
    let clock: any MonotonicClock
    let rests: BodyRests

    /// How long a repeated upload waits for the end of the first one.
    private static let firstUploadTimeout = Duration.seconds(10)
    /// How often it looks whether the connection of the first one is silent.
    private static let silenceCheckInterval = Duration.seconds(1)

    func add(to table: inout RouteTable) {
        table.user(.post, "/api/sessions/upload", upload)
    }

    /// The maximum size of the form without the file, in bytes.
    private static let formLimit = 65_536

    @Sendable private func upload(_ request: Request, _ context: UserContext) async throws -> Response {
        try await readingRest(context, upTo: bodyLimit) { try await receive(request, context) }
    }

    /// Runs a handler, and reads the rest of a body that it refuses: a browser reads no answer before it has sent everything.
    ///
    /// - Parameters:
    ///   - context: The request.
    ///   - limit: How many bytes to read at most.
    ///   - isExcepted: True for a problem after which the rest is not read.
    ///   - handler: Answers the request.
    /// - Returns: The answer of the handler.
    /// - Throws: The error of the handler.
    func readingRest(
        _ context: UserContext, upTo limit: Int, unless isExcepted: (Problem) -> Bool = { _ in false },
        _ handler: () async throws -> Response
    ) async throws -> Response {
        do {
            return try await handler()
        } catch {
            let problem = ErrorMiddleware.problem(for: error)
            if problem.closesConnection, !isExcepted(problem), let rest = rests.begin(limit: limit) {
                await context.connection.readRest(rest)
            }
            throw error
        }
    }

    /// Removes a file that no session needs.
    ///
    /// If that fails, the janitor does it.
    func remove(_ recording: ExpectedRecording, _ logger: Logger) async {
        await RecordingRemover(sessions: sessions, recordings: recordings)
            .remove(recording.key, of: recording.upload, failingAt: .notice, logger)
    }

    /// The maximum size of a request, in bytes.
    private var bodyLimit: Int { settings.maximumBytes + Self.formLimit }

    private func receive(_ request: Request, _ context: UserContext) async throws -> Response {
        let declaredLength = request.headers[.contentLength].flatMap { Int64($0) }
        if let declaredLength, declaredLength > Int64(bodyLimit) { throw tooLarge }
        var reader = try UploadReader(request, limit: bodyLimit)
        // A client that does not declare the size may send the maximum.
        let expectedBytes = declaredLength ?? Int64(settings.maximumBytes)
        return try await UploadAllowance.with(
            of: context.user.id, bytes: expectedBytes, limits: settings.limits, charges: charges,
            metrics: metrics, clock: clock, logger: context.logger
        ) { allowance in
            reader.allowance = allowance
            return try await upload(&reader, declaredBytes: declaredLength, allowance, context)
        }
    }

    private func upload(
        _ reader: inout UploadReader, declaredBytes: Int64?, _ allowance: UploadAllowance, _ context: UserContext
    ) async throws -> Response {
        let form = try await reader.readForm()
        let session = form.session ?? .random()
        try await checkRight(toUploadFor: form.patient, context)
        // A file that is refused by its name or type does not count against the limits of the user.
        if form.refusal == nil { allowance.begin() }
        if form.session == nil { try await refuseEarly(form, &reader, context) }

        let therapist = Access.isNamedAsTherapist(context.user.role) ? context.user.id : nil
        // The server chooses the name of the file. A name of the client's choice would be a path of the client's
        // choice, and its extension would tell the pipeline's programs what to take the bytes for.
        let upload = UploadReception(
            session: session,
            recording: ExpectedRecording(
                upload: allowance.id,
                key: recordings.key(for: allowance.id.uuidString.lowercased())),
            form: form, declaredBytes: declaredBytes, allowance: allowance, principal: context.claims.principal,
            route: self, logger: context.logger)
        let isNew: Bool
        do {
            isNew = try await sessions.add(
                session, patient: form.patient, therapist: therapist, form.described, awaiting: upload.recording,
                as: context.claims.principal, from: UploadOrigin(context))
        } catch let error as PostgresError where error.sqlState == .deletedSessionID {
            throw try await refuse(upload, ErrorMiddleware.problem(for: error).closing(), context)
        } catch let error as PostgresError where error.sqlState == .insufficientPrivilege {
            // The right has ended since the check.
            throw try await refuse(upload, Self.forbidden, context)
        }
        guard isNew else { return try await handleRepeat(upload, &reader, context) }
        try await upload.receive(&reader)
        return try await response(for: session, context, status: .created)
    }

    /// How much of a file is read before its session exists, in bytes.
    private static let earlyLimit = 2 * 65_536

    /// Refuses a file that is no recording by its name, its declared type or its first bytes, before it has a session.
    ///
    /// Nobody can watch a session whose id nobody knows, and a failed session would stay in the lists. If the client chose
    /// the id, it may be watching, and the session fails with the reason. Either way the audit log has the upload, and the
    /// metrics count the failure.
    private func refuseEarly(_ form: UploadForm, _ reader: inout UploadReader, _ context: UserContext) async throws {
        do {
            if let kind = form.refusal { throw Problem(kind) }
            var (check, byteCount) = (RecordingCheck(), 0)
            try await reader.readAhead(upTo: Self.earlyLimit) { bytes in
                guard let bytes else {
                    _ = try check.finish()
                    return true
                }
                try check.take(bytes)
                byteCount += bytes.readableBytes
                return check.format != nil && byteCount >= PolyglotDetector.beginningLength
            }
        } catch let problem as Problem where problem.kind == .unsupportedMedia {
            try await recorder.admit(context, to: .upload, patient: form.patient)
            metrics.failed(with: problem.kind)
            throw problem
        }
    }

    /// Records that the server refuses an upload into a session, and returns the problem to answer.
    ///
    /// - Throws: The error of the database if it cannot write the record.
    private func refuse(_ upload: UploadReception, _ problem: Problem, _ context: UserContext) async throws -> Problem {
        do {
            try await recorder.admit(
                context, to: .upload, if: false, session: upload.session, patient: upload.form.patient,
                else: problem)
        } catch let refusal as Problem {
            return refusal
        }
        return problem
    }

    var tooLarge: Problem {
        Problem(.tooLarge, "A recording may have at most \(settings.maximumBytes) bytes.").closing()
    }

    /// Refuses an upload for a patient without the right, and records the refusal.
    ///
    /// The store records an upload that is allowed, in the transaction of the session that it creates or changes.
    func checkRight(toUploadFor patient: UserID, _ context: UserContext) async throws {
        let relation = try await users.acting(as: context.claims.principal)
            .relation(of: context.user, toPatient: patient)
        if relation == nil, Access.permits(.seeAccounts, to: context.user.role) {
            throw Problem.invalid("patient_id", "is not an active patient.").closing()
        }
        let isAllowed = relation.map { Access.permits(.upload, to: context.user.role, as: $0) } ?? false
        if isAllowed { return }
        // The answer does not reveal whether the patient exists, and no session is created.
        try await recorder.admit(
            context, to: .upload, if: false, patient: patient,
            else: Self.forbidden)
    }

    static let forbidden = Problem(.forbidden, "You may not upload a recording for this patient.").closing()

    /// Handles an upload into an existing session.
    ///
    /// A client whose connection broke sends the same upload again. It does not know whether the first one succeeded.
    private func handleRepeat(
        _ upload: UploadReception, _ reader: inout UploadReader, _ context: UserContext
    ) async throws -> Response {
        let (session, form) = (upload.session, upload.form)
        guard let first = try await sessions.upload(session, as: context.claims.principal),
            first.uploadedBy == context.user.id,
            first.patient == form.patient
        else {
            throw try await refuse(
                upload, Problem(.conflict, "session_id: belongs to another session.").closing(), context)
        }
        // The first one may be complete, and have missed the database.
        await entries.enterReceipts(with: session.description)
        let sha256: [UInt8]
        switch try await firstUpload(of: session, as: context.claims.principal) {
        case .stored(let digest):
            sha256 = digest
        case .failed:
            // The first upload left no recording. This one replaces it.
            let isBegun = try await sessions.beginAgain(
                session, patient: form.patient, form.described, awaiting: upload.recording,
                as: context.claims.principal, from: UploadOrigin(context))
            guard isBegun else { fallthrough }
            try await upload.receive(&reader)
            return try await response(for: session, context, status: .created)
        case .underWay:
            let problem = Problem(.conflict, "session_id: the first upload of this session is still in progress.")
                .retry(after: ResumableUpload.silence)
            throw try await refuse(upload, problem.closing(), context)
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
            let problem = Problem(.conflict, "session_id: the session already has another recording.")
            throw try await refuse(upload, problem, context)
        }
        try await recorder.admit(context, to: .upload, session: session, patient: form.patient)
        return try await response(for: session, context, status: .ok)
    }

    /// The state of the first upload into a session.
    private enum FirstUpload {
        case stored(sha256: [UInt8])
        case failed
        case underWay
    }

    /// Finds the state of the first upload into a session.
    ///
    /// It waits a little for an upload that is about to end, or whose connection has just broken.
    private func firstUpload(of session: SessionID, as principal: Principal) async throws -> FirstUpload {
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
                try? await clock.sleep(for: Self.firstUploadTimeout)
                return nil
            }
            group.addTask {
                // The connection of the first upload may have broken without a sign, or its server may have died.
                while true {
                    let isSilent = try await sessions.failSilentUpload(
                        of: session, silentFor: ResumableUpload.silence, as: principal)
                    if isSilent { return .failed }
                    try await clock.sleep(for: Self.silenceCheckInterval)
                }
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

extension UploadOrigin {
    /// The request of a user.
    init(_ context: UserContext) {
        self.init(requestID: context.requestID, network: context.network)
    }
}
