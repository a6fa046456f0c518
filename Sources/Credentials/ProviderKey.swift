import FoundationEssentials
import JWTKit

/// What is wrong with the file of an identity provider's keys, in words for the operator.
public struct ProviderKeysError: Error, CustomStringConvertible, Equatable {
    /// The fault, in one line.
    public let description: String
}

/// A public key of an identity provider, with its one algorithm.
struct ProviderKey: Sendable {
    let algorithm: String
    /// Holds only this key.
    let collection: JWTKeyCollection

    /// Reads a JWK Set (RFC 7517, 5).
    ///
    /// It ignores public keys for another purpose or of another kind: "Implementations SHOULD ignore JWKs within a JWK
    /// Set that use "kty" (key type) values that are not understood by them, that are missing required members, or for
    /// which values are out of the supported ranges."
    ///
    /// - Parameter jwks: The text of the set.
    /// - Returns: The keys for signatures, by their `kid`.
    /// - Throws: ``ProviderKeysError`` if the text is not a JWK Set, a key is not public, or there is no usable key.
    static func read(_ jwks: Data) async throws -> [String: ProviderKey] {
        guard let set = try? JSONDecoder().decode(KeySet.self, from: jwks) else {
            throw ProviderKeysError(description: "is not a JWK Set, such as {\"keys\": [{\"kty\": \"EC\", …}]}")
        }
        var keys: [String: ProviderKey] = [:]
        for entry in set.keys {
            guard entry.isPublic else {
                throw ProviderKeysError(
                    description: "holds a private or symmetric key; it can have only the provider's public keys")
            }
            guard entry.isForSignatures, let id = entry.kid, !id.isEmpty else { continue }
            let key: ProviderKey?
            do {
                key = try await entry.key()
            } catch {
                throw ProviderKeysError(
                    description: "holds an unreadable key; fetch the file from the provider again")
            }
            guard let key else { continue }
            guard keys.updateValue(key, forKey: id) == nil else {
                throw ProviderKeysError(
                    description: "holds two keys with the same kid; fetch the file from the provider again")
            }
        }
        guard !keys.isEmpty else {
            throw ProviderKeysError(
                description: "holds no usable key; it needs one for ES256, RS256 or EdDSA, with a kid")
        }
        return keys
    }

    private struct KeySet: Decodable {
        var keys: [Entry]
    }

    private struct Entry: Decodable {
        var kty: String
        var kid: String?
        var alg: String?
        var use: String?
        var crv: String?
        var n: String?
        var e: String?
        var x: String?
        var y: String?
        /// True if the key has none of the members that only private and symmetric keys have (RFC 7518, 6).
        var isPublic: Bool

        private enum CodingKeys: String, CodingKey { case kty, kid, alg, use, crv, n, e, x, y }

        private enum SecretKeys: String, CodingKey, CaseIterable { case d, p, q, dp, dq, qi, oth, k }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            kty = try container.decode(String.self, forKey: .kty)
            kid = try container.decodeIfPresent(String.self, forKey: .kid)
            alg = try container.decodeIfPresent(String.self, forKey: .alg)
            use = try container.decodeIfPresent(String.self, forKey: .use)
            crv = try container.decodeIfPresent(String.self, forKey: .crv)
            n = try container.decodeIfPresent(String.self, forKey: .n)
            e = try container.decodeIfPresent(String.self, forKey: .e)
            x = try container.decodeIfPresent(String.self, forKey: .x)
            y = try container.decodeIfPresent(String.self, forKey: .y)
            let secrets = try decoder.container(keyedBy: SecretKeys.self)
            isPublic = kty != "oct" && !SecretKeys.allCases.contains { secrets.contains($0) }
        }

        var isForSignatures: Bool { use == nil || use == "sig" }

        /// The key with the algorithm of its type; nil if this server does not know the type, or the key is for another
        /// algorithm.
        func key() async throws -> ProviderKey? {
            let collection = JWTKeyCollection()
            let algorithm: String
            switch (kty, crv) {
            case ("EC", "P-256"):
                algorithm = "ES256"
                guard alg == nil || alg == algorithm else { return nil }
                await collection.add(ecdsa: try ES256PublicKey(parameters: (x: x ?? "", y: y ?? "")))
            case ("RSA", nil):
                algorithm = "RS256"
                guard alg == nil || alg == algorithm else { return nil }
                await collection.add(
                    rsa: try Insecure.RSA.PublicKey(modulus: n ?? "", exponent: e ?? ""), digestAlgorithm: .sha256)
            case ("OKP", "Ed25519"):
                algorithm = "EdDSA"
                guard alg == nil || alg == algorithm else { return nil }
                await collection.add(eddsa: try EdDSA.PublicKey(x: x ?? "", curve: .ed25519))
            default: return nil
            }
            return ProviderKey(algorithm: algorithm, collection: collection)
        }
    }
}
