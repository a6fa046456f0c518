import FoundationEssentials
import TextForms

/// A header's value with its parameters: `form-data; name="file"; filename="a.mp3"`.
///
/// Quoted strings follow RFC 9110, 5.6.4. In a `filename`, a backslash escapes only a quotation mark or a backslash:
/// clients of Windows send whole paths without escaping them. Browsers write a quotation mark in a file name as `%22`
/// (WHATWG HTML, multipart form data).
struct HeaderParameters {
    /// The value before the first semicolon, in lower case.
    let value: String
    private var parameters: [String: String] = [:]

    init(_ text: String) {
        // This works on Unicode scalars. In a String, a quotation mark and a combining mark after it are one character,
        // which would not end the text.
        var rest = text.unicodeScalars[...]
        value = Self.trimmed(rest.prefix { $0 != ";" }).lowercased()
        rest = rest.drop { $0 != ";" }.dropFirst()
        while !rest.isEmpty {
            let name = rest.prefix { $0 != "=" && $0 != ";" }
            let key = Self.trimmed(name).lowercased()
            rest = rest[name.endIndex...]
            var parameter = ""
            if rest.first == "=" {
                rest = rest.dropFirst()
                parameter = Self.readValue(&rest, mayBePath: key == "filename")
            }
            rest = rest.drop { $0 != ";" }.dropFirst()
            // The first of two wins. A second one could otherwise change what a check in front of this server saw.
            if parameters[key] == nil { parameters[key] = parameter }
        }
    }

    subscript(name: String) -> String? { parameters[name] }

    /// The value of an extended parameter (RFC 8187): `filename*=UTF-8''M%C3%BCller.mp3`.
    ///
    /// Nil if the parameter is missing, if its character set is not UTF-8, or if its bytes are not.
    func extended(_ name: String) -> String? {
        guard let parts = parameters["\(name)*"]?.split(separator: "'", maxSplits: 2, omittingEmptySubsequences: false),
            parts.count == 3, parts[0].lowercased() == "utf-8"
        else { return nil }
        return parts[2].percentDecoded
    }

    private static func readValue(_ rest: inout Substring.UnicodeScalarView, mayBePath: Bool) -> String {
        guard rest.first == "\"" else {
            let token = rest.prefix { $0 != ";" }
            rest = rest[token.endIndex...]
            return trimmed(token)
        }
        rest = rest.dropFirst()
        var result = String.UnicodeScalarView()
        while let scalar = rest.popFirst(), scalar != "\"" {
            let isEscape = scalar == "\\" && (!mayBePath || rest.first == "\"" || rest.first == "\\")
            result.append(isEscape ? rest.popFirst() ?? scalar : scalar)
        }
        return String(result)
    }

    private static func trimmed(_ scalars: Substring.UnicodeScalarView) -> String {
        String(scalars).trimmed
    }
}
