import Domain
import Hummingbird
import Store

/// `GET /api/audit`: who did what, or was refused it, and when; for administrators.
struct AuditRoute: Sendable {
    let recorder: AccessRecorder
    let log: AuditStore

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/audit", list)
    }

    /// Lists the records, newest first.
    @Sendable private func list(_ request: Request, _ context: UserContext) async throws -> Response {
        let (filter, limit) = try await recorder.administrator(context, to: .readAudit) { try Self.filter(request) }
        let found = try await log.list(filter, as: context.claims.principal)
        return JSON.response(
            Page(found, limit: limit) { AuditStore.Cursor(at: $0.at, id: $0.id).description })
    }

    private static func filter(_ request: Request) throws -> (AuditStore.Filter, limit: Int) {
        let query = request.uri.queryParameters
        try query.allow(only: [
            "user_id", "session_id", "patient_id", "action", "outcome", "from", "to", "limit", "cursor",
        ])
        let limit = try query.pageLimit()
        // One item more than the page has shows whether there is a next page.
        var filter = AuditStore.Filter(limit: limit + 1)
        filter.user = try query.value("user_id", "is not a UUID.") { UserID($0) }
        filter.session = try query.value("session_id", "is not a UUID.") { SessionID($0) }
        filter.patient = try query.value("patient_id", "is not a UUID.") { UserID($0) }
        filter.action = try query.value("action", "is not a recorded action.") {
            AuditAction(rawValue: $0)
        }
        filter.isAllowed = try query.value("outcome", "has to be allowed or refused.") {
            ["allowed": true, "refused": false][$0]
        }
        filter.from = try query.time("from")
        filter.to = try query.time("to")
        filter.after = try query.cursor { AuditStore.Cursor($0) }
        return (filter, limit)
    }
}
