import Foundation
import JWTKit

/// What is wrong with a file of an identity provider's keys, in words for the operator.
public struct ProviderKeysError: Error, CustomStringConvertible, Equatable {
    /// The fault, in one line.
    public let description: String
}

/// A public key of an identity provider, and the one algorithm that it is used with.
struct ProviderKey: Sendable {
    let algorithm: String
    /// Holds this key alone.
    let collection: JWTKeyCollection

    /// Reads a JWK Set (RFC 7517, 5).
    ///
    /// Public keys that serve another purpose or are of another kind are left out: "Implementations SHOULD ignore JWKs within
    /// a JWK Set that use "kty" (key type) values that are not understood by them, that are missing required members, or for
    /// which values are out of the supported ranges."
    ///
    /// - Returns: The keys that tokens may be signed with, by their `kid`.
    /// - Throws: ``ProviderKeysError`` when the text is none, a key is not public, or there is none to use.
    static func read(_ jwks: Data) async throws -> [String: ProviderKey] {
        guard let set = try? JSONDecoder().decode(KeySet.self, from: jwks) else {
            throw ProviderKeysError(description: "holds no JWK Set, such as {\"keys\": [{\"kty\": \"EC\", …}]}")
        }
        var keys: [String: ProviderKey] = [:]
        for entry in set.keys {
            guard entry.isPublic else {
                throw ProviderKeysError(
                    description: "holds a private or symmetric key; it may have none but the provider's public keys")
            }
            guard entry.isForSignatures, let id = entry.kid, !id.isEmpty else { continue }
            let key: ProviderKey?
            do {
                key = try await entry.key()
            } catch {
                throw ProviderKeysError(
                    description: "holds a key that cannot be read; fetch it from the provider again")
            }
            guard let key else { continue }
            guard keys.updateValue(key, forKey: id) == nil else {
                throw ProviderKeysError(description: "holds two keys of one kid; fetch it from the provider again")
            }
        }
        guard !keys.isEmpty else {
            throw ProviderKeysError(
                description: "holds no key that can be used; it needs one for ES256, RS256 or EdDSA, with a kid")
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
        /// Whether it has none of the members of RFC 7518, 6 that only private and symmetric keys have.
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

        /// The key with the algorithm of its type; nil when that is none of ours, or the key is meant for another.
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
