import Domain
import Store

/// A new endpoint: `{url, events?, secret?}`.
struct NewWebhookBody: Decodable {
    let url: WebhookURLText
    /// Nil for all events.
    let events: [WebhookEvent]?
    /// Nil for a secret that the server makes.
    let secret: WebhookSecret?

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case url, events, secret
    }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        url = WebhookURLText(text: try container.decode(String.self, forKey: .url))
        events = try container.decodeIfPresent([String].self, forKey: .events).map(WebhookEvent.list)
        secret = try container.decodeIfPresent(String.self, forKey: .secret).map { try WebhookSecret(member: $0) }
    }
}

/// Changes of an endpoint: one or more of `{url, events, secret, is_active}`.
struct WebhookChangeBody: Decodable {
    let url: WebhookURLText?
    /// `.some(nil)` for all events.
    let events: [WebhookEvent]??
    let secret: WebhookSecret?
    let isActive: Bool?

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case url, events, secret
        case isActive = "is_active"
    }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard !container.allKeys.isEmpty else {
            throw Problem(.invalid, "Send at least one of url, events, secret and is_active.")
        }
        // Only `events` can be null. To keep a value, the client leaves the member out.
        func member<Value: Decodable>(_ key: CodingKeys, _ type: Value.Type) throws -> Value? {
            container.contains(key) ? try container.decode(type, forKey: key) : nil
        }
        url = try member(.url, String.self).map { WebhookURLText(text: $0) }
        events =
            container.contains(.events)
            ? .some(try container.decodeIfPresent([String].self, forKey: .events).map(WebhookEvent.list)) : nil
        secret = try member(.secret, String.self).map { try WebhookSecret(member: $0) }
        isActive = try member(.isActive, Bool.self)
    }
}

/// The text of a URL, which the rules of the server still have to check.
struct WebhookURLText: Sendable {
    let text: String

    /// Checks the URL.
    ///
    /// - Throws: 422, with what is wrong.
    func checked(by rules: WebhookRules) throws(Problem) -> WebhookURL {
        do {
            return try WebhookURL(text, rules: rules)
        } catch {
            let reason =
                switch error {
                case .malformed: "is not a URL of at most \(WebhookURL.maximumLength) characters in ASCII."
                case .scheme: "has to begin with https://."
                case .userInfo: "cannot have a user or a password."
                case .fragment: "cannot have a fragment."
                case .host: "needs a host: a name in ASCII, an IPv4 address, or an IPv6 address in brackets."
                case .port: "has a port that is no number from 1 to 65535."
                case .address: "names an address that is not public."
                }
            throw .invalid("url", reason)
        }
    }
}

extension WebhookEvent {
    /// Reads a list of events.
    ///
    /// - Throws: 422 for an empty list, for one that has an event twice, and for a text that is no event.
    fileprivate static func list(_ names: [String]) throws(Problem) -> [WebhookEvent] {
        guard !names.isEmpty else { throw .invalid("events", "cannot be empty. Leave it out for all events.") }
        var events: [WebhookEvent] = []
        for (index, name) in names.enumerated() {
            guard let event = WebhookEvent(name) else {
                throw .invalid("events[\(index)]", "has to be session. and a status, such as session.processed.")
            }
            guard !events.contains(event) else { throw .invalid("events[\(index)]", "is there twice.", .repeated) }
            events.append(event)
        }
        return events
    }
}

extension WebhookSecret {
    fileprivate init(member text: String) throws(Problem) {
        guard let secret = WebhookSecret(text: text) else {
            throw .invalid("secret", "has to be whsec_ and the Base64 of 24 to 64 bytes.")
        }
        self = secret
    }
}

/// An endpoint in an answer.
struct WebhookObject: Encodable {
    let webhook: Webhook
    /// Only the answer to the creation has it.
    var secret: WebhookSecret?

    private enum CodingKeys: String, CodingKey {
        case id, url, events, secret
        case isActive = "is_active"
        case disabledReason = "disabled_reason"
        case createdAt = "created_at"
    }

    /// Encodes every member but the secret, also if it is null.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(webhook.id, forKey: .id)
        try container.encode(webhook.url, forKey: .url)
        try container.encode(webhook.events, forKey: .events)
        try container.encode(webhook.isActive, forKey: .isActive)
        try container.encode(webhook.disabledReason, forKey: .disabledReason)
        try container.encode(webhook.createdAt, forKey: .createdAt)
        try container.encodeIfPresent(secret?.text, forKey: .secret)
    }
}

/// A delivery in a list.
struct DeliveryObject: Encodable {
    let delivery: WebhookDelivery

    private enum CodingKeys: String, CodingKey {
        case id, event, attempts, version
        case sessionID = "session_id"
        case createdAt = "created_at"
        case nextAt = "next_at"
    }

    private struct Attempt: Encodable {
        let attempt: WebhookDelivery.Attempt

        private enum CodingKeys: String, CodingKey {
            case at, status, error
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(attempt.at, forKey: .at)
            try container.encode(attempt.status, forKey: .status)
            try container.encode(attempt.error, forKey: .error)
        }
    }

    /// Encodes every member, also if it is null.
    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(delivery.id, forKey: .id)
        try container.encode(delivery.event, forKey: .event)
        try container.encode(delivery.session, forKey: .sessionID)
        try container.encode(delivery.version, forKey: .version)
        try container.encode(delivery.createdAt, forKey: .createdAt)
        try container.encode(delivery.attempts.map(Attempt.init), forKey: .attempts)
        try container.encode(delivery.nextAt, forKey: .nextAt)
    }
}
