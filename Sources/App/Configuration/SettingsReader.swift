import Configuration
import Credentials
import Foundation
import HTTPAPI
public import Logging
import Postgres
import Store

/// A setting that is missing or cannot be used: which one, and what to do about it.
public struct SettingError: Error, CustomStringConvertible, Equatable {
    /// The environment variable, or the file.
    public var name: String
    /// What is wrong and how to mend it.
    public var mend: String

    public init(_ name: String, _ mend: String) {
        self.name = name
        self.mend = mend
    }

    /// One line, without the value: it may be a secret.
    public var description: String { "\(name): \(mend)" }
}

/// Reads single settings out of environment variables, each with its range and its default.
public struct SettingsReader: Sendable {
    private let config: ConfigReader

    /// - Parameter environment: The variables; nil takes the process's own.
    public init(environment: [String: String]? = nil) {
        let provider =
            environment.map { EnvironmentVariablesProvider(environmentVariables: $0) } ?? EnvironmentVariablesProvider()
        config = ConfigReader(provider: provider)
    }

    /// The text of a setting; nil when it is missing or empty.
    func text(_ name: String) -> String? {
        let key = ConfigKey(name.lowercased().split(separator: "_").map(String.init))
        guard let text = config.string(forKey: key, isSecret: true), !text.isEmpty else { return nil }
        return text
    }

