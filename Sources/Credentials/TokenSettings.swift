import FoundationEssentials
import SecretFiles
public import SettingsReading
import TextForms

/// The keys of access tokens.
public struct TokenSettings: Sendable, CustomStringConvertible, CustomReflectable {
    /// The key of new tokens.
    let secret: String
    /// Earlier keys.
    ///
    /// Their tokens stay valid until they expire.
    let previousSecrets: [String]

    /// The file of the key (`JWT_SECRET_FILE`), or nil if the key came from the environment.
    private let file: String?

    /// Reads the group.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` for the first setting that is missing or bad.
    public init(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Sign-in")
        (secret, file) = try Self.secret(reader)
        previousSecrets =
            try reader.value(
                "JWT_PREVIOUS_SECRETS", form: "a comma-separated list of earlier values of JWT_SECRET",
                "Earlier keys, whose tokens are good until they expire; see [security](security.md)."
            ) { text in
                let secrets = text.split(separator: ",", omittingEmptySubsequences: false)
                    .map { $0.trimmed }
                return secrets.allSatisfy(Self.isLongEnough) ? secrets : nil
            } ?? []
    }

    /// Reads the key from the one setting of two that is there.
    private static func secret(_ reader: SettingsReader) throws(SettingError) -> (String, file: String?) {
        let name = "JWT_SECRET"
        let secret = try reader.value(
            name, form: form, absent: "this or `\(fileName)` is required", "The key of the access tokens."
        ) { isLongEnough($0) ? $0 : nil }
        let file = reader.text(
            fileName, form: "a file that only its owner may read", absent: "this or `\(name)` is required",
            "A file with the key. Line ends after the key do not count.")
        guard let file else {
            guard let secret else {
                throw SettingError(name, "is missing; set it to \(form); or name a file with it in \(fileName)")
            }
            return (secret, nil)
        }
        guard secret == nil else { throw SettingError(fileName, "is set together with \(name); remove one of the two") }
        return (try self.secret(in: file), file)
    }

    private static let fileName = "JWT_SECRET_FILE"
    private static let form =
        "at least \(AccessTokens.minimumSecretBytes) random bytes, as from: openssl rand -base64 48"

    /// Reads the key from its file.
    private static func secret(in file: String) throws(SettingError) -> String {
        var contents: [UInt8]
        do {
            contents = try SecretFile.read(file, limit: 64 * 1024)
        } catch {
            throw SettingError(fileName, error.description)
        }
        while let last = contents.last, last == UInt8(ascii: "\n") || last == UInt8(ascii: "\r") {
            contents.removeLast()
        }
        guard let secret = String(validating: contents, as: UTF8.self), isLongEnough(secret) else {
            throw SettingError(fileName, "has to name a file with \(form)")
        }
        return secret
    }

    /// The key in its file now, or nil if the key came from the environment.
    fileprivate func rereadSecret() throws(SettingError) -> String? {
        guard let file else { return nil }
        return try Self.secret(in: file)
    }

    /// True if an attacker could guess one of the keys; see ``SecretStrength``.
    public var hasTrivialSecret: Bool { ([secret] + previousSecrets).contains(where: SecretStrength.isTrivial) }

    private static func isLongEnough(_ secret: String) -> Bool { secret.utf8.count >= AccessTokens.minimumSecretBytes }

    /// Shows no key.
    public var description: String { "TokenSettings(\(1 + previousSecrets.count) keys)" }

    /// The same text as the description, which keeps the keys out of dumps.
    public var customMirror: Mirror { Mirror(self, children: ["settings": description]) }
}

extension AccessTokens {
    /// Reads the file of the key again.
    ///
    /// - Parameter settings: The settings of the start.
    /// - Returns: False if the key is not in a file.
    /// - Throws: ``SettingError`` if the file is unusable. The key then stays.
    public func rereadKey(_ settings: TokenSettings) async throws -> Bool {
        guard let secret = try settings.rereadSecret() else { return false }
        await replaceKeys(secret: secret, previousSecrets: settings.previousSecrets)
        return true
    }

    /// Issues and verifies tokens with the keys of the settings.
    public init(_ settings: TokenSettings) async {
        await self.init(secret: settings.secret, previousSecrets: settings.previousSecrets)
    }
}

