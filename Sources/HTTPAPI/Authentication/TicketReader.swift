import Credentials
import Domain
import Hummingbird
import Postgres
import Store

/// Reads `?ticket=` as the credential, if the request has neither `Authorization` nor the cookie.
///
/// Only the routes of streams use it. No other route accepts a credential in the URL.
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

    /// Spends the ticket of a request, if the ticket is its credential.
    ///
    /// - Throws: `PostgresError` if the database cannot answer.
    func read(_ request: Request, into context: inout AppContext) async throws {
        if AccessCredential(request) == nil,
            let ticket = request.uri.queryParameters["ticket"].flatMap({ StreamTicket(String($0)) })
        {
            context.claims = try await claims(of: ticket, request, context)
        }
    }

    /// The claims of the access token that the client got the ticket with.
    ///
    /// HEAD opens no stream, and therefore spends no ticket.
    private func claims(
        of ticket: StreamTicket, _ request: Request, _ context: AppContext
    ) async throws -> AccessClaims? {
        // The path of the stream of all sessions has no id. Text that is not an id cannot match the session of a
        // ticket.
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
