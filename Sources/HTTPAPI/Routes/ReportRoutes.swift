import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Store

/// Where a pipeline reports over HTTP: `/api/sessions/{id}/progress`.
struct ReportRoutes: Sendable {
    let gate: SessionGate
    let progress: ProgressStore

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/sessions/:id/progress", report)
    }

    private struct Body: Decodable {
        var status: String
        var progress: WholeNumber
        var message: String?
        var error: String?
        var estimatedTimeRemaining: WholeNumber?
        var attempt: WholeNumber?

        enum CodingKeys: String, CodingKey {
            case status, progress, message, error, attempt
            case estimatedTimeRemaining = "estimated_time_remaining"
        }
    }

    @Sendable private func report(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID()
        _ = try await gate.open(id, for: context.claims, to: .report)
        let body = try await JSON.decode(Body.self, from: request)
        guard let status = SessionStatus(rawValue: body.status) else {
            throw Problem.invalid("status", "is none of the statuses.")
        }
        if let estimate = body.estimatedTimeRemaining?.value, estimate > Int32.max {
            throw Problem.invalid("estimated_time_remaining", "is too large.")
        }
        for (name, text) in [("message", body.message), ("error", body.error)] where text?.contains("\0") == true {
            throw Problem.invalid(name, "may not hold a NUL character.")
        }
        try await progress.report(
            ProgressReport(
                sessionID: id, status: status, progress: body.progress.value, message: body.message, error: body.error,
                estimatedTimeRemaining: body.estimatedTimeRemaining?.value, attempt: body.attempt?.value))
        guard let present = try await progress.progress(of: id) else { throw Problem.noSession }
        return JSON.response(raw: ByteBuffer(bytes: json(of: present)))
    }
}
