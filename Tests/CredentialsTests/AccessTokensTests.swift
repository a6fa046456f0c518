import Credentials
import Crypto
import Domain
import Foundation
import Testing

/// Makes tokens by hand, independent of the library under test.
struct Forge {
    static let secret = "0123456789abcdef0123456789abcdef"

    var header: [String: Any] = ["alg": "HS256", "typ": "JWT"]
    var claims: [String: Any]

    init(user: UserID, signIn: SignInID, now: Date = Date()) {
        claims = [
            "iss": "therapybridge", "aud": ["therapybridge"], "sub": user.description, "sid": signIn.description,
            "iat": Int(now.timeIntervalSince1970), "exp": Int(now.timeIntervalSince1970) + 600,
        ]
    }

    func token(secret: String = Self.secret) throws -> String {
        let text = try signedPart()
        let code = HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: SymmetricKey(data: Data(secret.utf8)))
        return "\(text).\(Self.base64url(Data(code)))"
    }

    func token512() throws -> String {
        let text = try signedPart()
        let key = SymmetricKey(data: Data(Self.secret.utf8))
        return "\(text).\(Self.base64url(Data(HMAC<SHA512>.authenticationCode(for: Data(text.utf8), using: key))))"
    }

    func signedPart() throws -> String {
        "\(Self.base64url(try JSONSerialization.data(withJSONObject: header)))."
            + Self.base64url(try JSONSerialization.data(withJSONObject: claims))
    }

    static func base64url(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}

@Suite("Access tokens")
struct AccessTokensTests {
    private let user = UserID.random()
    private let signIn = SignInID.random()

    private func verify(_ token: String) async -> AccessClaims? {
        await AccessTokens(secret: Forge.secret).verify(token)
    }

    private func forge(_ change: (inout Forge) -> Void = { _ in }) -> Forge {
        var forge = Forge(user: user, signIn: signIn)
        change(&forge)
        return forge
    }

    @Test("A token carries the claims that it was issued for")
    func roundTrip() async throws {
        let tokens = await AccessTokens(secret: Forge.secret)
        let expiry = Timestamp(
            microsecondsSinceEpoch: (Timestamp.now().microsecondsSinceEpoch / 1_000_000 + 60) * 1_000_000)
        let claims = AccessClaims(user: user, signIn: signIn, expiresAt: expiry)
        #expect(await tokens.verify(try await tokens.issue(claims)) == claims)
    }

    @Test("Another implementation of JWT makes the same token")
    func foreignImplementation() async throws {
        let claims = await verify(try forge().token())
        #expect(claims?.user == user)
        #expect(claims?.signIn == signIn)
        #expect(await verify(try forge { $0.claims["aud"] = "therapybridge" }.token()) != nil)
    }

    @Test("A token without a signature is refused")
    func algorithmNone() async throws {
        for name in ["none", "None", "NONE", ""] {
            let text = try forge { $0.header["alg"] = name }.signedPart()
            #expect(await verify(text + ".") == nil, "\(name)")
            #expect(await verify(text) == nil, "\(name)")
            #expect(await verify(try forge { $0.header["alg"] = name }.token()) == nil, "\(name)")
        }
    }

    @Test("A token under another algorithm is refused, even with the right key")
    func otherAlgorithm() async throws {
        #expect(await verify(try forge { $0.header["alg"] = "HS512" }.token512()) == nil)
        #expect(await verify(try forge().token512()) == nil)
        #expect(await verify(try forge { $0.header["alg"] = "RS256" }.token()) == nil)
        #expect(await verify(try forge { $0.header["alg"] = nil }.token()) == nil)
    }

    @Test("A token under another key is refused")
    func wrongKey() async throws {
        #expect(await verify(try forge().token(secret: "fedcba9876543210fedcba9876543210")) == nil)
        #expect(await verify(try forge().token(secret: "")) == nil)
    }

    @Test("A token that was changed anywhere is refused")
    func tampered() async throws {
        let token = try forge().token()
        let parts = token.split(separator: ".").map(String.init)
        let other = try forge { $0.claims["sub"] = UserID.random().description }.token().split(separator: ".").map(
            String.init)
        #expect(await verify([parts[0], other[1], parts[2]].joined(separator: ".")) == nil)
        // The last character of a part of 43 has two bits that encode nothing. They have to be 0.
        for index in token.indices where token[index] != "." {
            var changed = token
            changed.replaceSubrange(index...index, with: token[index] == "A" ? "B" : "A")
            #expect(await verify(changed) == nil, "\(changed)")
        }
    }

    @Test(
        "Text that is not a token is refused",
        arguments: ["", ".", "..", "...", "a.b.c", "null", "e30.e30.", "Bearer", "\u{0}", "é.é.é"])
    func malformed(_ token: String) async {
        #expect(await verify(token) == nil)
    }

    @Test("A token longer than any of ours is not even read")
    func long() async throws {
        let token = try forge { $0.claims["extra"] = String(repeating: "x", count: 4096) }.token()
        #expect(await verify(token) == nil)
        #expect(await verify(try forge { $0.claims["extra"] = "x" }.token()) != nil)
    }

    @Test("The expiry has no leeway")
    func expired() async throws {
        let now = Int(Date().timeIntervalSince1970)
        for exp in [0, -1, now - 600, now - 1, now] {
            #expect(await verify(try forge { $0.claims["exp"] = exp }.token()) == nil, "\(exp - now)")
        }
    }

    @Test("A token that is not yet valid is refused")
    func notYetValid() async throws {
        let now = Int(Date().timeIntervalSince1970)
        #expect(await verify(try forge { $0.claims["nbf"] = now + 300 }.token()) == nil)
        #expect(await verify(try forge { $0.claims["nbf"] = now - 1 }.token()) != nil)
    }

    @Test("A token with a critical extension is refused")
    func critical() async throws {
        #expect(await verify(try forge { $0.header["crit"] = ["b64"] }.token()) == nil)
    }

    @Test("A token of another issuer, for another audience, or without a claim is refused")
    func claims() async throws {
        let wrong: [(String, Any?)] = [
            ("iss", "somebody"), ("iss", nil), ("iss", ""), ("aud", ["somebody"]), ("aud", [String]()), ("aud", nil),
            ("sub", "x"), ("sub", nil), ("sub", 1), ("sid", "x"), ("sid", nil), ("exp", nil), ("exp", "soon"),
            ("exp", 1e300),
            ("exp", 253_402_300_800), ("iat", nil),
        ]
        for (name, value) in wrong {
            #expect(await verify(try forge { $0.claims[name] = value }.token()) == nil, "\(name)")
        }
    }
}

@Suite("Refresh tokens")
struct RefreshTokenTests {
    @Test("A refresh token has 256 random bits in Base64url, and the database has its hash")
    func text() {
        let token = RefreshToken()
        #expect(token.text.wholeMatch(of: /[A-Za-z0-9_-]{43}/) != nil)
        #expect(token.hash == RefreshToken.hash(of: token.text))
        #expect(token.hash == Array(SHA256.hash(data: Data(token.text.utf8))))
        #expect(Set((0..<1000).map { _ in RefreshToken().text }).count == 1000)
    }
}
