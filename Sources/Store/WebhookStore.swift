public import Domain
import FoundationEssentials
public import Postgres

/// The endpoints and their deliveries, for administrators: `app.webhooks`, `app.webhook_deliveries`.
///
/// Every method sees what the principal may manage, and nothing without the right.
public struct WebhookStore: Sendable {
    /// A position in a list, by the time at which an entry was added.
    public typealias Cursor<ID: EntityID> = ListCursor<ID>

    private let pool: PostgresPool

    /// A store that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// The endpoints, newest first.
    ///
    /// - Parameters:
    ///   - after: The page begins after this endpoint; nil for the first page.
    ///   - limit: The greatest number of endpoints.
    ///   - principal: The acting user.
    /// - Returns: The endpoints.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func list(
        after: Cursor<WebhookID>?, limit: Int, as principal: Principal
    ) async throws -> [Webhook] {
        try await pool.acting(as: principal) { connection in
            try await connection.query(
                """
                SELECT \(unescaped: Self.columns) FROM app.webhooks
                WHERE (\(after?.at)::timestamptz IS NULL OR (created_at, id) < (\(after?.at), \(after?.id)))
                ORDER BY created_at DESC, id DESC LIMIT \(limit)
                """
            ).map(Webhook.init)
        }
    }

    /// Adds an endpoint.
    ///
    /// - Returns: The endpoint; nil if there are as many as there can be.
    /// - Throws: ``PostgresError`` if the database does not answer, or with SQLSTATE 42501 without the right; ``SignInEnded``.
    public func add(
        url: WebhookURL, events: [WebhookEvent]?, secret: WebhookSecret, as principal: Principal
    ) async throws -> Webhook? {
        try await pool.acting(as: principal) { connection in
            let rows = try await connection.query(
                """
                SELECT app.add_webhook(\(url.description), \(events?.map(\.description)), \(Data(secret.bytes))) AS id
                """)
            guard let id = try rows.first?.decode("id", as: WebhookID?.self) else { return nil }
            // Without it, the transaction is taken back.
            guard let webhook = try await Self.webhook(id, on: connection) else { throw SignInEnded() }
            return webhook
        }
    }

    /// A change of an endpoint; nil keeps the present value.
    public struct Change: Sendable {
        /// The new URL.
        public var url: WebhookURL?
        /// The new events; `.some(nil)` for all.
        public var events: [WebhookEvent]??
        /// The new secret.
        ///
        /// The one before it also signs for a day.
        public var secret: WebhookSecret?
        /// False: the endpoint gets no deliveries until it is active again.
        public var isActive: Bool?

        /// A change; nil keeps the present value.
        public init(
            url: WebhookURL? = nil, events: [WebhookEvent]?? = nil, secret: WebhookSecret? = nil, isActive: Bool? = nil
        ) {
            self.url = url
            self.events = events
            self.secret = secret
            self.isActive = isActive
        }
    }

    /// Changes an endpoint.
    ///
    /// - Returns: The endpoint after the change; nil if there is no such endpoint.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func change(_ id: WebhookID, _ change: Change, as principal: Principal) async throws -> Webhook? {
        let events: [String]? = change.events.flatMap { $0 }?.map(\.description)
        return try await pool.acting(as: principal) { connection in
            _ = try await connection.query(
                """
                SELECT app.change_webhook(
                    \(id), \(change.url?.description), \(change.events != nil), \(events),
                    \(change.secret.map { Data($0.bytes) }), \(change.isActive))
                """)
            return try await Self.webhook(id, on: connection)
        }
    }

    /// Removes an endpoint.
    ///
    /// No server claims its deliveries any more, and the janitor deletes them.
    ///
    /// - Returns: False if there is no such endpoint.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func remove(_ id: WebhookID, as principal: Principal) async throws -> Bool {
        try await pool.acting(as: principal) { connection in
            try await connection.execute("DELETE FROM app.webhooks WHERE id = \(id)") > 0
        }
    }

    /// The deliveries to an endpoint, newest first.
    ///
    /// - Parameters:
    ///   - id: The endpoint.
    ///   - after: The page begins after this delivery; nil for the first page.
    ///   - limit: The greatest number of deliveries.
    ///   - principal: The acting user.
    /// - Returns: The deliveries; nil if there is no such endpoint.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func deliveries(
        to id: WebhookID, after: Cursor<WebhookDeliveryID>?, limit: Int, as principal: Principal
    ) async throws -> [WebhookDelivery]? {
        try await pool.acting(as: principal) { connection in
            guard try await Self.webhook(id, on: connection) != nil else { return nil }
            return try await connection.query(
                """
                SELECT id, status, session_id, version, created_at, next_at, attempt_times, attempt_statuses, attempt_errors
                FROM app.webhook_deliveries
                WHERE webhook_id = \(id)
                  AND (\(after?.at)::timestamptz IS NULL OR (created_at, id) < (\(after?.at), \(after?.id)))
                ORDER BY created_at DESC, id DESC LIMIT \(limit)
                """
            ).map(WebhookDelivery.init)
        }
    }

    /// What became of a request to send a delivery again.
    public enum RetryOutcome: String, Sendable {
        /// The delivery is due now, and its schedule begins again.
        case due
        /// The endpoint is inactive.
        case inactive
        /// There is no such endpoint.
        case unknownWebhook = "unknown_webhook"
        /// The endpoint has no such delivery.
        case unknownDelivery = "unknown_delivery"
    }

    /// Sends a delivery again, whatever became of it, under the same id.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func retry(
        _ delivery: WebhookDeliveryID, to id: WebhookID, as principal: Principal
    ) async throws -> RetryOutcome {
        try await pool.acting(as: principal) { connection in
            let rows = try await connection.query("SELECT app.retry_webhook_delivery(\(id), \(delivery)) AS outcome")
            guard let word = try rows.first?.decode("outcome", as: String.self),
                let outcome = RetryOutcome(rawValue: word)
            else { throw StoreError.noRow }
            return outcome
        }
    }

    private static let columns = "id, url, events, is_active, disabled_reason, created_at"

    private static func webhook(_ id: WebhookID, on connection: PostgresConnection) async throws -> Webhook? {
        try await connection.query("SELECT \(unescaped: columns) FROM app.webhooks WHERE id = \(id)")
            .first.map(Webhook.init)
    }
}

