import Credentials
import Crypto
import Domain
import Foundation
import PropertySupport
import Synchronization
import TestSupport
import Testing

@Suite("Tokens that were verified before")
struct VerifiedTokensTests {
    private let user = UserID.random()
    private let signIn = SignInID.random()
    private let expiry = Timestamp(
        microsecondsSinceEpoch: (Timestamp.now().microsecondsSinceEpoch / 1_000_000 + 600) * 1_000_000)

    private var claims: AccessClaims { AccessClaims(user: user, signIn: signIn, expiresAt: expiry) }
    private var justBefore: Timestamp { expiry.advanced(by: .microseconds(-1)) }

    @Test("A known token is refused from its expiry on")
    func expiry() async throws {
        let tokens = await AccessTokens(secret: Forge.secret)
        let token = try await tokens.issue(claims)
        for _ in 0..<2 {
            #expect(await tokens.verify(token) == claims)
            #expect(await tokens.verify(token, at: justBefore) == claims)
            #expect(tokens.verifyAtOnce(Array(token.utf8), at: justBefore) == claims)
            #expect(await tokens.verify(token, at: expiry) == nil)
            #expect(tokens.verifyAtOnce(Array(token.utf8), at: expiry) == nil)
            // At a sign-out, the token only has to identify the sign-in.
            #expect(await tokens.verify(token, acceptsExpired: true, at: expiry) == claims)
        }
    }

    @Test("A known token of the identity provider is refused from its expiry on")
    func providerExpiry() async throws {
        let forge = ProviderForge()
        let provider = try await IdentityProvider(
            jwks: try forge.jwks(), issuer: ProviderForge.issuer, audience: ProviderForge.audience)
        let token = try forge.token(forge.claims(email: "ada@clinic.example"))
        let found = try #require(await provider.verify(token))
        for _ in 0..<2 {
            #expect(await provider.verify(token, at: found.expiresAt.advanced(by: .microseconds(-1))) == found)
            #expect(await provider.verify(token, at: found.expiresAt) == nil)
            #expect(await provider.verify(token, acceptsExpired: true, at: found.expiresAt) == found)
        }
    }

    @Test("Other keys do not know a token that the old ones have verified")
    func keyChange() async throws {
        let old = await AccessTokens(secret: Forge.secret)
        let token = try await old.issue(claims)
        #expect(await old.verify(token) == claims)
        let new = await AccessTokens(secret: "the key of next year, of 32 bytes.")
        #expect(await new.verify(token) == nil)
        #expect(new.verifyAtOnce(Array(token.utf8)) == nil)
        #expect(await old.verify(token) == claims)
    }

    /// Counts the checks of signatures.
    private final class Checks: Sendable {
        private let count = Mutex(0)

        var value: Int { count.withLock { $0 } }

        func keys(_ secret: String, previous: [String] = []) async -> AccessTokens {
            await AccessTokens(secret: secret, previousSecrets: previous) { self.count.withLock { $0 += 1 } }
        }
    }

