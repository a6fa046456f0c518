import FoundationEssentials
import JSONScanning
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
    /// The claims.
    let payload: JSONObject
    /// The signature.
    let signature: [UInt8]
    /// The text that the signature signs.
    let signedText: ArraySlice<UInt8>

    /// Reads a token in ASCII; nil if it is malformed or longer than `limit` bytes.
    init?(_ text: [UInt8], limit: Int) {
        // Cookies and headers have limits of their own. This one keeps a huge token from the decoders.
        guard text.count <= limit else { return nil }
        let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 3, let header = JSONObject(Base64URL.decode(parts[0])),
            let payload = JSONObject(Base64URL.decode(parts[1])),
            let signature = Base64URL.decode(parts[2]), !signature.isEmpty,
            // RFC 7515, 4.1.11: "If any of the listed extension Header Parameters are not understood and supported by the
            // recipient, then the JWS is invalid". We know none.
            header["crit"] == nil, let algorithm = header["alg"].flatMap(header.text)
        else { return nil }
        self.algorithm = algorithm
        if let keyID = header["kid"] {
            guard let keyID = header.text(keyID) else { return nil }
            self.keyID = keyID
        } else {
            keyID = nil
        }
        self.payload = payload
        self.signature = signature
        signedText = text[..<parts[1].endIndex]
    }
}

/// A JSON object whose names are unique, with its values as positions in the text.
///
/// RFC 7519, 4: "The Claim Names within a JWT Claims Set MUST be unique; JWT parsers MUST either reject JWTs with duplicate
/// Claim Names or use a JSON parser that returns only the lexically last duplicate member name". RFC 7515, 4 says the same
/// about headers.
struct JSONObject {
    private let json: [UInt8]
    private let members: [(name: String, value: Range<Int>)]

    /// Reads an object; nil if the text is not one, or repeats a name.
    init?(_ json: [UInt8]?) {
        guard let json, let members = try? JSONSlices.members(of: json) else { return nil }
        self.json = json
        // The same name may be written with and without escapes.
        let named = members.map { (name: $0.name, value: $0.value) }
        // A set costs more than it saves for the few names of most tokens.
        let areUnique =
            named.count <= 16
            ? named.indices.allSatisfy { index in named[..<index].allSatisfy { $0.name != named[index].name } }
            : Set(named.map(\.name)).count == named.count
        guard areUnique else { return nil }
        self.members = named
    }

    /// The position of a value; nil if the object has no such name.
    subscript(name: String) -> Range<Int>? { members.first { $0.name == name }?.value }

    /// The text of a value; nil if the value is not a string.
    func text(_ value: Range<Int>) -> String? {
        if let plain = plainText(value) { return String(decoding: plain, as: UTF8.self) }
        guard json[value.lowerBound] == UInt8(ascii: "\"") else { return nil }
        return try? JSONDecoder().decode(String.self, from: Data(json[value]))
    }

    /// The bytes of a string; nil if the value is not a string, or has an escape.
    func plainText(_ value: Range<Int>) -> ArraySlice<UInt8>? {
        guard json[value.lowerBound] == UInt8(ascii: "\"") else { return nil }
        let bytes = json[value].dropFirst().dropLast()
        return bytes.contains(UInt8(ascii: "\\")) ? nil : bytes
    }

    /// The value of a whole number of at most twelve digits; nil for any other value.
    ///
    /// As seconds, it does not overflow in microseconds.
    func plainNumber(_ value: Range<Int>) -> Int64? {
        guard value.count <= 12 else { return nil }
        var number: Int64 = 0
        for byte in json[value] {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            number = number * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return number
    }

    /// The bytes of the strings of an array, or of the one string that may replace it; nil if the value is neither, or a
    /// string has an escape.
    func plainTexts(_ value: Range<Int>) -> [ArraySlice<UInt8>]? {
        if let text = plainText(value) { return [text] }
        guard let elements = try? JSONSlices.elements(of: Array(json[value])) else { return nil }
        let texts = elements.compactMap {
            plainText($0.lowerBound + value.lowerBound..<$0.upperBound + value.lowerBound)
        }
        return texts.count == elements.count ? texts : nil
    }
}

/// Reads claims in the same way for every issuer.
enum Claims {
    /// The end of the year 9999.
    ///
    /// A `Timestamp` cannot write a later expiry.
    private static let endOfTime: Int64 = 253_402_300_800

    /// True if an `exp` claim lies after 1970, and a `Timestamp` can write it.
    static func isWritable(_ exp: ExpirationClaim) -> Bool {
        let seconds = exp.value.timeIntervalSince1970
        return seconds > 0 && seconds < Double(endOfTime)
    }

    /// True if an `exp` claim of whole seconds lies after 1970, and a `Timestamp` can write it.
    static func isWritable(seconds: Int64) -> Bool { seconds > 0 && seconds < endOfTime }

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

/// When a token begins to be valid.
enum TokenTime {
    /// How far the clock of an issuer may be ahead of the clock of this server, in seconds.
    ///
    /// RFC 7519, 4.1.5: "Implementers MAY provide for some small leeway, usually no more than a few minutes, to account for
    /// clock skew." The expiry has no leeway: nobody shall use a token after its end.
    static let leeway: TimeInterval = 60

    /// Checks that a token is neither from the future nor before its beginning.
    ///
    /// - Parameters:
    ///   - notBefore: The claim `nbf`; nil if the token has none.
    ///   - issuedAt: The claim `iat` in seconds since the Unix epoch; nil if the token has none.
    /// - Throws: `JWTError` if the token is not valid yet.
    static func checkBegin(notBefore: NotBeforeClaim?, issuedAt: Double? = nil) throws {
        let latest = Date().timeIntervalSince1970 + leeway
        let begins = [notBefore?.value.timeIntervalSince1970, issuedAt].compactMap(\.self)
        guard begins.allSatisfy({ $0 <= latest }) else {
            throw JWTError.generic(identifier: "nbf", reason: "not valid yet")
        }
    }
}
