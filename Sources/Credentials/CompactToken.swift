import Foundation
import JWTKit

/// A token of the form `header.payload.signature` (RFC 7515, 7.1), read strictly before anything in it is believed.
///
/// What two readers could read differently is refused here, whoever has signed it: encodings that are not the canonical one,
/// names that come twice, extensions that we do not know.
struct CompactToken {
    /// The algorithm that the token says it is signed with.
    let algorithm: String
    /// The key that it says it is signed with; nil when it names none.
    let keyID: String?

    /// Reads a token; nil when it is malformed or longer than `limit` bytes.
    init?(_ text: String, limit: Int) {
        // Cookies and headers are limited anyway; this keeps a huge token away from the decoders.
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
                throw DecodingError.dataCorruptedError(forKey: .crit, in: container, debugDescription: "an extension")
            }
            alg = try container.decode(String.self, forKey: .alg)
            kid = container.contains(.kid) ? try container.decode(String.self, forKey: .kid) : nil
        }
    }

    /// Decodes base64url without padding, in its one canonical form (RFC 4648, 3.5); nil for anything else.
    ///
    /// The last character of a part may have bits that nothing is made of. A decoder that lets them be anything has several
    /// texts for one token.
    private static func decode(_ part: Substring) -> Data? {
        let base64 = part.replacing("-", with: "+").replacing("_", with: "/")
        let padding = String(repeating: "=", count: (4 - base64.utf8.count % 4) % 4)
        guard let data = Data(base64Encoded: base64 + padding), Base64URL.encode(data) == part else { return nil }
        return data
    }

    /// Whether JSON is an object in which no name comes twice.
    ///
    /// RFC 7519, 4: "The Claim Names within a JWT Claims Set MUST be unique; JWT parsers MUST either reject JWTs with
    /// duplicate Claim Names or use a JSON parser that returns only the lexically last duplicate member name"; RFC 7515, 4
    /// says the same of a header.
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
            // Outside of strings, a colon stands after each name and nowhere else.
            case UInt8(ascii: ":"): if depth == 1 { names += 1 }
            default: break
            }
        }
        return names == object.count
    }
}

/// base64url without padding (RFC 4648, section 5).
enum Base64URL {
    static func encode(_ data: Data) -> String {
        data.base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }
}

/// Claims that are read the same way, whoever has issued the token.
enum Claims {
    /// The end of the year 9999: what expires later could not be written as a `Timestamp`.
    private static let endOfTime = Date(timeIntervalSince1970: 253_402_300_800)

    /// Whether an `exp` claim is a time that a `Timestamp` can write, and still to come.
    ///
    /// With `acceptsExpired`, a time of the past will do.
    static func stands(_ exp: ExpirationClaim, acceptsExpired: Bool) -> Bool {
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
