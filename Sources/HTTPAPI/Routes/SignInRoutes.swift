import Credentials
import Domain
import Hummingbird
import Store

/// The sign-ins of the caller, and those of an account for administrators: `/api/auth/sign-ins`,
/// `/api/users/{id}/sign-ins`.
struct SignInRoutes: Sendable {
    let recorder: AccessRecorder
    let users: UserStore

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/auth/sign-ins") { request, context in
            try request.uri.queryParameters.allow(only: [])
            return try await list(of: context.user.id, context)
        }
        table.user(.delete, "/api/auth/sign-ins/:id", produces: nil) { _, context in
            guard let id = context.parameters.get("id").flatMap({ SignInID($0) }) else {
                throw Problem.invalid("id", "is not a UUID.")
            }
            let isEnded = try await users.acting(as: context.claims.principal).end(id, of: context.user.id)
            guard isEnded else { throw Problem(.notFound, "You have no such sign-in.") }
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
        table.user(.get, "/api/users/:id/sign-ins") { request, context in
            let user = try await recorder.administrator(context, to: .listSignIns) {
                try request.uri.queryParameters.allow(only: [])
                return try context.userID()
            }
            guard try await users.acting(as: context.claims.principal).record(of: user) != nil else {
                throw Problem.noUser
            }
            return try await list(of: user, context)
        }
        table.user(.delete, "/api/users/:id/sign-ins", produces: nil) { _, context in
            try await recorder.administrator(context, toChange: .endSignIn)
            let user = try context.userID()
            guard try await users.acting(as: context.claims.principal).end(nil, of: user) else { throw Problem.noUser }
            return Response(status: .noContent, headers: [.cacheControl: "no-store"])
        }
    }

    private func list(of user: UserID, _ context: UserContext) async throws -> Response {
        let signIns = try await users.acting(as: context.claims.principal).signIns(of: user)
        return JSON.response(Items(items: signIns.map { ListedSignIn(record: $0, current: context.claims.signIn) }))
    }
}

/// A sign-in in a list.
private struct ListedSignIn: Encodable {
    let record: SignInRecord
    /// The sign-in of the request.
    let current: SignInID

    private enum CodingKeys: String, CodingKey { case isCurrent = "is_current" }

    func encode(to encoder: any Encoder) throws {
        try record.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(record.id == current, forKey: .isCurrent)
    }
}
