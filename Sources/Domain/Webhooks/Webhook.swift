public import FoundationEssentials

/// The identifier of a ``Webhook``.
public struct WebhookID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// The identifier of a ``WebhookDelivery``, which the receiver gets in the header `webhook-id`.
public struct WebhookDeliveryID: EntityID {
    /// The UUID as the database stores it.
    public let rawValue: UUID
    /// Wraps a UUID.
    public init(rawValue: UUID) { self.rawValue = rawValue }
}

/// The type of an event that receivers get: `session.` and the status that the session got.
public struct WebhookEvent: Hashable, Sendable, LosslessStringConvertible, Encodable {
    private static let prefix = "session."

    /// The status that the session got.
    public let status: SessionStatus

    /// The event of a status.
    public init(status: SessionStatus) { self.status = status }

    /// Reads the name of an event, such as `session.processed`; nil for any other text.
    public init?(_ description: String) {
        guard description.hasPrefix(Self.prefix),
            let status = SessionStatus(rawValue: String(description.dropFirst(Self.prefix.count)))
        else { return nil }
        self.status = status
    }

    /// The name of the event.
    public var description: String { Self.prefix + status.rawValue }

    /// Encodes the name.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// An endpoint of another system that is told of transitions, without its secret.
public struct Webhook: Sendable, Equatable {
    /// Identifies the endpoint.
    public var id: WebhookID
    /// Where deliveries go.
    public var url: String
    /// The events that the endpoint gets, by their names; nil for all.
    ///
    /// These are texts: a newer release may know more events.
    public var events: [String]?
    /// False if the endpoint gets no deliveries.
    public var isActive: Bool
    /// Why the server has deactivated the endpoint: `gone`; nil if it has not.
    public var disabledReason: String?
    /// When the endpoint was added.
    public var createdAt: Timestamp

    /// Describes an endpoint.
    public init(
        id: WebhookID, url: String, events: [String]?, isActive: Bool, disabledReason: String?, createdAt: Timestamp
    ) {
        self.id = id
        self.url = url
        self.events = events
        self.isActive = isActive
        self.disabledReason = disabledReason
        self.createdAt = createdAt
    }
}

/// One event on its way to one endpoint.
public struct WebhookDelivery: Sendable, Equatable {
    /// One request to the endpoint.
    public struct Attempt: Sendable, Equatable {
        /// When the attempt ended.
        public var at: Timestamp
        /// The status code of the answer; nil if there was none.
        public var status: Int?
        /// Why the attempt failed, as one of the fixed words of ``WebhookFailure``; nil if it succeeded.
        public var error: String?

        /// Describes an attempt.
        public init(at: Timestamp, status: Int?, error: String?) {
            self.at = at
            self.status = status
            self.error = error
        }
    }

    /// Identifies the delivery; the same in every attempt.
    public var id: WebhookDeliveryID
    /// The name of the event, such as `session.processed`.
    public var event: String
    /// The session that has changed.
    public var session: SessionID
    /// The version of the session's progress after the transition.
    public var version: Int64
    /// When the transition was committed to the outbox.
    public var createdAt: Timestamp
    /// The last 20 attempts, oldest first.
    public var attempts: [Attempt]
    /// When the next attempt is due; nil if the delivery has succeeded or was given up.
    public var nextAt: Timestamp?

    /// Describes a delivery.
    public init(
        id: WebhookDeliveryID, event: String, session: SessionID, version: Int64, createdAt: Timestamp,
        attempts: [Attempt], nextAt: Timestamp?
    ) {
        self.id = id
        self.event = event
        self.session = session
        self.version = version
        self.createdAt = createdAt
        self.attempts = attempts
        self.nextAt = nextAt
    }
}

/// Why an attempt of a delivery failed; the raw value is what the API shows.
public enum WebhookFailure: String, Sendable, CaseIterable {
    /// The answer has a status outside 2xx.
    case status
    /// The answer is a redirect, which the server does not follow.
    case redirect
    /// The answer is 410: the receiver wants no more deliveries.
    case gone
    /// The URL is not allowed by the present settings.
    case urlForbidden = "url_forbidden"
    /// No address of the name could be found.
    case nameNotFound = "name_not_found"
    /// No address of the name may be connected to.
    case addressForbidden = "address_forbidden"
    /// No connection could be made.
    case notConnected = "not_connected"
    /// The certificate is not valid for the name, or the receiver speaks no TLS.
    case tls
    /// The receiver closed the connection before it answered.
    case closed
    /// The answer is no HTTP.
    case malformedAnswer = "malformed_answer"
    /// The attempt took too long.
    case timeout
    /// Something else went wrong.
    case other
}
