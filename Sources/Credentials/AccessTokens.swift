import Crypto
public import Domain
import Foundation
import JWTKit

/// The claims of a verified access token.
public struct AccessClaims: Sendable, Hashable {
    /// The user that the token belongs to.
    public var user: UserID
    /// The sign-in that the token was issued under.
    ///
    /// When it ends, the token loses its value.
    public var signIn: SignInID
    /// When it expires.
    public var expiresAt: Timestamp

    /// Claims of a user under a sign-in.
    public init(user: UserID, signIn: SignInID, expiresAt: Timestamp) {
        self.user = user
        self.signIn = signIn
        self.expiresAt = expiresAt
    }
}

/// Issues and verifies access tokens: JWTs (RFC 7519) signed with HS256.
///
/// It has only this server's keys, all of them for HS256. An ``IdentityProvider`` has the keys of others.
public struct AccessTokens: Sendable {
    /// The minimum size of a key in bytes (RFC 7518, 3.2: "A key of the same size as the hash output (for instance, 256
    /// bits for "HS256") or larger MUST be used with this algorithm.").
    public static let minimumSecretBytes = 32

    /// The issuer and the audience of the tokens.
    private static let party = "therapybridge"
    private static let algorithm = "HS256"

    /// Signs new tokens, and verifies tokens that do not name their key.
    private let present: JWTKeyCollection
    private let presentID: String
    /// The keys by name, each alone in its collection.
    ///
    /// This type decides which key verifies a token.
    private let keys: [String: JWTKeyCollection]

    /// Takes the keys.
    ///
    /// - Parameters:
    ///   - secret: The key, at least ``minimumSecretBytes`` bytes; the caller has checked that.
    ///   - previousSecrets: Earlier keys. Their tokens stay valid until they expire.
    public init(secret: String, previousSecrets: [String] = []) async {
        var keys: [String: JWTKeyCollection] = [:]
        for secret in [secret] + previousSecrets {
            let collection = JWTKeyCollection()
            await collection.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
            keys[Self.keyID(of: secret)] = collection
        }
        presentID = Self.keyID(of: secret)
        present = keys[presentID] ?? JWTKeyCollection()
        self.keys = keys
    }

    /// The name of a key in its tokens: the beginning of a hash, which reveals nothing about the key.
    private static func keyID(of secret: String) -> String {
        SHA256.hash(data: Data("therapybridge key\0".utf8) + Data(secret.utf8)).prefix(8)
            .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Issues a token.
    ///
    /// - Parameter claims: The user, the sign-in and the expiry, which is rounded up to a whole second.
    /// - Returns: The token.
    /// - Throws: The library's error, which an accepted key never causes.
    public func issue(_ claims: AccessClaims) async throws -> String {
        // RFC 7519, 2 allows a fraction in a NumericDate, but some clients' libraries do not.
        let expiry = Date(timeIntervalSince1970: claims.expiresAt.date.timeIntervalSince1970.rounded(.up))
        let now = Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded(.down))
        return try await present.sign(
            Payload(
                iss: IssuerClaim(value: Self.party), aud: Claims.Audience(values: [Self.party]),
                sub: SubjectClaim(value: claims.user.description), sid: claims.signIn.description,
                iat: IssuedAtClaim(value: now), exp: ExpirationClaim(value: expiry)),
            header: ["kid": .string(presentID)])
    }

    /// Verifies a token.
    ///
    /// - Parameters:
    ///   - token: The token of the client.
    ///   - acceptsExpired: True if the token only has to identify a sign-in, as at a sign-out.
    /// - Returns: Its claims; nil if it is malformed, wrongly signed, expired, not yet valid, or not for this server.
    ///   The caller does not learn which.
    public func verify(_ token: String, acceptsExpired: Bool = false) async -> AccessClaims? {
        guard let parts = CompactToken(token, limit: 4096), parts.algorithm == Self.algorithm,
            let key = parts.keyID.map({ keys[$0] }) ?? present,
            let payload = try? await key.verify(token, as: Payload.self),
            Claims.isValid(payload.exp, acceptsExpired: acceptsExpired),
            let user = UserID(payload.sub.value),
            let signIn = SignInID(payload.sid)
        else { return nil }
        return AccessClaims(user: user, signIn: signIn, expiresAt: Timestamp(payload.exp.value))
    }

    private struct Payload: JWTPayload {
        var iss: IssuerClaim
        var aud: Claims.Audience
        var sub: SubjectClaim
        /// The sign-in.
        ///
        /// OpenID Connect Front-Channel Logout 1.0 gives this name to the identifier of a session.
        var sid: String
        var iat: IssuedAtClaim
        var nbf: NotBeforeClaim?
        var exp: ExpirationClaim

        func verify(using algorithm: some JWTAlgorithm) throws {
            // The caller decides whether an expired token counts.
            try nbf?.verifyNotBefore()
            guard aud.values.contains(AccessTokens.party) else {
                throw JWTError.generic(identifier: "aud", reason: "meant for another audience")
            }
            guard iss.value == AccessTokens.party else {
                throw JWTError.claimVerificationFailure(failedClaim: iss, reason: "another issuer")
            }
        }
    }
}
