import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Logging
import Polling
import Postgres
import Recordings
import Store

/// All that is held of a patient: `/api/patients/{id}/export` and `/api/patients/{id}/data`.
struct PatientDataRoutes: Sendable {
    let recorder: AccessRecorder
    let users: UserStore
    let sessions: SessionStore
    let progress: ProgressStore
    let log: AuditStore
    let recordings: RecordingStore
    let clock: any MonotonicClock

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/patients/:id/export", produces: "*/*", export)
        table.user(.delete, "/api/patients/:id/data", erase)
    }

    /// Answers with the archive, for an administrator or the patient.
    @Sendable private func export(_ request: Request, _ context: UserContext) async throws -> Response {
        // An id that is none is nobody's own.
        let relation = Relation(isPatient: (try? context.userID()) == context.user.id, isAssigned: false)
        guard Access.permits(.export, to: context.user.role, as: relation) else {
            try await recorder.admit(
                context, to: .exportPatient, if: false, patient: try? context.userID(), else: .forbiddenExport)
            throw Problem.forbiddenExport
        }
        try request.uri.queryParameters.allow(only: [])
        let id = try context.userID()
        try await recorder.admit(context, to: .exportPatient, patient: id)
        guard let patient = try await users.acting(as: context.claims.principal).record(of: id) else {
            throw Problem.noUser
        }
        let export = PatientExport(
            patient: patient, caller: context.user, principal: context.claims.principal, users: users,
            sessions: sessions, progress: progress, log: log, recordings: recordings, clock: clock)
        let body = ResponseBody { [logger = context.logger] writer in
            do {
                try await export.write(to: &writer)
            } catch {
                // The head has gone. The only way to report the error is to end the connection before the end of the archive.
                // Other errors are those of a client that has gone.
                switch error {
                case is RecordingError: logger.error("export broken off", metadata: ["error": "\(error)"])
                case is PatientExport.LostRight, is HistoryReader.LostEntry, is PostgresError:
                    logger.notice("export broken off", metadata: ["error": "\(error)"])
                default: break
                }
                throw error
            }
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "application/x-tar", .cacheControl: "no-store", .xContentTypeOptions: "nosniff",
                .contentDisposition: ContentDisposition.attachment("patient-\(id).tar"),
            ], body: body)
    }

    /// Erases in steps, and answers with a report of what was removed.
    ///
    /// A request that breaks off has removed whole sessions. The next one removes the rest.
    @Sendable private func erase(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .erasePatient)
        try request.uri.queryParameters.allow(only: [])
        let id = try context.userID()
        let principal = context.claims.principal
        guard try await users.acting(as: principal).record(of: id) != nil else { throw Problem.noUser }
        try await recorder.admit(context, to: .erasePatient, patient: id)
        var report = ErasureReport(patient: id)
        while true {
            guard let step = try await sessions.eraseSome(of: id, as: principal) else { throw Problem.forbidden }
            report.erased += step.erased
            for key in step.files where !(await removed(key, context.logger)) { report.filesLeft += 1 }
            if step.erased.sessions < SessionStore.erasureStep { break }
        }
        context.logger.notice(
            "data of a patient erased",
            metadata: ["sessions": "\(report.erased.sessions)", "files_left": "\(report.filesLeft)"])
        return JSON.response(report)
    }

    /// Removes the file of a recording.
    ///
    /// - Returns: False if it cannot be removed now. The janitor tries again every ten minutes.
    private func removed(_ key: String, _ logger: Logger) async -> Bool {
        do {
            try await recordings.remove(key: key)
            try await sessions.noteRemoval(recording: key)
            return true
        } catch {
            logger.warning("cannot remove a recording yet", metadata: ["error": "\(error)"])
            return false
        }
    }
}

/// What an erasure removed, and what it could not remove yet.
private struct ErasureReport: Encodable {
    let patient: UserID
    var erased = ErasedData()
    /// Recordings whose file the server still has to remove.
    var filesLeft = 0

    init(patient: UserID) { self.patient = patient }

    private enum CodingKeys: String, CodingKey {
        case patient = "patient_id"
        case erasedAt = "erased_at"
        case sessions, recordings, transcripts, notes, history, events
        case unfinishedUploads = "unfinished_uploads"
        case stageFailures = "stage_failures"
        case filesLeft = "files_left"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(patient, forKey: .patient)
        try container.encode(Timestamp.now(), forKey: .erasedAt)
        try container.encode(erased.sessions, forKey: .sessions)
        try container.encode(erased.recordings, forKey: .recordings)
        try container.encode(erased.unfinishedUploads, forKey: .unfinishedUploads)
        try container.encode(erased.transcripts, forKey: .transcripts)
        try container.encode(erased.notes, forKey: .notes)
        try container.encode(erased.history, forKey: .history)
        try container.encode(erased.stageFailures, forKey: .stageFailures)
        try container.encode(erased.events, forKey: .events)
        try container.encode(filesLeft, forKey: .filesLeft)
    }
}

extension Problem {
    fileprivate static let forbiddenExport = Problem(
        .forbidden, "Only administrators and the patient may export what is held of a patient.")
}
