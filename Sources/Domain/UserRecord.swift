/// An account as administrators see it: who it is, and whether it may sign in.
///
/// There is no place in it for a password's hash.
public struct UserRecord: Hashable, Sendable, Encodable {
    public var user: User
    /// False ends every right and stream of the account.
    public var isActive: Bool
    public var createdAt: Timestamp

    public init(user: User, isActive: Bool, createdAt: Timestamp) {
        self.user = user
        self.isActive = isActive
        self.createdAt = createdAt
    }

    private enum CodingKeys: String, CodingKey {
        case isActive = "is_active"
        case createdAt = "created_at"
    }

    /// Encodes the members of the user, and the account's beside them.
    public func encode(to encoder: any Encoder) throws {
        try user.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(isActive, forKey: .isActive)
        try container.encode(createdAt, forKey: .createdAt)
    }
}
