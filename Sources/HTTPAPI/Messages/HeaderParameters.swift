import Foundation

/// A header's value with its parameters: `form-data; name="file"; filename="a.mp3"`.
///
/// Quoted strings are those of RFC 9110, 5.6.4. Browsers write a quotation mark in a file name as `%22` (WHATWG HTML,
/// multipart form data), which is left as it is: it is a name to be shown. An extended parameter (`filename*`, RFC 8187)
/// is another parameter: RFC 7578, 4.2 has no use for it.
struct HeaderParameters {
    /// The value before the first semicolon, lower-case.
    let value: String
    private var parameters: [String: String] = [:]

    init(_ text: String) {
        // By scalars: to a String a quotation mark with a combining mark behind it is one character, and no end.
        var rest = text.unicodeScalars[...]
        value = Self.trimmed(rest.prefix { $0 != ";" }).lowercased()
        rest = rest.drop { $0 != ";" }.dropFirst()
        while !rest.isEmpty {
            let name = rest.prefix { $0 != "=" && $0 != ";" }
            rest = rest[name.endIndex...]
            var parameter = ""
            if rest.first == "=" {
                rest = rest.dropFirst()
                parameter = Self.readValue(&rest)
            }
            rest = rest.drop { $0 != ";" }.dropFirst()
            let key = Self.trimmed(name).lowercased()
            // The first of two wins, so that a second cannot change what a check before us saw.
            if parameters[key] == nil { parameters[key] = parameter }
        }
    }

    subscript(name: String) -> String? { parameters[name] }

    private static func readValue(_ rest: inout Substring.UnicodeScalarView) -> String {
        guard rest.first == "\"" else {
            let token = rest.prefix { $0 != ";" }
            rest = rest[token.endIndex...]
            return trimmed(token)
        }
        rest = rest.dropFirst()
        var result = String.UnicodeScalarView()
        while let scalar = rest.popFirst(), scalar != "\"" {
            result.append(scalar == "\\" ? rest.popFirst() ?? "\\" : scalar)
        }
        return String(result)
    }

    private static func trimmed(_ scalars: Substring.UnicodeScalarView) -> String {
        String(scalars).trimmingCharacters(in: .whitespaces)
    }
}
