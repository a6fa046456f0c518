import Foundation
import JWTKit

/// A token of the form `header.payload.signature` (RFC 7515, 7.1), read strictly before the server trusts anything in
/// it.
///
/// It refuses everything that two readers could read differently, even with a good signature: encodings that are not
/// canonical, repeated names, and unknown extensions.
struct CompactToken {
    /// The algorithm in the token's header.
    let algorithm: String
    /// The name of the key in the token's header; nil if there is none.
    let keyID: String?

    /// Reads a token; nil if it is malformed or longer than `limit` bytes.
    init?(_ text: String, limit: Int) {
        // Cookies and headers have limits of their own. This one keeps a huge token from the decoders.
        guard text.utf8.count <= limit else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let header = Self.decode(parts[0]), let payload = Self.decode(parts[1]),
            let signature = Self.decode(parts[2]), !signature.isEmpty,
            Self.hasUniqueNames(header), Self.hasUniqueNames(payload),
            let fields = try? JSONDecoder().decode(Header.self, from: header)
        else { return nil }
        algorithm = fields.alg
        keyID = fields.kid
    }

    private struct Header: Decodable {
        var alg: String
        var kid: String?

        private enum CodingKeys: String, CodingKey { case alg, kid, crit }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            // RFC 7515, 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by the
            // recipient, then the JWS is invalid". We know none.
            guard !container.contains(.crit) else {
                throw DecodingError.dataCorruptedError(
                    forKey: .crit, in: container, debugDescription: "an unknown extension")
            }
            alg = try container.decode(String.self, forKey: .alg)
            kid = container.contains(.kid) ? try container.decode(String.self, forKey: .kid) : nil
        }
    }

    /// Decodes Base64url without padding, in its only canonical form (RFC 4648, 3.5); nil for anything else.
    ///
    /// The last character of a part may have bits that encode nothing. A decoder that ignores them accepts several
    /// texts for one token.
    private static func decode(_ part: Substring) -> Data? {
        let base64 = part.replacing("-", with: "+").replacing("_", with: "/")
        let padding = String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: base64 + padding), Base64URL.encode(data) == part else { return nil }
        return data
    }

    /// True if the JSON is an object whose names are unique.
    ///
    /// RFC 7519, 4: "The Claim Names within a JWT Claims Set MUST be unique; JWT parsers MUST either reject JWTs with
    /// duplicate Claim Names or use a JSON parser that returns only the lexically last duplicate member name". RFC
    /// 7515, 4 says the same about headers.
    private static func hasUniqueNames(_ json: Data) -> Bool {
        guard let object = try? JSONSerialization.jsonObject(with: json) as? [String: Any] else { return false }
        var depth = 0
        var names = 0
        var isInString = false
        var isEscaped = false
        for byte in json {
            switch byte {
            case _ where isEscaped: isEscaped = false
            case UInt8(ascii: "\\"): isEscaped = isInString
            case UInt8(ascii: "\""): isInString.toggle()
            case _ where isInString: break
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            // Outside of strings, each name has a colon after it, and nothing else has one.
            case UInt8(ascii: ":"): if depth == 1 { names += 1 }
            default: break
            }
        }
        return names == object.count
    }
}

/// Base64url without padding (RFC 4648, 5).
enum Base64URL {
    static func encode(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}

/// Reads claims in the same way for every issuer.
enum Claims {
    /// The end of the year 9999.
    ///
    /// A `Timestamp` cannot write a later expiry.
    private static let endOfTime = Date(timeIntervalSince1970: 253_402_300_800)

    /// True if an `exp` claim lies in the future, and a `Timestamp` can write it.
    ///
    /// With `acceptsExpired`, it may also lie in the past.
    static func isValid(_ exp: ExpirationClaim, acceptsExpired: Bool) -> Bool {
        let earliest = acceptsExpired ? Date(timeIntervalSince1970: 0) : Date()
        return earliest < exp.value && exp.value < endOfTime
    }

    /// The `aud` claim, an array or one string.
    ///
    /// RFC 7519, 4.1.3: "In the general case, the "aud" value is an array of case-sensitive strings […]. In the special
    /// case when the JWT has one audience, the "aud" value MAY be a single case-sensitive string". JWTKit's own
    /// `AudienceClaim` stops the program at an empty array.
    struct Audience: Codable {
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
}