extension WebhookID: PostgresRepresentable, PostgresArrayElement {}
extension WebhookDeliveryID: PostgresRepresentable, PostgresArrayElement {}

extension Webhook {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: WebhookID.self),
            url: try row.decode("url", as: String.self),
            events: try row.decode("events", as: [String]?.self),
            isActive: try row.decode("is_active", as: Bool.self),
            disabledReason: try row.decode("disabled_reason", as: String?.self),
            createdAt: try row.decode("created_at", as: Timestamp.self))
    }
}

extension WebhookDelivery {
    fileprivate init(_ row: PostgresRow) throws {
        let times = try row.decode("attempt_times", as: [Timestamp].self)
        let statuses = try row.decode("attempt_statuses", as: [Int32?].self)
        let errors = try row.decode("attempt_errors", as: [String?].self)
        self.init(
            id: try row.decode("id", as: WebhookDeliveryID.self),
            event: "session." + (try row.decode("status", as: String.self)),
            session: try row.decode("session_id", as: SessionID.self),
            version: try row.decode("version", as: Int64.self),
            createdAt: try row.decode("created_at", as: Timestamp.self),
            attempts: zip(times, zip(statuses, errors)).map { time, result in
                Attempt(at: time, status: result.0.map(Int.init), error: result.1)
            },
            nextAt: try row.decode("next_at", as: Timestamp?.self))
    }
}
