/// A sign-in that has not ended, in the form for its user and for administrators.
public struct SignInRecord: Hashable, Sendable, Encodable {
    /// The identifier of the sign-in.
    public var id: SignInID
    /// When it began.
    public var createdAt: Timestamp
    /// When it began or was last refreshed.
    public var lastUsedAt: Timestamp
    /// The `User-Agent` of the request at that time; nil if it had none, or an operator made the sign-in.
    public var userAgent: String?
    /// The network address of the client at that time; nil if it is unknown, or an operator made the sign-in.
    public var address: String?

    /// A sign-in with all its members.
    public init(id: SignInID, createdAt: Timestamp, lastUsedAt: Timestamp, userAgent: String?, address: String?) {
        self.id = id
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.userAgent = userAgent
        self.address = address
    }

    private enum CodingKeys: String, CodingKey {
        case id, address
        case createdAt = "created_at"
        case lastUsedAt = "last_used_at"
        case userAgent = "user_agent"
    }

    /// Encodes every member; a missing value is null.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        try container.encode(createdAt, forKey: .createdAt)
        try container.encode(lastUsedAt, forKey: .lastUsedAt)
        try container.encode(userAgent, forKey: .userAgent)
        try container.encode(address, forKey: .address)
    }
}
