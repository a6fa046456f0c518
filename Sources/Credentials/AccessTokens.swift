import Crypto
public import Domain
import FoundationEssentials
import JWTKit
import Synchronization

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
    /// The greatest size of a token in bytes.
    private static let limit = 4096

    /// A key, alone in its collection.
    private struct Key {
        let collection = JWTKeyCollection()
        /// Verifies signatures with the key.
        var signatures: (any JWTAlgorithm)?

        init(_ secret: String) async {
            await collection.add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
            signatures = try? await collection.getKey()
        }
    }

    /// The keys of one moment, and what they have verified.
    private struct Ring {
        /// Signs new tokens, and verifies tokens that do not name their key.
        let present: Key
        let presentID: String
        /// The keys by name.
        ///
        /// This type decides which key verifies a token.
        let keys: [String: Key]
        /// The tokens that these keys have verified.
        let verified = VerifiedTokens<AccessClaims>()

        init(secret: String, previousSecrets: [String]) async {
            var keys: [String: Key] = [:]
            for secret in previousSecrets { keys[AccessTokens.keyID(of: secret)] = await Key(secret) }
            presentID = AccessTokens.keyID(of: secret)
            present = await Key(secret)
            keys[presentID] = present
            self.keys = keys
        }
    }

    /// All copies of a value share the keys.
    private final class Holder: Sendable {
        private let ring: Mutex<Ring>

        init(_ ring: Ring) { self.ring = Mutex(ring) }

        var present: Ring { ring.withLock(\.self) }

        func replace(by new: Ring) { ring.withLock { $0 = new } }
    }

    private let holder: Holder
    /// Is called before each check of a signature, which a test counts.
    private let onCheck: @Sendable () -> Void

    /// Takes the keys.
    ///
    /// - Parameters:
    ///   - secret: The key, at least ``minimumSecretBytes`` bytes; the caller has checked that.
    ///   - previousSecrets: Earlier keys. Their tokens stay valid until they expire.
    public init(secret: String, previousSecrets: [String] = []) async {
        await self.init(secret: secret, previousSecrets: previousSecrets) {}
    }

    /// Takes the keys, and a function that is called before each check of a signature.
    package init(secret: String, previousSecrets: [String] = [], onCheck: @escaping @Sendable () -> Void) async {
        self.onCheck = onCheck
        holder = Holder(await Ring(secret: secret, previousSecrets: previousSecrets))
    }

    /// Replaces the keys, in all copies of this value.
    ///
    /// Tokens that only the replaced keys verify lose their value at once.
    ///
    /// - Parameters:
    ///   - secret: The new key.
    ///   - previousSecrets: Earlier keys, whose tokens stay valid.
    public func replaceKeys(secret: String, previousSecrets: [String]) async {
        holder.replace(by: await Ring(secret: secret, previousSecrets: previousSecrets))
    }

    /// The name of a key in its tokens: the beginning of a hash, which reveals nothing about the key.
    fileprivate static func keyID(of secret: String) -> String {
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
        let ring = holder.present
        return try await ring.present.collection.sign(
            Payload(
                iss: IssuerClaim(value: Self.party), aud: Claims.Audience(values: [Self.party]),
                sub: SubjectClaim(value: claims.user.description), sid: claims.signIn.description,
                iat: IssuedAtClaim(value: now), exp: ExpirationClaim(value: expiry)),
            header: ["kid": .string(ring.presentID)])
    }

    /// Verifies a token.
    ///
    /// - Parameters:
    ///   - token: The token of the client.
    ///   - acceptsExpired: True if the token only has to identify a sign-in, as at a sign-out.
    ///   - now: The present time.
    /// - Returns: Its claims; nil if it is malformed, wrongly signed, expired, not yet valid, or not for this server.
    ///   The caller does not learn which.
    public func verify(
        _ token: String, acceptsExpired: Bool = false, at now: Timestamp = .now()
    ) async -> AccessClaims? {
        let bytes = Array(token.utf8)
        let hash = VerifiedTokens<AccessClaims>.Key(bytes)
        // One set of keys for the whole check: a new set has a new memory.
        let ring = holder.present
        var (claims, key) = plainClaims(of: bytes, hash, by: ring, at: now)
        if claims == nil, let key {
            claims = await self.claims(of: token, key)
            if let claims { ring.verified.insert(claims, for: hash) }
        }
        guard let claims, acceptsExpired || now < claims.expiresAt else { return nil }
        return claims
    }

    /// Verifies a token in the form in which this server issues them, without a suspension.
    ///
    /// - Parameters:
    ///   - token: The token of the client in ASCII.
    ///   - now: The present time.
    /// - Returns: Its claims. Nil for a token that ``verify(_:acceptsExpired:at:)`` refuses, or that only that method can
    ///   read.
    public func verifyAtOnce(_ token: [UInt8], at now: Timestamp = .now()) -> AccessClaims? {
        let known = plainClaims(of: token, VerifiedTokens.Key(token), by: holder.present, at: now).claims
        guard let claims = known, now < claims.expiresAt else { return nil }
        return claims
    }

    /// The claims of a token that was verified before, or that is in the form in which this server issues tokens.
    ///
    /// - Returns: The claims; without them the key that may verify the token in another form, or nil.
    private func plainClaims(
        of token: [UInt8], _ hash: VerifiedTokens<AccessClaims>.Key, by ring: Ring, at now: Timestamp
    ) -> (claims: AccessClaims?, key: Key?) {
        if let known = ring.verified[hash] { return (known, nil) }
        guard let parts = CompactToken(token, limit: Self.limit), let key = key(for: parts, of: ring) else {
            return (nil, nil)
        }
        guard let claims = plainClaims(of: parts, key, at: now) else { return (nil, key) }
        ring.verified.insert(claims, for: hash)
        return (claims, nil)
    }

    /// The key that a token names; nil if this server does not have it, or the token is of another algorithm.
    private func key(for token: CompactToken, of ring: Ring) -> Key? {
        guard token.algorithm == Self.algorithm else { return nil }
        return token.keyID.map { ring.keys[$0] } ?? ring.present
    }

    /// Why a token is refused, for the log of the operator.
    ///
    /// A client never learns it.
    ///
    /// - Parameter token: A token that ``verify(_:acceptsExpired:at:)`` has refused.
    /// - Returns: A few words that hold no part of the token.
    public func fault(of token: String) async -> String {
        guard let parts = CompactToken(Array(token.utf8), limit: Self.limit) else { return "the token is malformed" }
        guard parts.algorithm == Self.algorithm else { return "the token is of another issuer" }
        guard let key = key(for: parts, of: holder.present) else {
            return
                "the token was signed by a key that this server does not have: is JWT_SECRET the same on all servers?"
        }
        guard await claims(of: token, key) != nil else {
            return "the token is wrongly signed, or not meant for this server"
        }
        return "the token has expired"
    }

    /// The claims of a well-signed token in the form in which this server issues them.
    ///
    /// The general reader refuses all that this one refuses for its signature, issuer or audience. It reads escapes,
    /// fractions and claims of time, which this one leaves to it.
    ///
    /// - Returns: Nil for a token that is bad, or has another form.
    private func plainClaims(of token: CompactToken, _ key: Key, at now: Timestamp) -> AccessClaims? {
        let payload = token.payload
        guard payload["nbf"] == nil, let issuedAt = payload["iat"].flatMap(payload.plainNumber),
            Timestamp(microsecondsSinceEpoch: issuedAt * 1_000_000) <= now,
            payload["iss"].flatMap(payload.plainText)?.elementsEqual(Self.party.utf8) == true,
            payload["aud"].flatMap(payload.plainTexts)?.contains(where: { $0.elementsEqual(Self.party.utf8) }) == true,
            let user = payload["sub"].flatMap(payload.plainText).flatMap({ UserID(utf8: $0) }),
            let signIn = payload["sid"].flatMap(payload.plainText).flatMap({ SignInID(utf8: $0) }),
            let expiry = payload["exp"].flatMap(payload.plainNumber), Claims.isWritable(seconds: expiry)
        else { return nil }
        onCheck()
        guard (try? key.signatures?.verify(token.signature, signs: token.signedText)) == true else { return nil }
        return AccessClaims(
            user: user, signIn: signIn, expiresAt: Timestamp(microsecondsSinceEpoch: expiry * 1_000_000))
    }

    /// The claims of a well-signed token in any form.
    private func claims(of token: String, _ key: Key) async -> AccessClaims? {
        onCheck()
        guard let payload = try? await key.collection.verify(token, as: Payload.self),
            Claims.isWritable(payload.exp), let user = UserID(payload.sub.value), let signIn = SignInID(payload.sid)
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
            try TokenTime.checkBegin(notBefore: nbf)
            guard aud.values.contains(AccessTokens.party) else {
                throw JWTError.generic(identifier: "aud", reason: "meant for another audience")
            }
            guard iss.value == AccessTokens.party else {
                throw JWTError.claimVerificationFailure(failedClaim: iss, reason: "another issuer")
            }
        }
    }
}
