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
    public var id: UserID
    public var email: String
    public var fullName: String
    public var role: Role

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
            !address.contains(where: { $0.isWhitespace || $0.unicodeScalars.contains { $0.value < 0x20 } })
        else { return nil }
        description = address
    }
}

/// A person's name, or a pipeline's: trimmed, 1 to 200 Unicode scalars, which are what the database counts, and no control
/// character among them.
public struct FullName: Hashable, Sendable, CustomStringConvertible {
    /// The longest name, in Unicode scalars.
    public static let maximumLength = 200

    public let description: String

    /// Trims a name; nil when nothing is left, when it is too long, or when it has a control character.
    public init?(_ text: String) {
        let name = text.trimming(while: { $0.isWhitespace })
        guard (1...Self.maximumLength).contains(name.unicodeScalars.count),
            !name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { return nil }
        description = name
    }
}

extension String {
    func trimming(while predicate: (Character) -> Bool) -> String {
        String(drop(while: predicate).reversed().drop(while: predicate).reversed())
    }
}
