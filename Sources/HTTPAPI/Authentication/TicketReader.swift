import Credentials
import Domain
import Hummingbird
import Postgres
import Store

/// Takes `?ticket=` for a credential, where neither `Authorization` nor the cookie came.
///
/// It stands in front of the streams alone: no other route looks at the query for a credential.
struct TicketReader: RouterMiddleware {
    let tickets: TicketStore

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        do {
            try await read(request, into: &context)
        } catch let error as PostgresError where error.isTransient {
            let answer = StreamAnswer.unavailable(context.logger, reason: "\(error)")
            return request.method == .head ? answer.createHeadResponse() : answer
        }
        return try await next(request, context)
    }

    /// Uses the ticket up, where it is the credential.
    ///
    /// - Throws: `PostgresError` when the database cannot say.
    func read(_ request: Request, into context: inout AppContext) async throws {
        if AccessCredential(request) == nil,
            let ticket = request.uri.queryParameters["ticket"].flatMap({ StreamTicket(String($0)) })
        {
            context.claims = try await claims(of: ticket, request, context)
        }
    }

    /// What the access token said with which the ticket was asked for.
    ///
    /// HEAD opens nothing, and so it uses no ticket up.
    private func claims(
        of ticket: StreamTicket, _ request: Request, _ context: AppContext
    ) async throws -> AccessClaims? {
        // The route of all sessions has no id in its path. What is no id is no session that a ticket could be for.
        let id = context.parameters.get("id")
        let session = id.flatMap { SessionID($0) }
        guard (id == nil) == (session == nil) else { return nil }
        let grant =
            request.method == .head
            ? try await tickets.look(hash: ticket.hash, on: session)
            : try await tickets.spend(hash: ticket.hash, on: session)
        guard let grant, grant.accessExpiresAt > .now() else { return nil }
        return AccessClaims(
            user: grant.principal.user, signIn: grant.principal.signIn, expiresAt: grant.accessExpiresAt)
    }
}
