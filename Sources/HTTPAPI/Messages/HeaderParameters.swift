import Foundation

/// A header's value with its parameters: `form-data; name="file"; filename="a.mp3"`.
///
/// Quoted strings follow RFC 9110, 5.6.4. Browsers write a quotation mark in a file name as `%22` (WHATWG HTML,
/// multipart form data). It stays as it is, since the name is only shown. An extended parameter (`filename*`, RFC 8187)
/// counts as a parameter of another name: RFC 7578, 4.2 does not use it.
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
            rest = rest[name.endIndex...]
            var parameter = ""
            if rest.first == "=" {
                rest = rest.dropFirst()
                parameter = Self.readValue(&rest)
            }
            rest = rest.drop { $0 != ";" }.dropFirst()
            let key = Self.trimmed(name).lowercased()
            // The first of two wins. A second one could otherwise change what a check in front of this server saw.
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
