import Credentials
import Domain
import DurationUnits
import Hummingbird
import Store

/// A ticket for one stream, for clients that can send neither a header nor a cookie.
///
/// The routes are `POST /api/sessions/{id}/status/ticket` and `POST /api/sessions/status/ticket`.
struct TicketRoutes: Sendable {
    let gate: SessionGate
    let recorder: AccessRecorder
    let tickets: TicketStore

    func add(to table: inout RouteTable) {
        table.token(.post, "/api/sessions/:id/status/ticket") { request, context in
            let session = try context.sessionID()
            try await gate.authorize(session, for: context, to: .takeTicket)
            return try await issue(to: session, for: context.claims)
        }
        table.user(.post, "/api/sessions/status/ticket") { request, context in
            try await recorder.admit(context, to: .takeCaseloadTicket)
            return try await issue(to: nil, for: context.claims)
        }
    }

    private struct Ticket: Encodable {
        var ticket: String
        var expiresIn: Int

        enum CodingKeys: String, CodingKey {
            case ticket
            case expiresIn = "expires_in"
        }
    }

    private func issue(to session: SessionID?, for claims: AccessClaims) async throws -> Response {
        let ticket = StreamTicket()
        switch try await tickets.issue(
            hash: ticket.hash, for: claims.principal, to: session, accessExpiresAt: claims.expiresAt)
        {
        case .issued:
            let lifetime = Int(TicketStore.lifetime.whole(.seconds))
            return JSON.response(Ticket(ticket: ticket.text, expiresIn: lifetime))
        case .notSignedIn: throw Problem.unauthorized
        case .tooMany:
            // All present tickets have expired by then.
            throw Problem.limited(
                "Too many tickets are unused. Use one, or wait.", wait: TicketStore.lifetime)
        }
    }
}
