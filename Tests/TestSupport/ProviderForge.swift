import Crypto
public import Foundation

/// An identity provider of a test: keys, the file with the public keys, and tokens made by hand.
public struct ProviderForge: Sendable {
    /// The issuer of its tokens.
    public static let issuer = "https://id.clinic.example"
    /// The audience of its tokens.
    public static let audience = "therapybridge-clinic"

    private let elliptic = P256.Signing.PrivateKey()
    private let edwards = Curve25519.Signing.PrivateKey()

    /// Makes a provider with its own keys.
    public init() {}

    /// The public keys, in the form of a JWK Set: `ec` for ES256, `ed` for EdDSA.
    public var keys: [[String: String]] {
        let point = elliptic.publicKey.rawRepresentation
        return [
            [
                "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256",
                "x": Self.base64url(point.prefix(32)), "y": Self.base64url(point.suffix(32)),
            ],
            ["kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": Self.base64url(edwards.publicKey.rawRepresentation)],
        ]
    }

    /// The JWK Set of ``keys``.
    ///
    /// - Returns: The JSON.
    /// - Throws: An encoding error.
    public func jwks() throws -> Data { try JSONSerialization.data(withJSONObject: ["keys": keys]) }

    /// The public key of `ec` in PEM form.
    ///
    /// It is not secret.
    public var publicPEM: String { elliptic.publicKey.pemRepresentation }

    /// Makes the claims of a valid token.
    ///
    /// - Parameter email: The e-mail address of the account.
    /// - Returns: The claims.
    public func claims(email: String) -> [String: Any] {
        let now = Int(Date().timeIntervalSince1970)
        return [
            "iss": Self.issuer, "aud": [Self.audience, "account"], "sub": "subject of \(email)",
            "sid": "sid of \(email)",
            "iat": now, "exp": now + 600, "email": email, "email_verified": true,
        ]
    }

    /// Signs a token with the key that `kid` names, whatever the rest of the header says.
    public func token(
        _ claims: [String: Any], algorithm: String = "ES256", kid: Any? = "ec", signedBy key: String? = nil
    ) throws -> String {
        var header: [String: Any] = ["alg": algorithm, "typ": "JWT"]
        header["kid"] = kid
        let text =
            "\(Self.base64url(try JSONSerialization.data(withJSONObject: header)))."
            + Self.base64url(try JSONSerialization.data(withJSONObject: claims))
        let data = Data(text.utf8)
        let signature: Data =
            switch key ?? kid as? String {
            case "ed": try edwards.signature(for: data)
            case "ec", nil: try elliptic.signature(for: data).rawRepresentation
            case let secret?:
                Data(HMAC<SHA256>.authenticationCode(for: data, using: SymmetricKey(data: Data(secret.utf8))))
            }
        return "\(text).\(Self.base64url(signature))"
    }

    static func base64url(_ data: some DataProtocol) -> String {
        Data(data).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}
