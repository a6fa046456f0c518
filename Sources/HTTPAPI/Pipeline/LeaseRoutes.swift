import Credentials
import Domain
import HTTPTypes
import Hummingbird
import Store

/// `/api/pipeline/leases/{session_id}`: a pipeline extends the lease of a session, or gives the session back.
struct LeaseRoutes: Sendable {
    let gate: SessionGate
    let queue: PipelineStore

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/pipeline/leases/:session_id", keep)
        table.token(.delete, "/api/pipeline/leases/:session_id", produces: nil, giveBack)
    }

    /// The answer to a lease that does not stand.
    private static let notStanding = Problem(.conflict, SchemaRefusal.leaseNotStanding.template)

    @Sendable private func keep(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID("session_id")
        try await gate.authorize(id, for: context, to: .keepLease)
        let body = try await JSON.decode(LeaseBody.self, from: request)
        guard let seconds = body.leaseSeconds else { throw Problem.invalid("lease_seconds", "is missing.", .missing) }
        let end = try await queue.keep(
            body.presented(of: id), for: try Duration(leaseSeconds: seconds), as: context.claims.principal)
        guard let end else { throw Self.notStanding }
        return JSON.response(["leased_until": end])
    }

    @Sendable private func giveBack(_ request: Request, _ context: TokenContext) async throws -> Response {
        let id = try context.sessionID("session_id")
        try await gate.authorize(id, for: context, to: .giveLeaseBack)
        let body = try await JSON.decode(LeaseBody.self, from: request)
        guard try await queue.giveBack(body.presented(of: id), as: context.claims.principal) else {
            throw Self.notStanding
        }
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }
}

/// A lease that a pipeline presents: `{lease, attempt, lease_seconds?}`.
private struct LeaseBody: Decodable {
    let lease: String
    let attempt: WholeNumber
    let leaseSeconds: Double?

    private enum CodingKeys: String, CodingKey {
        case lease, attempt
        case leaseSeconds = "lease_seconds"
    }

    /// - Throws: 422 for a value that no lease can have.
    func presented(of session: SessionID) throws(Problem) -> PresentedLease {
        try PresentedLease(of: session, text: lease, number: attempt.value)
    }
}