/// The site's own identity provider.
///
/// The server accepts its tokens beside its own.
public struct IdentityProviderSettings: Sendable {
    private static let keysName = "JWT_JWKS_FILE"

    /// The public keys: a JWK Set.
    private let jwks: Data
    /// The file of the keys.
    private let file: String
    private let issuer: String
    private let audience: String

    /// Reads the group; nil if none of its settings is there.
    ///
    /// - Parameter reader: Reads the environment.
    /// - Throws: ``SettingError`` if only some of the settings are there, or the server cannot read the file.
    public init?(_ reader: SettingsReader) throws(SettingError) {
        let reader = reader.group("Sign-in")
        let file = reader.text(
            Self.keysName, form: "a file with a JWK Set",
            "The public keys of the site's own identity provider; see [security](security.md). The three settings go together."
        )
        let issuer = reader.text("JWT_ISSUER", form: "any text", "The `iss` of the provider's tokens.")
        let audience = reader.text("JWT_AUDIENCE", form: "any text", "What the `aud` of the provider's tokens holds.")
        let values = [(Self.keysName, file), ("JWT_ISSUER", issuer), ("JWT_AUDIENCE", audience)]
        if values.allSatisfy({ $0.1 == nil }) { return nil }
        guard let file, let issuer, let audience else {
            let missing = values.first { $0.1 == nil }?.0 ?? ""
            throw SettingError(
                missing, "is missing; an identity provider needs \(values.map(\.0).joined(separator: ", "))")
        }
        jwks = try Self.contents(of: file)
        self.file = file
        self.issuer = issuer
        self.audience = audience
    }

    private static func contents(of file: String) throws(SettingError) -> Data {
        guard let jwks = try? Data(contentsOf: URL(filePath: file)) else {
            throw SettingError(keysName, "cannot be read; name a file with the provider's public keys")
        }
        return jwks
    }

    /// Reads the file of the keys again.
    ///
    /// - Parameter provider: The provider, which gets the keys.
    /// - Throws: ``SettingError`` if the file is unusable. The keys then stay.
    public func rereadKeys(of provider: IdentityProvider) async throws {
        let jwks = try Self.contents(of: file)
        do {
            try await provider.replaceKeys(jwks: jwks)
        } catch let error as ProviderKeysError {
            throw SettingError(Self.keysName, error.description)
        }
    }

    /// Reads the keys of the provider.
    ///
    /// - Returns: The provider, which verifies the tokens.
    /// - Throws: ``SettingError`` if the file has a key that is not public, or no usable key.
    public func provider() async throws -> IdentityProvider {
        do {
            return try await IdentityProvider(jwks: jwks, issuer: issuer, audience: audience)
        } catch let error as ProviderKeysError {
            throw SettingError(Self.keysName, error.description)
        }
    }
}

/// Finds keys that are long enough, but that an attacker guesses.
enum SecretStrength {
    /// The least number of different bytes in a key.
    ///
    /// A random key has more: for 32 hexadecimal digits, the chance of fewer is below 10^-12.
    private static let leastDistinctBytes = 6

    /// Words of examples and defaults, without anything but letters and digits.
    ///
    /// No random key of a usual length holds one of them by chance.
    private static let wellKnown = [
        "changeme", "changethis", "pleasechange", "replaceme", "replacethis", "yoursecret", "yourjwtsecret",
        "yoursuper", "your256bit", "mysecret", "supersecret", "topsecret", "verysecret", "notsosecret", "secretkey",
        "jwtsecret",
        "password", "placeholder", "example", "insecure", "default", "therapybridge", "deadbeef", "qwertyuiop",
        "0123456789", "1234567890", "abcdefgh",
    ]

    /// True if a key repeats itself, has few different bytes, or holds a well-known example.
    static func isTrivial(_ secret: String) -> Bool {
        let bytes = Array(secret.utf8)
        if Set(bytes).count < leastDistinctBytes || isRepeated(bytes) { return true }
        let plain = String(decoding: secret.lowercased().utf8.filter(isLetterOrDigit), as: UTF8.self)
        return wellKnown.contains { plain.contains($0) }
    }

    /// True if the bytes are a short text, over and over.
    private static func isRepeated(_ bytes: [UInt8]) -> Bool {
        (1...16).contains { period in
            bytes.count >= 2 * period && zip(bytes, bytes.dropFirst(period)).allSatisfy { $0 == $1 }
        }
    }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
}
