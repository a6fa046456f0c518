import FoundationEssentials
import TextForms

/// The role of an account.
public enum Role: String, Sendable, Codable, CaseIterable {
    /// Sees the sessions of patients with an active assignment.
    case therapist
    /// Sees their own sessions.
    case patient
    /// Sees and manages all sessions and accounts.
    case admin
    /// A program that reports progress and sees no session.
    case pipeline
}

/// A person or a program with an account.
public struct User: Hashable, Sendable, Codable {
    /// The identifier of the account.
    public var id: UserID
    /// The e-mail address of the account.
    public var email: String
    /// The name that other users see.
    public var fullName: String
    /// The role of the account.
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

/// A user and the user's sign-in.
///
/// When the sign-in ends, the principal has no right any more, and its streams end.
public struct Principal: Hashable, Sendable {
    /// The user.
    public var user: UserID
    /// The sign-in.
    public var signIn: SignInID

    /// A user with a sign-in.
    public init(user: UserID, signIn: SignInID) {
        self.user = user
        self.signIn = signIn
    }
}

/// An account in the form for administrators.
///
/// It has no password hash, on purpose.
public struct UserRecord: Hashable, Sendable, Encodable {
    /// The user.
    public var user: User
    /// False if the account is deactivated.
    ///
    /// It then has no right and no stream.
    public var isActive: Bool
    /// When the account was created.
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

    /// Encodes the members of the user and those of the account in one object.
    ///
    /// - Throws: The error of the encoder.
    public func encode(to encoder: any Encoder) throws {
        try user.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(isActive, forKey: .isActive)
        try container.encode(createdAt, forKey: .createdAt)
    }
}

/// An e-mail address as the key of an account: trimmed, its ASCII letters in lower case, of the form `local@domain`.
///
/// The server sends no mail. It therefore checks only the form, which finds typing errors, and not the rest of RFC
/// 5321.
///
/// Two mailboxes must never become one account. Only ASCII letters change their case: the rules for other letters turn
/// U+212A, the Kelvin sign, into a k. An address has to be in the normal form NFC, because texts that differ only in
/// their normal form are equal in Swift and unequal in PostgreSQL. The database has the same two rules.
public struct EmailAddress: Hashable, Sendable, CustomStringConvertible {
    /// The normalized address.
    public let description: String

    /// Normalizes an address; nil for text of another form.
    ///
    /// An address has at most 254 characters (RFC 5321, 4.5.3.1.3, without the angle brackets).
    public init?(_ text: String) {
        let address = text.trimming(while: { $0.isWhitespace }).asciiLowercased
        let parts = address.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, address.unicodeScalars.count <= 254,
            !address.contains(where: \.isWhitespace), address.unicodeScalars.allSatisfy(\.mayBeShown),
            address.unicodeScalars.elementsEqual(address.canonicalForm.unicodeScalars)
        else { return nil }
        description = address
    }
}

extension String {
    /// The text with its ASCII letters in lower case.
    fileprivate var asciiLowercased: String {
        var scalars = UnicodeScalarView()
        for scalar in unicodeScalars {
            let isUpperCase = ("A"..."Z").contains(scalar)
            scalars.append(isUpperCase ? Unicode.Scalar(UInt8(scalar.value) + 0x20) : scalar)
        }
        return String(scalars)
    }
}

/// The name of a person or a program: trimmed, 1 to 200 Unicode scalars, which the database counts too.
///
/// Every scalar may be shown (``Unicode/Scalar/mayBeShown``).
public struct FullName: Hashable, Sendable, CustomStringConvertible {
    /// The longest name, in Unicode scalars.
    public static let maximumLength = 200

    /// The trimmed name.
    public let description: String

    /// Trims a name; nil for an empty or too long name, and for a name with a scalar that must not be shown.
    public init?(_ text: String) {
        let name = text.trimming(while: { $0.isWhitespace })
        guard (1...Self.maximumLength).contains(name.unicodeScalars.count),
            name.unicodeScalars.allSatisfy(\.mayBeShown)
        else { return nil }
        description = name
    }
}
