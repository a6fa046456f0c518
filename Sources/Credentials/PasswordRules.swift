import Domain
import Foundation

/// What a new password may not be (NIST SP 800-63B, 5.1.1.2).
///
/// No rule asks for digits or signs: "Verifiers SHOULD NOT impose other composition rules".
enum PasswordRules {
    /// A shorter beginning of an address is found in too many words.
    private static let minimumNameLength = 4

    /// What is wrong with a password, in words for its owner; nil when nothing is.
    ///
    /// - Parameter email: The address of its account.
    static func complaint(about password: String, of email: EmailAddress?) -> String? {
        guard password.count >= Passwords.minimumLength else {
            return "A password needs at least \(Passwords.minimumLength) characters."
        }
        guard password.count <= Passwords.maximumLength else {
            return "A password may have at most \(Passwords.maximumLength) characters."
        }
        let plain = normalised(password)
        guard Set(plain).count > 1 else { return "A password may not be one character over and over." }
        let name = normalised(email?.description.prefix { $0 != "@" } ?? "")
        if plain == name || plain == email.map({ normalised($0.description) })
            || name.count >= minimumNameLength && plain.contains(name)
        {
            return "A password may not hold the name that one signs in with."
        }
        guard !plain.filter({ $0.isLetter || $0.isNumber }).contains("therapybridge") else {
            return "A password may not hold the name of this service."
        }
        guard !CommonPasswords.all.contains(plain) else {
            return "This password is among the first that anyone would guess."
        }
        return nil
    }

    /// As it is hashed, in lower case.
    private static func normalised(_ text: some StringProtocol) -> String {
        String(text).precomposedStringWithCompatibilityMapping.lowercased()
    }
}
