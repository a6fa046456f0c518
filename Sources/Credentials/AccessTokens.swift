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

    public init(user: UserID, signIn: SignInID, expiresAt: Timestamp) {
        self.user = user
        self.signIn = signIn
        self.expiresAt = expiresAt
    }
}

/// Issues and verifies access tokens: JWTs (RFC 7519) signed with HS256.
public struct AccessTokens: Sendable {
    /// The shortest key (RFC 7518, 3.2: "A key of the same size as the hash output (for instance, 256 bits for "HS256") or
    /// larger MUST be used with this algorithm.").
    public static let minimumSecretBytes = 32

    /// Who issues and who accepts the tokens.
    private static let party = "therapybridge"

    private let keys: JWTKeyCollection

    /// - Parameter secret: At least ``minimumSecretBytes`` bytes; the caller has checked that.
    public init(secret: String) async {
        keys = JWTKeyCollection()
        await keys.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
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
        return try await keys.sign(
            Payload(
                iss: IssuerClaim(value: Self.party), aud: Audience(values: [Self.party]),
                sub: SubjectClaim(value: claims.user.description), sid: claims.signIn.description,
                iat: IssuedAtClaim(value: now), exp: ExpirationClaim(value: expiry)))
    }

    /// Verifies a token.
    ///
    /// - Returns: Its claims; nil when it is malformed, wrongly signed, expired, not yet valid, or not for us. Which of
    ///   them is nobody's business.
    public func verify(_ token: String) async -> AccessClaims? {
        // Cookies and headers are limited anyway; this keeps a huge token away from the decoder.
        guard token.utf8.count <= 4096, Self.isOurs(header: token.prefix { $0 != "." }),
            let payload = try? await keys.verify(token, as: Payload.self),
            payload.exp.value < Self.endOfTime, let user = UserID(payload.sub.value), let signIn = SignInID(payload.sid)
        else { return nil }
        return AccessClaims(user: user, signIn: signIn, expiresAt: Timestamp(payload.exp.value))
    }

    /// The end of the year 9999: what expires later could not be written as a ``Timestamp``.
    private static let endOfTime = Date(timeIntervalSince1970: 253_402_300_800)

    private struct Header: Decodable {
        var alg: String
        var crit: [String]?
    }

    /// Whether a token says that it is signed as ours are.
    ///
    /// The signature is checked by the one algorithm of the key in any case; this refuses what only claims another, and
    /// extensions that we do not know (RFC 7515, 4.1.11: "If any of the listed extension Header Parameters are not
    /// understood and supported by the recipient, then the JWS is invalid").
    private static func isOurs(header: Substring) -> Bool {
        let base64 = header.replacing("-", with: "+").replacing("_", with: "/")
        let padding = String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: base64 + padding),
            let header = try? JSONDecoder().decode(Header.self, from: data)
        else { return false }
        return header.alg == "HS256" && header.crit == nil
    }

    /// The `aud` claim, an array or one string.
    ///
    /// RFC 7519, 4.1.3: "In the general case, the "aud" value is an array of case-sensitive strings […]. In the special
    /// case when the JWT has one audience, the "aud" value MAY be a single case-sensitive string". JWTKit's own `AudienceClaim` stops the program at an empty array.
    private struct Audience: Codable {
        var values: [String]

        init(values: [String]) { self.values = values }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let value = try? container.decode(String.self) {
                values = [value]
            } else {
                values = try container.decode([String].self)
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(values)
        }
    }

    private struct Payload: JWTPayload {
        var iss: IssuerClaim
        var aud: Audience
        var sub: SubjectClaim
        /// The sign-in, under the name that OpenID Connect Front-Channel Logout 1.0 gives to a session's identifier.
        var sid: String
        var iat: IssuedAtClaim
        var nbf: NotBeforeClaim?
        var exp: ExpirationClaim

        func verify(using algorithm: some JWTAlgorithm) throws {
            try exp.verifyNotExpired()
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
