/// What an account is for.
public enum Role: String, Sendable, Codable, CaseIterable {
    /// Sees the sessions of the patients that are actively assigned.
    case therapist
    /// Sees the own sessions.
    case patient
    /// Sees and manages everything.
    case admin
    /// A machine that reports progress and sees no session.
    case pipeline
}

/// A person, or a pipeline, that may sign in.
public struct User: Hashable, Sendable, Codable {
    /// The identifier of the account.
    public var id: UserID
    /// The address by which the account is known.
    public var email: String
    /// The name that others see.
    public var fullName: String
    /// What the account is for.
    public var role: Role

    /// A user with all members.
    public init(id: UserID, email: String, fullName: String, role: Role) {
        self.id = id
        self.email = email
        self.fullName = fullName
        self.role = role
    }

    private enum CodingKeys: String, CodingKey {
        case id, email
        case fullName = "full_name"
        case role
    }
}

/// On whose behalf something is done: a user, and the sign-in whose end ends it.
public struct Principal: Hashable, Sendable {
    /// The user.
    public var user: UserID
    /// The sign-in.
    public var signIn: SignInID

    /// A user under a sign-in.
    public init(user: UserID, signIn: SignInID) {
        self.user = user
        self.signIn = signIn
    }
}

/// An account as administrators see it: who it is, and whether it may sign in.
///
/// There is no place in it for a password's hash.
public struct UserRecord: Hashable, Sendable, Encodable {
    /// Who it is.
    public var user: User
    /// False ends every right and stream of the account.
    public var isActive: Bool
    /// When the account was made.
    public var createdAt: Timestamp

    /// An account with all its members.
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

/// An e-mail address as the key of an account: trimmed, lower-case, of the shape `local@domain`.
///
/// Whether mail arrives there is nobody's concern here, so this checks the shape that a person may have mistyped and
/// leaves the rest of RFC 5321 alone.
public struct EmailAddress: Hashable, Sendable, CustomStringConvertible {
    /// The normalised address.
    public let description: String

    /// Normalises an address; nil when it is none, or is longer than 254 characters (RFC 5321, 4.5.3.1.3, less the
    /// angle brackets).
    public init?(_ text: String) {
        let address = text.trimming(while: { $0.isWhitespace }).lowercased()
        let parts = address.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, address.unicodeScalars.count <= 254,
            !address.contains(where: \.isWhitespace), address.unicodeScalars.allSatisfy(\.mayBeShown)
        else { return nil }
        description = address
    }
}

/// A person's name, or a pipeline's: trimmed, 1 to 200 Unicode scalars, which are what the database counts, and none among
/// them that may not be shown (``Unicode/Scalar/mayBeShown``).
public struct FullName: Hashable, Sendable, CustomStringConvertible {
    /// The longest name, in Unicode scalars.
    public static let maximumLength = 200

    /// The trimmed name.
    public let description: String

    /// Trims a name; nil when nothing is left, when it is too long, or when a scalar of it may not be shown.
    public init?(_ text: String) {
        let name = text.trimming(while: { $0.isWhitespace })
        guard (1...Self.maximumLength).contains(name.unicodeScalars.count),
            name.unicodeScalars.allSatisfy(\.mayBeShown)
        else { return nil }
        description = name
    }
}
