import Crypto
public import Domain
public import FoundationEssentials
import JWTKit
import Synchronization

/// The claims of a verified token of the site's own identity provider.
public struct ProviderClaims: Sendable, Hashable {
    /// The sign-in at the provider, as an id of this server.
    ///
    /// All tokens of one sign-in have the same one.
    public var signIn: SignInID
    /// The user's e-mail address, which the provider has verified.
    public var email: EmailAddress
    /// When the token expires.
    public var expiresAt: Timestamp
}

/// Verifies the tokens of the site's own identity provider: JWTs signed with ES256, RS256 or EdDSA.
///
/// It has only public keys, each for the one algorithm of its type. The header of a token can therefore not choose
/// another algorithm. The keys of ``AccessTokens`` are never used here.
public struct IdentityProvider: Sendable {
    /// The keys of one moment, and the tokens that they have verified.
    private struct Ring {
        let keys: [String: ProviderKey]
        let verified = VerifiedTokens<ProviderClaims>()
    }

    /// All copies of a value share the keys.
    private final class Holder: Sendable {
        private let ring: Mutex<Ring>

        init(_ ring: Ring) { self.ring = Mutex(ring) }

        var present: Ring { ring.withLock(\.self) }

        func replace(by new: Ring) { ring.withLock { $0 = new } }
    }

    private let holder: Holder
    /// The `iss` of the provider's tokens.
    public let issuer: String
    private let audience: String

    /// Reads the keys.
    ///
    /// - Parameters:
    ///   - jwks: The provider's public keys, a JWK Set (RFC 7517, 5).
    ///   - issuer: The `iss` of its tokens.
    ///   - audience: A value that their `aud` has to have.
    /// - Throws: ``ProviderKeysError`` if the set has a key that is not public, or no usable key.
    public init(jwks: Data, issuer: String, audience: String) async throws {
        holder = Holder(Ring(keys: try await ProviderKey.read(jwks)))
        self.issuer = issuer
        self.audience = audience
    }

    /// Replaces the keys, in all copies of this value.
    ///
    /// - Parameter jwks: The provider's public keys, a JWK Set.
    /// - Throws: ``ProviderKeysError`` if the set has a key that is not public, or no usable key. The keys then stay.
    public func replaceKeys(jwks: Data) async throws {
        holder.replace(by: Ring(keys: try await ProviderKey.read(jwks)))
    }

    /// Verifies a token.
    ///
    /// - Parameters:
    ///   - token: The token of the client.
    ///   - acceptsExpired: True if the token only has to identify a sign-in, as at a sign-out.
    ///   - now: The present time.
    /// - Returns: Its claims; nil if it is malformed, wrongly signed, expired, not yet valid, not for this server, or
    ///   without a verified address.
    public func verify(
        _ token: String, acceptsExpired: Bool = false, at now: Timestamp = .now()
    ) async -> ProviderClaims? {
        let bytes = Array(token.utf8)
        let hash = VerifiedTokens<ProviderClaims>.Key(bytes)
        let ring = holder.present
        var claims = ring.verified[hash]
        // A provider's tokens hold more than this server's own. The limit for them is therefore higher.
        if claims == nil, let parts = CompactToken(bytes, limit: 8192) {
            claims = await self.claims(of: token, parts, ring.keys)
            if let claims { ring.verified.insert(claims, for: hash) }
        }
        guard let claims, acceptsExpired || now < claims.expiresAt else { return nil }
        return claims
    }

    /// The claims of a well-signed token that is meant for this server, whatever its expiry.
    private func claims(
        of token: String, _ parts: CompactToken, _ keys: [String: ProviderKey]
    ) async -> ProviderClaims? {
        guard let id = parts.keyID, let key = keys[id], parts.algorithm == key.algorithm,
            let payload = try? await key.collection.verify(token, as: Payload.self),
            payload.iss == issuer, payload.aud.values.contains(audience), Claims.isWritable(payload.exp),
            !payload.sub.isEmpty, payload.isEmailVerified,
            let email = payload.email.flatMap({ EmailAddress($0) }), let signIn = signIn(of: payload)
        else { return nil }
        return ProviderClaims(signIn: signIn, email: email, expiresAt: Timestamp(payload.exp.value))
    }

    /// The sign-in of a token: a UUID of version 8 (RFC 9562, 5.8) made of the issuer, the subject and the provider's
    /// session.
    ///
    /// If the provider names no session, the time of issue replaces it.
    private func signIn(of payload: Payload) -> SignInID? {
        var hash = SHA256()
        var parts = [issuer, payload.sub]
        if let session = payload.sid {
            parts += ["sid", session]
        } else if let issuedAt = payload.iat {
            parts += ["iat", "\(issuedAt)"]
        } else {
            return nil
        }
        for part in parts {
            // The length in front of each part makes the bytes of two different lists differ.
            hash.update(data: Data("\(part.utf8.count):".utf8))
            hash.update(data: Data(part.utf8))
        }
        var bytes = Array(hash.finalize().prefix(16))
        bytes[6] = bytes[6] & 0x0f | 0x80
        bytes[8] = bytes[8] & 0x3f | 0x80
        return bytes.withUnsafeBytes { SignInID(rawValue: UUID(uuid: $0.loadUnaligned(as: uuid_t.self))) }
    }

    private struct Payload: JWTPayload {
        var iss: String
        var aud: Claims.Audience
        var sub: String
        var sid: String?
        var iat: Double?
        var nbf: NotBeforeClaim?
        var exp: ExpirationClaim
        var email: String?
        var emailVerified: Verified?

        enum CodingKeys: String, CodingKey {
            case iss, aud, sub, sid, iat, nbf, exp, email
            case emailVerified = "email_verified"
        }

        var isEmailVerified: Bool { emailVerified?.value ?? false }

        /// `email_verified` (OpenID Connect Core 1.0, 5.1): a boolean, which some providers send as a string.
        struct Verified: Codable {
            var value: Bool

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let value = try? container.decode(Bool.self) {
                    self.value = value
                } else {
                    value = try container.decode(String.self) == "true"
                }
            }

            func encode(to encoder: any Encoder) throws {
                var container = encoder.singleValueContainer()
                try container.encode(value)
            }
        }

        func verify(using algorithm: some JWTAlgorithm) throws {
            // The caller decides whether an expired token counts.
            try TokenTime.checkBegin(notBefore: nbf, issuedAt: iat)
        }
    }
}
