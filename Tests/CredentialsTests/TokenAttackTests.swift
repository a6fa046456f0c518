import Credentials
import Crypto
import Domain
import Foundation
import Testing

/// Tokens that an attacker without a key may try, and that a careless reader would accept.
@Suite("Forged access tokens")
struct TokenAttackTests {
    private let user = UserID.random()
    private let signIn = SignInID.random()

    private func verify(_ token: String, previous: [String] = []) async -> AccessClaims? {
        await AccessTokens(secret: Forge.secret, previousSecrets: previous).verify(token)
    }

    private func forge(_ change: (inout Forge) -> Void = { _ in }) -> Forge {
        var forge = Forge(user: user, signIn: signIn)
        change(&forge)
        return forge
    }

    /// A token with this header and these claims, signed with the right key.
    private func signed(header: String, claims: String) -> String {
        let text = "\(Forge.base64url(Data(header.utf8))).\(Forge.base64url(Data(claims.utf8)))"
        let key = SymmetricKey(data: Data(Forge.secret.utf8))
        return "\(text).\(Forge.base64url(Data(HMAC<SHA256>.authenticationCode(for: Data(text.utf8), using: key))))"
    }

    @Test("A token under a public-key algorithm is refused, and so is one with a public key as its secret")
    func algorithmConfusion() async throws {
        for algorithm in ["RS256", "ES256", "EdDSA", "PS256", "HS384", "hs256", "HS256 ", "nOnE"] {
            #expect(await verify(try forge { $0.header["alg"] = algorithm }.token()) == nil, "\(algorithm)")
        }
        let pem = P256.Signing.PrivateKey().publicKey.pemRepresentation
        #expect(await verify(try forge().token(secret: pem)) == nil)
    }

    @Test(
        "An attacker gains nothing by the name of a key",
        arguments: [
            "", "../../../../dev/null", "/dev/null", "' OR '1'='1", "'; DROP TABLE app.users; --", "\u{0}", "0",
            "https://evil.example/key", String(repeating: "k", count: 1000),
        ])
    func keyNames(_ kid: String) async throws {
        #expect(await verify(try forge { $0.header["kid"] = kid }.token()) == nil)
        #expect(await verify(try forge { $0.header["kid"] = kid }.token(secret: "")) == nil)
    }

    @Test("A token whose key name is not text is refused")
    func keyNameTypes() async throws {
        for kid in [1, ["x"], NSNull(), ["a": "b"], true] as [Any] {
            #expect(await verify(try forge { $0.header["kid"] = kid }.token()) == nil, "\(kid)")
        }
    }

    @Test("A token that brings its own key is refused")
    func embeddedKey() async throws {
        let own = "a key of an attacker's own, 32 bytes"
        let key: [String: Any] = ["kty": "oct", "k": Forge.base64url(Data(own.utf8)), "kid": "mine", "alg": "HS256"]
        let forged = forge {
            $0.header["jwk"] = key
            $0.header["jku"] = "https://evil.example/jwks.json"
            $0.header["x5u"] = "https://evil.example/cert.pem"
        }
        #expect(await verify(try forged.token(secret: own)) == nil)
    }

    @Test("A token with an unknown critical extension is refused, however it is written")
    func critical() async throws {
        for crit in [["exp"], [], "b64", NSNull(), 1] as [Any] {
            #expect(await verify(try forge { $0.header["crit"] = crit }.token()) == nil, "\(crit)")
        }
    }

