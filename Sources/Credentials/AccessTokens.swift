import Crypto
public import Domain
import Foundation
import JWTKit

/// What a verified access token says.
public struct AccessClaims: Sendable, Hashable {
    /// Whose token it is.
    public var user: UserID
    /// The sign-in that it was issued under: when that ends, the token is worth nothing.
    public var signIn: SignInID
    /// When it expires.
    public var expiresAt: Timestamp

    /// Claims of a user, under a sign-in.
    public init(user: UserID, signIn: SignInID, expiresAt: Timestamp) {
        self.user = user
        self.signIn = signIn
        self.expiresAt = expiresAt
    }
}

/// Issues and verifies access tokens: JWTs (RFC 7519) signed with HS256.
///
/// There are no keys here but our own, all of them for HS256; those of others are an ``IdentityProvider``'s.
public struct AccessTokens: Sendable {
    /// The shortest key (RFC 7518, 3.2: "A key of the same size as the hash output (for instance, 256 bits for "HS256") or
    /// larger MUST be used with this algorithm.").
    public static let minimumSecretBytes = 32

    /// Who issues and who accepts the tokens.
    private static let party = "therapybridge"
    private static let algorithm = "HS256"

    /// The key of new tokens, and of those from before tokens named their key.
    private let present: JWTKeyCollection
    private let presentID: String
    /// Each key alone in its collection, under its name: which one verifies is decided here.
    private let keys: [String: JWTKeyCollection]

    /// - Parameters:
    ///   - secret: The key, at least ``minimumSecretBytes`` bytes; the caller has checked that.
    ///   - previousSecrets: Keys of before, whose tokens are good until they expire.
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

    /// What a key is called in its tokens: the beginning of a hash, which tells nothing of the key.
    private static func keyID(of secret: String) -> String {
        SHA256.hash(data: Data("therapybridge key\0".utf8) + Data(secret.utf8)).prefix(8)
            .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Issues a token.
    ///
    /// - Parameter claims: Who, under which sign-in, until when. The expiry is raised to a whole second.
    /// - Returns: The token.
    /// - Throws: The library's error; a key that was accepted does not fail.
    public func issue(_ claims: AccessClaims) async throws -> String {
        // RFC 7519, 2 allows a NumericDate to have a fraction; not every client's library does.
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
    ///   - token: The token as it came.
    ///   - acceptsExpired: True where a token only has to tell which sign-in is meant, as at a sign-out.
    /// - Returns: Its claims; nil when it is malformed, wrongly signed, expired, not yet valid, or not for us. Which of
    ///   them is nobody's business.
    public func verify(_ token: String, acceptsExpired: Bool = false) async -> AccessClaims? {
        guard let parts = CompactToken(token, limit: 4096), parts.algorithm == Self.algorithm,
            let key = parts.keyID.map({ keys[$0] }) ?? present,
            let payload = try? await key.verify(token, as: Payload.self),
            Claims.stands(payload.exp, acceptsExpired: acceptsExpired),
            let user = UserID(payload.sub.value),
            let signIn = SignInID(payload.sid)
        else { return nil }
        return AccessClaims(user: user, signIn: signIn, expiresAt: Timestamp(payload.exp.value))
    }

    private struct Payload: JWTPayload {
        var iss: IssuerClaim
        var aud: Claims.Audience
        var sub: SubjectClaim
        /// The sign-in, under the name that OpenID Connect Front-Channel Logout 1.0 gives to a session's identifier.
        var sid: String
        var iat: IssuedAtClaim
        var nbf: NotBeforeClaim?
        var exp: ExpirationClaim

        func verify(using algorithm: some JWTAlgorithm) throws {
            // Whether an expired token counts is decided by who asks.
            try nbf?.verifyNotBefore()
            guard aud.values.contains(AccessTokens.party) else {
                throw JWTError.generic(identifier: "aud", reason: "meant for somebody else")
            }
            guard iss.value == AccessTokens.party else {
                throw JWTError.claimVerificationFailure(failedClaim: iss, reason: "issued by somebody else")
            }
        }
    }
}
