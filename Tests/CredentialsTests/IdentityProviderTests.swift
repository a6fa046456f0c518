import Credentials
import Crypto
import CryptoExtras
import Domain
import Foundation
import TestSupport
import Testing

@Suite("Tokens of an identity provider")
struct IdentityProviderTests {
    private let forge = ProviderForge()
    private let email = "ada@clinic.example"

    private func verify(_ token: String) async throws -> ProviderClaims? {
        try await IdentityProvider(
            jwks: try forge.jwks(), issuer: ProviderForge.issuer, audience: ProviderForge.audience
        ).verify(token)
    }

    private func claims(_ change: (inout [String: Any]) -> Void = { _ in }) -> [String: Any] {
        var claims = forge.claims(email: email)
        change(&claims)
        return claims
    }

    @Test("A token names its user by the verified address, and all tokens of a session have one sign-in")
    func good() async throws {
        let first = try #require(try await verify(try forge.token(claims())))
        #expect(first.email == EmailAddress(email))
        let other = try await verify(
            try forge.token(
                claims {
                    $0["iat"] = 1
                    $0["aud"] = ProviderForge.audience
                    $0["email_verified"] = "true"
                }, algorithm: "EdDSA", kid: "ed"))
        #expect(other?.signIn == first.signIn)
        #expect(first.signIn.description.wholeMatch(of: /.{14}8.{4}[89ab].*/) != nil)
        for (name, value) in [("sid", "another"), ("sub", "another")] {
            let claims = try await verify(try forge.token(claims { $0[name] = value }))
            #expect(claims != nil, "\(name)")
            #expect(claims?.signIn != first.signIn, "\(name)")
        }
        // Without a session, the time of issue identifies the sign-in.
        var signIns: Set<SignInID> = [first.signIn]
        for iat in [1, 2, 2] {
            let token = try forge.token(
                claims {
                    $0["sid"] = nil
                    $0["iat"] = iat
                })
            signIns.insert(try #require(try await verify(token)).signIn)
        }
        #expect(signIns.count == 3)
    }

    @Test("A token without a claim, or for another audience, is refused")
    func wrongClaims() async throws {
        let now = Int(Date().timeIntervalSince1970)
        let wrong: [(String, Any?)] = [
            ("iss", nil), ("iss", "therapybridge"), ("iss", ProviderForge.issuer + "/"), ("aud", nil),
            ("aud", [String]()),
            ("aud", "therapybridge"), ("aud", ["account"]), ("sub", nil), ("sub", ""), ("exp", nil), ("exp", now - 1),
            ("exp", now), ("exp", "soon"), ("exp", 1e300), ("nbf", now + 300), ("email", nil), ("email", "nobody"),
            ("email", [email]), ("email_verified", nil), ("email_verified", false), ("email_verified", "false"),
            ("email_verified", 1),
        ]
        for (name, value) in wrong {
            let token = try forge.token(claims { $0[name] = value })
            #expect(try await verify(token) == nil, "\(name): \(String(describing: value))")
        }
        let nameless = claims {
            $0["sid"] = nil
            $0["iat"] = nil
        }
        #expect(try await verify(try forge.token(nameless)) == nil)
    }

    @Test("A provider whose clock is up to a minute ahead is accepted; an expiry has no leeway")
    func leeway() async throws {
        let now = Int(Date().timeIntervalSince1970)
        for name in ["nbf", "iat"] {
            for (ahead, isGood) in [(1, true), (50, true), (90, false), (300, false)] {
                let token = try forge.token(claims { $0[name] = now + ahead })
                #expect((try await verify(token) != nil) == isGood, "\(name), \(ahead) s ahead")
            }
        }
        #expect(try await verify(try forge.token(claims { $0["exp"] = now - 1 })) == nil)
    }

    @Test("A token under another algorithm than its key's, or without the name of a key, is refused")
    func algorithms() async throws {
        let claims = claims()
        for (algorithm, kid, key) in [
            ("none", "ec", "ec"), ("HS256", "ec", "ec"), ("RS256", "ec", "ec"), ("EdDSA", "ec", "ec"),
            ("ES256", "ed", "ed"), ("ES256", "ec", "ed"), ("ES256", "ed", "ec"), ("ES256", "unknown", "ec"),
            ("ES384", "ec", "ec"), ("es256", "ec", "ec"),
            // A public key as the secret of HS256, in every form in which an attacker may have it.
            ("HS256", "ec", forge.publicPEM), ("ES256", "ec", forge.publicPEM),
            ("HS256", "ec", forge.keys[0]["x"] ?? ""),
        ] {
            let token = try forge.token(claims, algorithm: algorithm, kid: kid, signedBy: key)
            #expect(try await verify(token) == nil, "\(algorithm) \(kid)")
        }
        #expect(try await verify(try forge.token(claims, kid: nil)) == nil)
        #expect(try await verify(try forge.token(claims, kid: 1, signedBy: "ec")) == nil)
        #expect(try await verify(try ProviderForge().token(claims)) == nil)
    }

    @Test("The provider's tokens and ours are never mixed up, even if the keys have the same name")
    func families() async throws {
        let tokens = await AccessTokens(secret: Forge.secret, previousSecrets: [forge.publicPEM])
        let ours = claims {
            $0["iss"] = "therapybridge"
            $0["aud"] = "therapybridge"
            $0["sub"] = UserID.random().description
            $0["sid"] = SignInID.random().description
        }
        for kid in ["ec", nil] { #expect(await tokens.verify(try forge.token(ours, kid: kid)) == nil) }
        #expect(await tokens.verify(try forge.token(ours, algorithm: "HS256", signedBy: forge.publicPEM)) == nil)

        let issued = try await tokens.issue(
            AccessClaims(user: .random(), signIn: .random(), expiresAt: .now().advanced(by: .seconds(60))))
        #expect(try await verify(issued) == nil)
    }

    @Test("A token by an RSA key is verified as RS256")
    func rsa() async throws {
        let secret = try _RSA.Signing.PrivateKey(keySize: .bits2048)
        let primitives = try secret.publicKey.getKeyPrimitives()
        let key = [
            "kty": "RSA", "kid": "rsa", "n": Forge.base64url(primitives.modulus),
            "e": Forge.base64url(primitives.publicExponent), "use": "sig",
        ]
        let provider = try await IdentityProvider(
            jwks: try JSONSerialization.data(withJSONObject: ["keys": [key]]), issuer: ProviderForge.issuer,
            audience: ProviderForge.audience)
        for algorithm in ["RS256", "PS256", "RS512", "HS256"] {
            let parts = try forge.token(claims(), algorithm: algorithm, kid: "rsa", signedBy: "ec").split(
                separator: ".")
            let text = "\(parts[0]).\(parts[1])"
            let signature = try secret.signature(
                for: SHA256.hash(data: Data(text.utf8)), padding: .insecurePKCS1v1_5
            ).rawRepresentation
            let claims = await provider.verify("\(text).\(Forge.base64url(signature))")
            #expect((claims != nil) == (algorithm == "RS256"), "\(algorithm)")
        }
    }
}

@Suite("The file of an identity provider's keys")
struct ProviderKeysTests {
    private let forge = ProviderForge()

    private func read(_ keys: [[String: String]]) async throws {
        let jwks = try JSONSerialization.data(withJSONObject: ["keys": keys])
        _ = try await IdentityProvider(jwks: jwks, issuer: "i", audience: "a")
    }

    @Test("The file may hold keys for other purposes and of kinds that we do not use")
    func others() async throws {
        try await read(forge.keys)
        try await read(
            [
                ["kty": "RSA", "kid": "enc", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"],
                ["kty": "EC", "crv": "P-521", "kid": "large", "x": "AA", "y": "AA"], ["kty": "AKP", "kid": "new"],
            ] + forge.keys)
    }

    @Test("A file with a private or symmetric key is refused, whatever else it holds")
    func secrets() async throws {
        for member in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
            for keys in [
                [forge.keys[0], forge.keys[1].merging([member: "AA"]) { first, _ in first }],
                [
                    forge.keys[0], ["kty": "RSA", "use": "enc", "kid": "x", member: "AA"],
                ],
            ] {
                await #expect(throws: ProviderKeysError.self, "\(member)") { try await read(keys) }
            }
        }
        for key in [["kty": "oct", "kid": "x", "k": "AAAA"], ["kty": "oct", "kid": "x"]] {
            await #expect(throws: ProviderKeysError.self) { try await read(forge.keys + [key]) }
        }
    }

    @Test("A file without a usable key, with a broken one, or with two of one name is refused")
    func unusable() async throws {
        var broken = forge.keys[0]
        broken["y"] = broken["x"]
        var nameless = forge.keys[0]
        nameless["kid"] = nil
        var other = forge.keys[0]
        other["alg"] = "ES384"
        for keys in [[], [nameless], [other], [broken], [forge.keys[0], forge.keys[0]], [["kty": "EC", "kid": "x"]]] {
            await #expect(throws: ProviderKeysError.self, "\(keys)") { try await read(keys) }
        }
        for text in ["", "{}", "[]", "null", "-----BEGIN PUBLIC KEY-----", #"{"keys": {}}"#, #"{"keys": [1]}"#] {
            await #expect(throws: ProviderKeysError.self, "\(text)") {
                try await IdentityProvider(jwks: Data(text.utf8), issuer: "i", audience: "a")
            }
        }
    }
}
