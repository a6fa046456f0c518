import Domain
import Store

/// A new account: `{email, full_name, role, password?}`.
struct NewUserBody: Decodable {
    let email: EmailAddress
    let fullName: FullName
    let role: Role
    /// Nil for an account that nobody can sign in to with a password.
    let password: String?

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case email
        case fullName = "full_name"
        case role, password
    }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard let email = EmailAddress(try container.decode(String.self, forKey: .email)) else {
            throw Problem.invalid("email", "is not an e-mail address.")
        }
        self.email = email
        fullName = try FullName(member: try container.decode(String.self, forKey: .fullName))
        role = try container.decode(Role.self, forKey: .role)
        password = try container.decodeIfPresent(String.self, forKey: .password)
    }
}

/// Changes of an account: one or more of `{full_name, role, is_active, password}`.
struct UserChangeBody: Decodable {
    /// The changes without the password.
    let change: UserStore.Change
    /// The new password; nil keeps the present one.
    let password: String?

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case fullName = "full_name"
        case role
        case isActive = "is_active"
        case password
    }

    init(from decoder: any Decoder) throws {
        try decoder.refuseMembers(otherThan: CodingKeys.self)
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard !container.allKeys.isEmpty else {
            throw Problem(.invalid, "Send at least one of full_name, role, is_active and password.")
        }
        // Null is not a value. To keep a value, the client leaves the member out.
        func member<Value: Decodable>(_ key: CodingKeys, _ type: Value.Type) throws -> Value? {
            container.contains(key) ? try container.decode(type, forKey: key) : nil
        }
        change = UserStore.Change(
            fullName: try member(.fullName, String.self).map { try FullName(member: $0) },
            role: try member(.role, Role.self), isActive: try member(.isActive, Bool.self))
        password = try member(.password, String.self)
    }
}

extension FullName {
    fileprivate init(member text: String) throws(Problem) {
        guard let name = FullName(text) else {
            throw .invalid("full_name", "needs 1 to \(Self.maximumLength) characters, and no control characters.")
        }
        self = name
    }
}

/// A member of a JSON object, with any name.
private struct AnyMember: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

extension Decoder {
    /// Refuses members that the type does not know.
    ///
    /// The server must not silently ignore a misspelled right or name.
    ///
    /// - Throws: 422, with the name of the member.
    func refuseMembers<Key: CodingKey & CaseIterable>(otherThan keys: Key.Type) throws {
        let known = Set(Key.allCases.map(\.stringValue))
        let unknown = try container(keyedBy: AnyMember.self).allKeys.map(\.stringValue)
            .filter { !known.contains($0) }.min()
        if let unknown {
            let path = JSON.name(codingPath)
            let name = (path.isEmpty ? "" : path + ".") + unknown.prefix(64)
            throw Problem.invalid(name, "is not a member of this object.", .unknown)
        }
    }
}
