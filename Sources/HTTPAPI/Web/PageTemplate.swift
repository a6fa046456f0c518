/// The page as a template: each `{{name}}` stands for a value, and `{{! text }}` for nothing.
///
/// These are the variables and comments of Mustache. The page needs no more of it, and the library for Mustache brings all
/// of Foundation.
enum PageTemplate {
    /// A name that has no value, or is not closed.
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Puts the values in, escaped for text and attributes of HTML.
    ///
    /// - Throws: ``Failure`` if a name has no value. Values that no name uses are left out.
    static func render(_ template: String, _ values: [String: String]) throws(Failure) -> String {
        var page = ""
        var rest = template[...]
        while let opening = rest.firstRange(of: "{{") {
            page += rest[..<opening.lowerBound]
            rest = rest[opening.upperBound...]
            guard let closing = rest.firstRange(of: "}}") else {
                throw Failure(description: "a name is not closed: \(rest.prefix(20))")
            }
            let name = String(rest[..<closing.lowerBound])
            rest = rest[closing.upperBound...]
            if name.hasPrefix("!") { continue }
            guard let value = values[name] else { throw Failure(description: "a name has no value: \(name)") }
            page += escaped(value)
        }
        return page + rest
    }

    private static func escaped(_ value: String) -> String {
        value.unicodeScalars.reduce(into: "") { text, scalar in
            switch scalar {
            case "&": text += "&amp;"
            case "<": text += "&lt;"
            case ">": text += "&gt;"
            case "\"": text += "&quot;"
            case "'": text += "&#39;"
            default: text.unicodeScalars.append(scalar)
            }
        }
    }
}
