import Domain
import Hummingbird
import Store

/// The endpoints that are told of transitions, and their deliveries, for administrators: `/api/webhooks`.
struct WebhookRoutes: Sendable {
    let recorder: AccessRecorder
    let webhooks: WebhookStore
    let rules: WebhookRules

    func add(to table: inout RouteTable) {
        table.user(.get, "/api/webhooks", list)
        table.user(.post, "/api/webhooks", add)
        table.user(.patch, "/api/webhooks/:id", change)
        table.user(.delete, "/api/webhooks/:id", produces: nil, remove)
        table.user(.get, "/api/webhooks/:id/deliveries", deliveries)
        table.user(.post, "/api/webhooks/:id/deliveries/:delivery_id/retry", produces: nil, retry)
    }

    private static let noWebhook = Problem(.notFound, "There is no such webhook.")

    /// Lists the endpoints, newest first.
    @Sendable private func list(_ request: Request, _ context: UserContext) async throws -> Response {
        let (after, limit): (WebhookStore.Cursor<WebhookID>?, Int) = try await recorder.administrator(
            context, to: .listWebhooks
        ) { try Self.page(request) }
        let found = try await webhooks.list(after: after, limit: limit + 1, as: context.claims.principal)
        return JSON.response(
            Page(found.map { WebhookObject(webhook: $0) }, limit: limit) {
                WebhookStore.Cursor(at: $0.webhook.createdAt, id: $0.webhook.id).description
            })
    }

    /// Adds an endpoint, and shows its secret, this once.
    @Sendable private func add(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .addWebhook)
        let body = try await JSON.decode(NewWebhookBody.self, from: request)
        let url = try body.url.checked(by: rules)
        let secret = body.secret ?? .random()
        let added = try await webhooks.add(
            url: url, events: body.events, secret: secret, as: context.claims.principal)
        guard let added else {
            throw Problem(.conflict, "There are as many webhooks as there can be. Remove one first.")
        }
        return JSON.response(
            WebhookObject(webhook: added, secret: secret), status: .created,
            headers: [.location: "/api/webhooks/\(added.id)"])
    }

    @Sendable private func change(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .changeWebhook)
        let id: WebhookID = try context.entityID("id")
        let body = try await JSON.decode(WebhookChangeBody.self, from: request)
        let change = WebhookStore.Change(
            url: try body.url?.checked(by: rules), events: body.events, secret: body.secret, isActive: body.isActive)
        guard let webhook = try await webhooks.change(id, change, as: context.claims.principal) else {
            throw Self.noWebhook
        }
        return JSON.response(WebhookObject(webhook: webhook))
    }

    @Sendable private func remove(_ request: Request, _ context: UserContext) async throws -> Response {
        try await recorder.administrator(context, toChange: .removeWebhook)
        guard try await webhooks.remove(try context.entityID("id"), as: context.claims.principal) else {
            throw Self.noWebhook
        }
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    /// Lists the deliveries to an endpoint, newest first.
    @Sendable private func deliveries(_ request: Request, _ context: UserContext) async throws -> Response {
        let (id, page): (WebhookID, (WebhookStore.Cursor<WebhookDeliveryID>?, Int)) = try await recorder.administrator(
            context, to: .listDeliveries
        ) { (try context.entityID("id"), try Self.page(request)) }
        let (after, limit) = page
        let found = try await webhooks.deliveries(
            to: id, after: after, limit: limit + 1, as: context.claims.principal)
        guard let found else { throw Self.noWebhook }
        return JSON.response(
            Page(found.map(DeliveryObject.init), limit: limit) {
                WebhookStore.Cursor(at: $0.delivery.createdAt, id: $0.delivery.id).description
            })
    }

    /// Makes a delivery due again.
    @Sendable private func retry(_ request: Request, _ context: UserContext) async throws -> Response {
        let (id, delivery): (WebhookID, WebhookDeliveryID) = try await recorder.administrator(
            context, to: .retryDelivery
        ) { (try context.entityID("id"), try context.entityID("delivery_id")) }
        switch try await webhooks.retry(delivery, to: id, as: context.claims.principal) {
        case .due: return Response(status: .accepted, headers: [.cacheControl: "no-store"])
        case .inactive: throw Problem(.conflict, "The webhook is inactive. Set is_active to true first.")
        case .unknownWebhook: throw Self.noWebhook
        case .unknownDelivery: throw Problem(.notFound, "The webhook has no such delivery.")
        }
    }

    private static func page<ID: EntityID>(_ request: Request) throws -> (WebhookStore.Cursor<ID>?, Int) {
        let query = request.uri.queryParameters
        try query.allow(only: ["limit", "cursor"])
        let limit = try query.pageLimit()
        return (try query.cursor { WebhookStore.Cursor($0) }, limit)
    }
}
