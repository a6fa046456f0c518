import Foundation

/// Schemas and descriptions as HTML.
enum SchemaText {
    static func anchor(_ schema: String) -> String { "schema-\(schema)" }

    /// Escapes text for HTML, and marks its `code`.
    static func html(_ text: String) -> String {
        // A browser reads code points. A `<` with a combining mark is one `Character`.
        let escaped = text.unicodeScalars.replacing("&".unicodeScalars, with: "&amp;".unicodeScalars)
            .replacing("<".unicodeScalars, with: "&lt;".unicodeScalars)
            .replacing(">".unicodeScalars, with: "&gt;".unicodeScalars)
            .replacing("\"".unicodeScalars, with: "&quot;".unicodeScalars)
        return String(escaped).replacing(/`([^`]*)`/) { "<code>\($0.output.1)</code>" }
    }

    /// The type of a value, in words.
    static func type(of schema: JSONTree?) -> String {
        guard let schema else { return "" }
        if let reference = schema["$ref"]?.text?.split(separator: "/").last {
            return "<a href=\"#\(anchor(html(String(reference))))\">\(html(String(reference)))</a>"
        }
        if let values = schema["enum"]?.elements.compactMap(\.text) {
            return "one of " + code(values)
        }
        // A list to which a later release may add.
        if let values = schema["x-extensible-enum"]?.elements.compactMap(\.text) {
            return "one of \(code(values)), or a later one"
        }
        if let constant = schema["const"]?.text { return "<code>\(html(constant))</code>" }
        if let parts = schema["allOf"]?.elements { return parts.map(type).joined(separator: " and ") }
        if let parts = (schema["anyOf"] ?? schema["oneOf"])?.elements {
            return parts.map(type).joined(separator: " or ")
        }
        let types = schema["type"].map { $0.elements.isEmpty ? [$0] : $0.elements }?.compactMap(\.text) ?? []
        let names = types.map { name in
            switch name {
            case "array": "list of " + type(of: schema["items"])
            case "string": html(schema["format"]?.text ?? "string")
            default: html(name)
            }
        }
        return names.joined(separator: " or ") + bounds(of: schema)
    }

    private static func code(_ values: [String]) -> String {
        values.map { "<code>\(html($0))</code>" }.joined(separator: ", ")
    }

    private static func bounds(of schema: JSONTree) -> String {
        let bounds = [
            ("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", ""),
        ]
        return bounds.compactMap { low, high, unit in
            switch (schema[low]?.text, schema[high]?.text) {
            case (let low?, let high?): ", \(low) to \(high)\(unit)"
            case (let low?, nil): ", at least \(low)\(unit)"
            case (nil, let high?): ", at most \(high)\(unit)"
            case (nil, nil): nil
            }
        }.joined()
    }
}