    func integer(_ name: String, in range: ClosedRange<Int>, default value: Int) throws(SettingError) -> Int {
        guard let text = text(name) else { return value }
        guard let number = Int(text), range.contains(number) else {
            throw SettingError(name, "has to be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A port of its own; nil when the setting is missing or says `none`.
    func port(_ name: String, unless none: String) throws(SettingError) -> Int? {
        guard let text = text(name), text != none else { return nil }
        guard let number = Int(text), (1...65_535).contains(number) else {
            throw SettingError(name, "has to be \(none), or a whole number from 1 to 65535")
        }
        return number
    }

    func seconds(_ name: String, in range: ClosedRange<Double>, default value: Double) throws(SettingError) -> Duration
    {
        guard let text = text(name) else { return .seconds(value) }
        guard let number = Double(text), range.contains(number) else {
            throw SettingError(name, "has to be a number of seconds from \(range.lowerBound) to \(range.upperBound)")
        }
        return .seconds(number)
    }

    func choice<Value>(_ name: String, _ values: [String: Value], default key: String) throws(SettingError) -> Value {
        guard let value = values[text(name) ?? key] else {
            throw SettingError(name, "has to be one of \(values.keys.sorted().joined(separator: ", "))")
        }
        return value
    }

    /// How much one user may upload.
    ///
    /// - Parameter largest: The bytes of the largest recording, for which there has to be room.
    func uploadLimits(largest: Int) throws(SettingError) -> UploadLimits {
        let name = "UPLOAD_QUOTA_BYTES"
        let quota = try integer(name, in: 0...(1 << 60), default: max(20 << 30, largest))
        guard quota == 0 || quota >= largest else {
            throw SettingError(name, "has to be 0, for no limit, or at least UPLOAD_MAX_BYTES")
        }
        return UploadLimits(
            atOnce: try integer("UPLOAD_MAX_CONCURRENT_PER_USER", in: 0...1_000_000, default: 10),
            perHour: try integer("UPLOADS_PER_HOUR", in: 0...1_000_000, default: 300), bytesPerDay: quota)
    }

    func connectionString(_ name: String, default value: String? = nil) throws(SettingError) -> String {
        guard let text = text(name) ?? value else {
            throw SettingError(name, "is missing; set it to a libpq connection string")
        }
        do {
            _ = try PostgresConfiguration(connectionString: text)
        } catch {
            throw SettingError(name, "is not a libpq connection string; see the PostgreSQL manual, 34.1.1")
        }
        return text
    }

    /// A host's name or address; whether it is one of this machine's shows when the server listens.
    func host(_ name: String, default value: String) throws(SettingError) -> String {
        let host = text(name) ?? value
        guard host.wholeMatch(of: /[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?/) != nil else {
            throw SettingError(name, "has to be a host's name or address, such as 127.0.0.1 or ::1")
        }
        return host
    }

    func publicURL(_ name: String, default value: String) throws(SettingError) -> URL {
        guard let url = URL(string: text(name) ?? value), ["http", "https"].contains(url.scheme),
            HTTPSettings.origin(of: url) != nil
        else { throw SettingError(name, "has to be an http or https URL, such as https://bridge.example.org") }
        return url
    }

    func origins(_ name: String, default value: String) throws(SettingError) -> Set<String> {
        var origins: Set<String> = []
        for part in (text(name) ?? value).split(separator: ",") {
            let text = part.trimmingCharacters(in: .whitespaces)
            guard let url = URL(string: text), ["http", "https"].contains(url.scheme),
                let origin = HTTPSettings.origin(of: url), url.path().isEmpty || url.path() == "/"
            else {
                throw SettingError(name, "has to be a comma-separated list of origins, such as https://example.org")
            }
            origins.insert(origin)
        }
        return origins
    }

    func addressRanges(_ name: String, default value: String) throws(SettingError) -> AddressRanges {
        let text = text(name) ?? value
        guard let ranges = AddressRanges(text == "none" ? "" : text) else {
            throw SettingError(
                name, "has to be none, or a comma-separated list of addresses and ranges, such as 10.0.0.0/8, ::1")
        }
        return ranges
    }

    func jwtSecret() throws(SettingError) -> String {
        let mend =
            "set it to at least \(AccessTokens.minimumSecretBytes) random bytes, as from: openssl rand -base64 48"
        guard let secret = text("JWT_SECRET") else { throw SettingError("JWT_SECRET", "is missing; \(mend)") }
        guard secret.utf8.count >= AccessTokens.minimumSecretBytes else {
            throw SettingError("JWT_SECRET", "is too short; \(mend)")
        }
        return secret
    }

    /// The keys of before, separated by commas.
    func previousJWTSecrets() throws(SettingError) -> [String] {
        let secrets = (text("JWT_PREVIOUS_SECRETS") ?? "").split(separator: ",", omittingEmptySubsequences: false)
            .map { $0.trimmingCharacters(in: .whitespaces) }
        if secrets == [""] { return [] }
        guard secrets.allSatisfy({ $0.utf8.count >= AccessTokens.minimumSecretBytes }) else {
            throw SettingError(
                "JWT_PREVIOUS_SECRETS",
                "has to be a comma-separated list of earlier values of JWT_SECRET, or left out when none is in use")
        }
        return secrets
    }

    /// The site's identity provider: all three of its settings, or none.
    func identityProvider() throws(SettingError) -> IdentityProviderSettings? {
        let names = ["JWT_JWKS_FILE", "JWT_ISSUER", "JWT_AUDIENCE"]
        let values = names.map(text)
        if values.allSatisfy({ $0 == nil }) { return nil }
        for (name, value) in zip(names, values) where value == nil {
            throw SettingError(name, "is missing; an identity provider needs \(names.joined(separator: ", "))")
        }
        guard let file = values[0], let issuer = values[1], let audience = values[2] else { return nil }
        guard let jwks = try? Data(contentsOf: URL(filePath: file)) else {
            throw SettingError("JWT_JWKS_FILE", "cannot be read; name a file with the provider's public keys")
        }
        return IdentityProviderSettings(jwks: jwks, issuer: issuer, audience: audience)
    }

    /// How and how much to log.
    ///
    /// - Throws: ``SettingError`` for a bad value.
    public func logging() throws(SettingError) -> (level: Logger.Level, isJSON: Bool) {
        let levels = Dictionary(uniqueKeysWithValues: Logger.Level.allCases.map { ($0.rawValue, $0) })
        return (
            try choice("LOG_LEVEL", levels, default: "info"),
            try choice("LOG_FORMAT", ["text": false, "json": true], default: "text")
        )
    }
}
