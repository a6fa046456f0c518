import Crypto
public import Domain
public import Foundation
import JWTKit

/// What a verified token of a site's own identity provider says.
public struct ProviderClaims: Sendable, Hashable {
    /// The sign-in with the provider, under the name that it has here: the same for all tokens of one sign-in.
    public var signIn: SignInID
    /// The user's address, which the provider has verified.
    public var email: EmailAddress
    /// When the token expires.
    public var expiresAt: Timestamp
}

/// Verifies the tokens of a site's own identity provider: JWTs signed with ES256, RS256 or EdDSA.
///
/// There are none but public keys here, each with the one algorithm of its type. So a token cannot be verified as what it is
/// not, whatever its header says; and those of ``AccessTokens`` are never tried here.
public struct IdentityProvider: Sendable {
    private let keys: [String: ProviderKey]
    private let issuer: String
    private let audience: String

    /// - Parameters:
    ///   - jwks: The provider's public keys, a JWK Set (RFC 7517, 5).
    ///   - issuer: The `iss` of its tokens.
    ///   - audience: What has to be in their `aud`.
    /// - Throws: ``ProviderKeysError`` when the set has a key that is not public, or none that can be used.
    public init(jwks: Data, issuer: String, audience: String) async throws {
        keys = try await ProviderKey.read(jwks)
        self.issuer = issuer
        self.audience = audience
    }

    /// Verifies a token.
    ///
    /// - Parameters:
    ///   - token: The token as it came.
    ///   - acceptsExpired: True where a token only has to tell which sign-in is meant, as at a sign-out.
    /// - Returns: Its claims; nil when it is malformed, wrongly signed, expired, not yet valid, not for us, or does not
    ///   name a verified address.
    public func verify(_ token: String, acceptsExpired: Bool = false) async -> ProviderClaims? {
        // Providers put more into their tokens than we do.
        guard let parts = CompactToken(token, limit: 8192), let id = parts.keyID, let key = keys[id],
            parts.algorithm == key.algorithm,
            let payload = try? await key.collection.verify(token, as: Payload.self),
            payload.iss == issuer, payload.aud.values.contains(audience),
            Claims.stands(payload.exp, acceptsExpired: acceptsExpired), !payload.sub.isEmpty, payload.isEmailVerified,
            let email = payload.email.flatMap({ EmailAddress($0) }), let signIn = signIn(of: payload)
        else { return nil }
        return ProviderClaims(signIn: signIn, email: email, expiresAt: Timestamp(payload.exp.value))
    }

    /// The sign-in that a token stands under: a UUID of version 8 (RFC 9562, 5.8) made of the issuer, the subject and the
    /// provider's session; of the time of issue when the provider names no session.
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
            // With its length before each part, no two lists come to the same bytes.
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
            // Whether an expired token counts is decided by who asks.
            try nbf?.verifyNotBefore()
        }
    }
}
