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
                case is LostRight, is HistoryReader.LostEntry, is PostgresError:
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
        let remover = RecordingRemover(sessions: sessions, recordings: recordings)
        while true {
            guard let step = try await sessions.eraseSome(of: id, as: principal) else { throw Problem.forbidden }
            report.erased += step.erased
            for key in step.files where !(await remover.remove(key, context.logger)) { report.filesLeft += 1 }
            if step.erased.sessions < SessionStore.erasureStep { break }
        }
        context.logger.notice(
            "data of a patient erased",
            metadata: ["sessions": "\(report.erased.sessions)", "files_left": "\(report.filesLeft)"])
        return JSON.response(report)
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
        case filesLeft = "files_left"
    }

    func encode(to encoder: any Encoder) throws {
        try erased.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(patient, forKey: .patient)
        try container.encode(Timestamp.now(), forKey: .erasedAt)
        try container.encode(filesLeft, forKey: .filesLeft)
    }
}

extension Problem {
    fileprivate static let forbiddenExport = Problem(
        .forbidden, "Only administrators and the patient may export what is held of a patient.")
}
