public import Domain
public import FoundationEssentials
public import Postgres

/// A delivery that this server has claimed.
public struct ClaimedDelivery: Sendable {
    /// Identifies the delivery; the same in every attempt.
    public var id: WebhookDeliveryID
    /// Identifies the claim.
    ///
    /// The database stores a result only under the claim that stands.
    public var lease: UUID
    /// The endpoint.
    public var webhook: WebhookID
    /// The endpoint's URL at the time of the claim.
    public var url: String
    /// The keys that sign, the present one first.
    public var secrets: [WebhookSecret]
    /// The name of the status that the session got.
    ///
    /// This is a text: a newer release may know more statuses.
    public var status: String
    /// When the transition was made.
    public var at: Timestamp
    /// The session.
    public var session: SessionID
    /// The version of the session's progress after the transition.
    public var version: Int64
    /// The attempt of the session.
    public var attempt: Int
    /// How many attempts of the delivery's schedule have ended before this one.
    public var tries: Int

    /// Describes a claimed delivery.
    public init(
        id: WebhookDeliveryID, lease: UUID, webhook: WebhookID, url: String, secrets: [WebhookSecret], status: String,
        at: Timestamp, session: SessionID, version: Int64, attempt: Int, tries: Int
    ) {
        self.id = id
        self.lease = lease
        self.webhook = webhook
        self.url = url
        self.secrets = secrets
        self.status = status
        self.at = at
        self.session = session
        self.version = version
        self.attempt = attempt
        self.tries = tries
    }
}

/// The result of one attempt, for the outbox.
public struct DeliveryResult: Sendable, Equatable {
    /// The status code of the answer; nil if there was none.
    public var status: Int?
    /// Why the attempt failed; nil if it succeeded.
    public var failure: WebhookFailure?
    /// The time until the next attempt; nil if the delivery has succeeded or is given up.
    public var delay: Duration?

    /// The result of an attempt.
    public init(status: Int?, failure: WebhookFailure?, delay: Duration?) {
        self.status = status
        self.failure = failure
        self.delay = delay
    }
}

/// The outbox of webhooks, as a server that delivers uses it.
///
/// A server claims deliveries for some time, and sends them outside of any transaction. If it dies, its claims lapse, and another
/// server sends the deliveries again.
public struct WebhookOutbox: Sendable {
    private let pool: PostgresPool

    /// An outbox that borrows its connections from a pool.
    public init(pool: PostgresPool) { self.pool = pool }

    /// Claims what is due.
    ///
    /// - Parameters:
    ///   - busy: How many deliveries this server works on already, for each endpoint.
    ///   - lanes: How many deliveries to one endpoint this server works on at a time.
    ///   - lease: How long the claims stand.
    /// - Returns: The deliveries, in no order.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func claim(busy: [WebhookID: Int], lanes: Int, lease: Duration) async throws -> [ClaimedDelivery] {
        let busy = Array(busy)
        return try await pool.query(
            """
            SELECT id, lease, webhook_id, url, secrets, status, at, session_id, version, attempt, tries
            FROM app.claim_webhook_deliveries(
                \(busy.map(\.key)), \(busy.map { Int32(clamping: $0.value) }), \(Int32(clamping: lanes)), \(lease))
            """
        ).map(ClaimedDelivery.init)
    }

    /// Stores the result of an attempt.
    ///
    /// - Returns: False if the claim has lapsed, or if the delivery was deleted.
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func finish(_ delivery: ClaimedDelivery, _ result: DeliveryResult) async throws -> Bool {
        try await pool.query(
            """
            SELECT app.finish_webhook_delivery(
                \(delivery.id), \(delivery.lease), \(result.status.map(Int32.init(clamping:))), \(result.failure?.rawValue),
                \(result.delay), \(result.failure == .gone)) AS is_stored
            """
        ).first?.decode("is_stored", as: Bool.self) ?? false
    }

    /// Gives claims back whose attempts have no result.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func release(_ deliveries: [ClaimedDelivery]) async throws {
        _ = try await pool.query(
            "SELECT app.release_webhook_deliveries(\(deliveries.map(\.id)), \(deliveries.map(\.lease)))")
    }

    /// The time until the next delivery is due that is not due yet; nil if there is none.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func pause() async throws -> Duration? {
        try await pool.query("SELECT app.webhook_pause() AS pause").first?.decode("pause", as: Double?.self)
            .map { .seconds(max($0, 0)) }
    }

    /// The unfinished deliveries of all servers.
    public struct Backlog: Sendable, Equatable {
        /// Their number, at most 10,000.
        public var pending: Int
        /// The age of the oldest one.
        public var oldest: Duration

        /// A backlog.
        public init(pending: Int, oldest: Duration) {
            self.pending = pending
            self.oldest = oldest
        }
    }

    /// The unfinished deliveries of all servers.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer.
    public func backlog() async throws -> Backlog {
        let rows = try await pool.query("SELECT pending, oldest FROM app.webhook_backlog()")
        guard let row = rows.first else { throw StoreError.noRow }
        return Backlog(
            pending: Int(try row.decode("pending", as: Int64.self)),
            oldest: .seconds(try row.decode("oldest", as: Double.self)))
    }

    /// How long deliveries are kept.
    ///
    /// The schedule of attempts takes less than a day.
    public static let retention = Duration.seconds(7 * 86_400)

    /// Deletes deliveries after their time, and those of deleted endpoints.
    ///
    /// - Throws: ``PostgresError`` if the database does not answer. What was deleted before stays deleted.
    public func deleteOld() async throws {
        try await pool.sweep(batch: 5000) {
            "SELECT app.delete_old_webhook_deliveries(\(Self.retention), \($0)) AS total"
        }
    }
}

extension ClaimedDelivery {
    fileprivate init(_ row: PostgresRow) throws {
        self.init(
            id: try row.decode("id", as: WebhookDeliveryID.self),
            lease: try row.decode("lease", as: UUID.self),
            webhook: try row.decode("webhook_id", as: WebhookID.self),
            url: try row.decode("url", as: String.self),
            secrets: try row.decode("secrets", as: [Data].self).compactMap { WebhookSecret(bytes: Array($0)) },
            status: try row.decode("status", as: String.self),
            at: try row.decode("at", as: Timestamp.self),
            session: try row.decode("session_id", as: SessionID.self),
            version: try row.decode("version", as: Int64.self),
            attempt: Int(try row.decode("attempt", as: Int32.self)),
            tries: Int(try row.decode("tries", as: Int32.self)))
    }
}