    @Test("A token with a repeated name is refused, even if the name is written in another way")
    func duplicates() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let claims =
            #""iss":"therapybridge","aud":"therapybridge","sub":"\#(user)","sid":"\#(signIn)","iat":\#(now),"x":{"exp":1,"sub":2}"#
        let header = #"{"alg":"HS256"}"#
        let good = "{\(claims),\"exp\":\(now + 600)}"
        #expect(await verify(signed(header: header, claims: good)) != nil)
        for extra in [
            "\"exp\":1", "\"exp\":\(now + 9000)", #""\u0065xp":1"#, "\"sub\":\"\(UserID.random())\"", "\"x\":1",
        ] {
            #expect(await verify(signed(header: header, claims: "{\(extra),\(good.dropFirst())")) == nil, "\(extra)")
            #expect(await verify(signed(header: header, claims: "\(good.dropLast()),\(extra)}")) == nil, "\(extra)")
        }
        for header in [
            #"{"alg":"HS256","alg":"none"}"#, #"{"alg":"none","alg":"HS256"}"#, #"{"alg":"HS256","\u0061lg":"HS256"}"#,
            #"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        ] {
            #expect(await verify(signed(header: header, claims: good)) == nil, "\(header)")
        }
        // A colon or a quotation mark within a text does not make a name.
        let quoted = "\(good.dropLast()),\"a\\\":b\":\"c\\\\\",\"d\":\":{[\"}"
        #expect(await verify(signed(header: header, claims: quoted)) != nil)
    }

    @Test("A token that is not an object, or nested too deeply, is refused")
    func shapes() async throws {
        for text in ["[]", "null", "1", "\"x\"", "", "{", String(repeating: "[", count: 2000)] {
            #expect(await verify(signed(header: #"{"alg":"HS256"}"#, claims: text)) == nil)
            #expect(await verify(signed(header: text, claims: "{}")) == nil)
        }
    }

    @Test("A token in an encoding that is not canonical is refused")
    func encodings() async throws {
        let token = try forge().token()
        let parts = token.split(separator: ".").map(String.init)
        for changed in [
            token + "=", token + "\n", " " + token, token + " ", token + ".", "." + token, token + "." + parts[2],
            token.replacing(".", with: ". "), token.replacing(".", with: ".."), "\(parts[0])=.\(parts[1]).\(parts[2])",
            "\(parts[0]).\(parts[1])", "\(parts[0]).\(parts[1]).", "\(parts[0])..\(parts[2])",
            "\(parts[0]).\(parts[1]).!!!!", "\(parts[0]).\(parts[1]).\(parts[2].dropLast())", token + "A",
            "\(parts[0]).\(parts[1]).\(parts[2])\u{0}", token.replacing("e", with: "\u{ff45}"),
        ] {
            #expect(await verify(changed) == nil, "\(changed)")
        }
        for length in 0..<token.count { #expect(await verify(String(token.prefix(length))) == nil, "\(length)") }
    }
}

@Suite("Keys of access tokens")
struct KeyRotationTests {
    private static let old = "the key of last year, of 32 bytes."
    private let claims = AccessClaims(
        user: .random(), signIn: .random(),
        expiresAt: Timestamp(
            microsecondsSinceEpoch: (Timestamp.now().microsecondsSinceEpoch / 1_000_000 + 60) * 1_000_000))

    private func header(of token: String) throws -> [String: Any] {
        let part = String(token.prefix { $0 != "." }).replacing("-", with: "+").replacing("_", with: "/")
        let padded = part + String(repeating: "=", count: (4 - part.count % 4) % 4)
        let data = try #require(Data(base64Encoded: padded))
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test("A token names its key without revealing it")
    func name() async throws {
        let token = try await AccessTokens(secret: Forge.secret).issue(claims)
        let kid = try #require(try header(of: token)["kid"] as? String)
        #expect(kid.wholeMatch(of: /[0-9a-f]{16}/) != nil)
        #expect(try header(of: try await AccessTokens(secret: Forge.secret).issue(claims))["kid"] as? String == kid)
        #expect(try header(of: try await AccessTokens(secret: Self.old).issue(claims))["kid"] as? String != kid)
    }

    @Test("An earlier key verifies its tokens while it is listed")
    func rotation() async throws {
        let token = try await AccessTokens(secret: Self.old).issue(claims)
        #expect(await AccessTokens(secret: Forge.secret).verify(token) == nil)
        let rotated = await AccessTokens(secret: Forge.secret, previousSecrets: [Self.old])
        #expect(await rotated.verify(token) == claims)
        // New tokens use the new key.
        let next = try await rotated.issue(claims)
        #expect(await AccessTokens(secret: Forge.secret).verify(next) == claims)
        #expect(await AccessTokens(secret: Self.old).verify(next) == nil)
    }

    @Test("A token without a key name uses the present key")
    func unnamed() async throws {
        let forged = Forge(user: claims.user, signIn: claims.signIn)
        #expect(await AccessTokens(secret: Forge.secret).verify(try forged.token()) != nil)
        let rotated = await AccessTokens(secret: Self.old, previousSecrets: [Forge.secret])
        #expect(await rotated.verify(try forged.token()) == nil)
    }

    @Test("A key does not verify tokens under the name of another key")
    func crossed() async throws {
        let rotated = await AccessTokens(secret: Forge.secret, previousSecrets: [Self.old])
        let kid = try header(of: try await AccessTokens(secret: Self.old).issue(claims))["kid"]
        var forged = Forge(user: claims.user, signIn: claims.signIn)
        forged.header["kid"] = kid
        #expect(await rotated.verify(try forged.token()) == nil)
        #expect(await rotated.verify(try forged.token(secret: Self.old)) != nil)
    }
}
