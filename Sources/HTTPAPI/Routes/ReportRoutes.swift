import Credentials
import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Store

/// The routes for pipelines that report over HTTP: `/api/sessions/{id}/progress`, and `/api/progress` for many
/// sessions.
///
/// The statement that writes a report also checks the right to it. No report is written after the right has ended.
struct ReportRoutes: Sendable {
    let gate: SessionGate
    let recorder: AccessRecorder
    let users: UserStore
    let batcher: ReportBatcher

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/sessions/:id/progress", report)
        table.user(.post, "/api/progress", reportMany)
    }

    @Sendable private func report(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        do {
            return JSON.response(raw: JSON.encode(progress: try await write(request, about: id, context)))
        } catch let refusal as ReportRefusal where [.notPermitted, .inactive].contains(refusal) {
            throw try await gate.refuse(id, for: context, to: .report)
        } catch let problem as Problem {
            // A caller without the right gets the refusal. It does not learn what is wrong with the report.
            try await checkRight(toReportOf: id, context)
            throw problem
        }
    }

    private func mayReport(_ user: User) -> Bool {
        // The right to report does not depend on the relation to the session.
        Access.permits(.report, to: user.role, as: Relation(isPatient: false, isAssigned: false))
    }

    private func checkRight(toReportOf session: SessionID, _ context: TokenContext) async throws {
        guard let (user, isActive) = try await users.account(of: context.claims.user, signIn: context.claims.signIn)
        else { throw Problem.unauthorized }
        guard isActive && mayReport(user) else { throw try await gate.refuse(session, for: context, to: .report) }
    }

    /// Writes a report, and returns the progress after it.
    private func write(
        _ request: Request, about session: SessionID, _ context: TokenContext
    ) async throws -> SessionProgress {
        let report = try await JSON.decode(ReportBody.self, from: request).report(of: session)
        let outcomes = try await batcher.report([
            CallerReport(report, user: context.claims.user, signIn: context.claims.signIn, wantsProgress: true)
        ])
        switch outcomes.first {
        case .accepted(_, let progress?): return progress
        case .refused(let refusal): throw refusal
        case .accepted(_, nil), nil: throw Problem.noSession
        }
    }

    @Sendable private func reportMany(_ request: Request, _ context: UserContext) async throws -> Response {
        // This check comes first: the server must not read a large body for a caller without the right. It also records
        // the refusal. The statement that writes the reports checks the right again.
        guard mayReport(context.user) else { try await refuse(context) }
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
        do {
            return JSON.response(try ReportResults(of: body.entries, outcomes: outcomes))
        } catch ReportRefusal.notPermitted {
            try await refuse(context)
        }
    }

    private func refuse(_ context: UserContext) async throws -> Never {
        let refusal = Problem(.forbidden, "Only pipelines and administrators report progress.")
        try await recorder.admit(context, to: .report, if: false, else: refusal)
        throw refusal
    }
}
