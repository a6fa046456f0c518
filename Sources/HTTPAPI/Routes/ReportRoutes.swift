import Credentials
import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Store

/// Where a pipeline reports over HTTP: `/api/sessions/{id}/progress`, and `/api/progress` for many sessions at once.
///
/// Who may report is decided in the statement that writes: a report is not written after the right to it has ended.
struct ReportRoutes: Sendable {
    let recorder: AccessRecorder
    let batcher: ReportBatcher

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/sessions/:id/progress", report)
        table.user(.post, "/api/progress", reportMany)
    }

    @Sendable private func report(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        let report = try await JSON.decode(ReportBody.self, from: request).report(of: id)
        let outcomes = try await batcher.report([
            CallerReport(report, user: context.claims.user, signIn: context.claims.signIn, wantsProgress: true)
        ])
        switch outcomes.first {
        case .accepted(_, let progress?): return JSON.response(raw: ByteBuffer(bytes: json(of: progress)))
        case .refused(let refusal): throw refusal
        case .accepted(_, nil), nil: throw Problem.noSession
        }
    }

    @Sendable private func reportMany(_ request: Request, _ context: UserContext) async throws -> Response {
        // Asked again when the reports are written; this is before a large body is read for somebody who may not.
        // What is reported is on record as the sessions' events; who may not report is on record here.
        if ![.pipeline, .admin].contains(context.user.role) {
            try await recorder.admit(
                context, to: .report, if: false,
                else: Problem(.forbidden, "Only pipelines and administrators report progress."))
        }
        let body = try await JSON.decode(
            ReportListBody.self, from: request, limit: ReportListBody.maximumBytes,
            maximumValues: ReportListBody.maximumValues)
        let reports = body.entries.compactMap { entry in
            if case .report(let report) = entry {
                CallerReport(report, user: context.claims.user, signIn: context.claims.signIn)
            } else {
                nil as CallerReport?
            }
        }
        let outcomes = reports.isEmpty ? [] : try await batcher.report(reports)
        return JSON.response(try ReportResults(of: body.entries, outcomes: outcomes))
    }
}