    @Test("The signature of a token is checked once, and once more after the keys have changed")
    func checkedOnce() async throws {
        let checks = Checks()
        let tokens = await checks.keys(Forge.secret)
        let token = try await tokens.issue(claims)
        for _ in 0..<3 {
            #expect(tokens.verifyAtOnce(Array(token.utf8)) == claims)
            #expect(await tokens.verify(token) == claims)
            #expect(await tokens.verify(token, acceptsExpired: true, at: expiry) == claims)
        }
        #expect(checks.value == 1)
        // A bad signature is no knowledge: it is checked each time.
        let other = try await AccessTokens(secret: "the key of next year, of 32 bytes.").issue(claims)
        let forged = token.prefix { $0 != "." } + other.drop { $0 != "." }
        for _ in 0..<2 { #expect(tokens.verifyAtOnce(Array(forged.utf8)) == nil) }
        #expect(checks.value == 3)
        // The same token under new keys, which still have the earlier one.
        let changed = await checks.keys("the key of next year, of 32 bytes.", previous: [Forge.secret])
        for _ in 0..<2 { #expect(changed.verifyAtOnce(Array(token.utf8)) == claims) }
        #expect(checks.value == 4)
    }

    @Test("A known token is verified by all its bytes")
    func changedSignature() async throws {
        let tokens = await AccessTokens(secret: Forge.secret)
        let token = Array(try await tokens.issue(claims).utf8)
        #expect(tokens.verifyAtOnce(token) == claims)
        for index in token.indices {
            var changed = token
            changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(tokens.verifyAtOnce(changed) == nil, "\(index)")
            #expect(await tokens.verify(String(decoding: changed, as: UTF8.self)) == nil, "\(index)")
        }
        #expect(tokens.verifyAtOnce(token) == claims)
    }

    @Test("The memory stays within its capacity, and never returns the claims of another token")
    func capacity() {
        let memory = VerifiedTokens<Int>(capacity: 16)
        for number in 0..<1000 {
            let key = VerifiedTokens<Int>.Key(Array("token \(number)".utf8))
            #expect(memory[key] == nil)
            memory.insert(number, for: key)
            #expect(memory[key] == number)
        }
        #expect(memory.count <= 16)
        for number in 0..<1000 {
            let found = memory[VerifiedTokens<Int>.Key(Array("token \(number)".utf8))]
            #expect(found == nil || found == number)
        }
    }
}

@Suite("Tokens that are read at once")
struct TokensReadAtOnceTests {
    private let user = UserID.random()
    private let signIn = SignInID.random()

    /// A token with this header and these claims, signed with the right key.
    private func signed(_ header: [UInt8], _ payload: [UInt8]) -> [UInt8] {
        let text = "\(Forge.base64url(Data(header))).\(Forge.base64url(Data(payload)))"
        let key = SymmetricKey(data: Data(Forge.secret.utf8))
        let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: key)
        return Array("\(text).\(Forge.base64url(Data(code)))".utf8)
    }

    @Test("A token that this server issues is read at once")
    func own() async throws {
        let tokens = await AccessTokens(secret: Forge.secret)
        let expiry = Timestamp(
            microsecondsSinceEpoch: (Timestamp.now().microsecondsSinceEpoch / 1_000_000 + 60) * 1_000_000)
        let claims = AccessClaims(user: user, signIn: signIn, expiresAt: expiry)
        #expect(tokens.verifyAtOnce(Array(try await tokens.issue(claims).utf8)) == claims)
        #expect(tokens.verifyAtOnce(Array(try Forge(user: user, signIn: signIn).token().utf8))?.user == user)
    }

    @Test("A huge number in a claim of time is refused, and does not stop the program")
    func hugeTimes() async {
        let tokens = await AccessTokens(secret: Forge.secret)
        for number in ["999999999999", "9999999999999999", "9223372036854775807", "1e999", "-1", "0"] {
            for name in ["exp", "iat"] {
                let other = name == "exp" ? "iat" : "exp"
                let payload =
                    #"{"iss":"therapybridge","aud":"therapybridge","sub":"\#(user)","sid":"\#(signIn)","\#(name)":\#(number),"\#(other)":1}"#
                #expect(tokens.verifyAtOnce(signed(Array(#"{"alg":"HS256"}"#.utf8), Array(payload.utf8))) == nil)
            }
        }
    }

    /// What a reader that uses Foundation alone finds in a token.
    private func reference(_ token: [UInt8]) -> AccessClaims? {
        func decode(_ part: ArraySlice<UInt8>) -> Data? {
            let text = String(decoding: part, as: UTF8.self).replacing("-", with: "+").replacing("_", with: "/")
            return Data(base64Encoded: text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4))
        }
        func object(_ part: ArraySlice<UInt8>) -> [String: Any]? {
            decode(part).flatMap { try? JSONSerialization.jsonObject(with: $0) as? [String: Any] }
        }
        let parts = token.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let header = object(parts[0]), let payload = object(parts[1]),
            let signature = decode(parts[2]), header["alg"] as? String == "HS256", header["crit"] == nil,
            header["kid"] == nil, payload["nbf"] == nil, payload["iss"] as? String == "therapybridge",
            payload["aud"] as? String == "therapybridge"
                || (payload["aud"] as? [String])?.contains("therapybridge") == true,
            let user = (payload["sub"] as? String).flatMap({ UserID($0) }),
            let signIn = (payload["sid"] as? String).flatMap({ SignInID($0) }),
            let expiry = payload["exp"] as? Int64,
            HMAC<SHA256>.isValidAuthenticationCode(
                signature, authenticating: Data(token[..<parts[1].endIndex]),
                using: SymmetricKey(data: Data(Forge.secret.utf8)))
        else { return nil }
        return AccessClaims(
            user: user, signIn: signIn, expiresAt: Timestamp(microsecondsSinceEpoch: expiry * 1_000_000))
    }

    @Test("What is read at once is what Foundation reads")
    func agreement() async throws {
        let claims = Array(try JSONSerialization.data(withJSONObject: Forge(user: user, signIn: signIn).claims))
        let header = Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)
        let words = [
            "{", "}", "[", "]", ":", ",", "\"aud\"", "\"exp\"", "\"sub\"", "\"nbf\"", "\"crit\"", "\\u0061", "null",
            "1e9", "-1", "01", "9223372036854775807", "\"therapybridge\"", "true", " ",
        ]
        await holds(forCases: 300) { random in
            let payload =
                switch random.pick([0, 1, 2]) {
                case 0: claims
                case 1: random.mutation(of: claims)
                default: claims.dropLast() + random.jumble(of: words, count: 0...6) + Array("}".utf8)
                }
            var token = signed(random.happens(oneIn: 4) ? random.mutation(of: header) : header, payload)
            if random.happens(oneIn: 4) { token = random.mutation(of: token) }
            // Each case has new keys: what an earlier case was given must not answer for this one.
            guard let found = await AccessTokens(secret: Forge.secret).verifyAtOnce(token) else { return nil }
            return reference(token) == found ? nil : String(decoding: token, as: UTF8.self)
        }
    }

    @Test("Base64url is decoded in its canonical form alone")
    func base64() {
        let words = ["A", "Q", "w", "-", "_", "+", "/", "=", "é", "ab", "Zm9v", " "]
        holds(forCases: 500) { random in
            let bytes = Data(random.bytes(0...40))
            guard Base64URL.decode(Base64URL.encode(bytes).utf8) == Array(bytes) else { return "\(bytes)" }
            let text = random.text(of: words, count: 0...6)
            guard let decoded = Base64URL.decode(text.utf8) else { return nil }
            return Base64URL.encode(Data(decoded)) == text ? nil : text
        }
    }
}
