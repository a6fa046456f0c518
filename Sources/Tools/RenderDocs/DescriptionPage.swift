import Foundation

/// The description of the API in the form that `docs.mustache` needs.
///
/// A member whose name ends in `_html` is HTML by ``SchemaText``. The template escapes all other members.
struct DescriptionPage {
    struct Group {
        let name: String
        let anchor: String
        let about_html: String
        let operations: [Operation]
    }

    struct Operation {
        let anchor: String
        let method: String
        let path: String
        let summary: String
        let about_html: String
        let credentials: String
        let parameters: [Field]
        let has_parameters: Bool
        let bodies: [Body]
        let answers: [Answer]
    }

    /// A parameter of an operation, or a member of an object.
    struct Field {
        let name: String
        let location: String
        let type_html: String
        let is_required: Bool
        let about_html: String
    }

    /// The type of a value, and its members if they are shown.
    struct Shape {
        let type_html: String
        let fields: [Field]
        let has_fields: Bool

        init(type_html: String, fields: [Field]) {
            self.type_html = type_html
            self.fields = fields
            has_fields = !fields.isEmpty
        }
    }

    /// The body of a request or an answer.
    struct Body {
        let media_type: String
        let shape: Shape
        let example: String?
    }

    struct Answer {
        let status: String
        let is_good: Bool
        let about_html: String
        let contents: [Body]
    }

    struct Schema {
        let name: String
        let anchor: String
        let about_html: String
        let shape: Shape
    }

    let title: String
    let paragraphs_html: [String]
    let groups: [Group]
    let schemas: [Schema]

    init(_ document: JSONTree) {
        let reader = DescriptionReader(document: document)
        title = document["info"]?["title"]?.text ?? ""
        let about = document["info"]?["description"]?.text ?? ""
        paragraphs_html = about.split(separator: "\n\n").map { SchemaText.html(String($0)) }
        groups = (document["tags"]?.elements ?? []).map(reader.group)
        schemas = (document["components"]?["schemas"]?.members ?? []).map(reader.schema)
    }
}

/// Reads the parts of the page from an OpenAPI document.
private struct DescriptionReader {
    let document: JSONTree

    func group(_ tag: JSONTree) -> DescriptionPage.Group {
        let name = tag["name"]?.text ?? ""
        let operations = (document["paths"]?.members ?? []).flatMap { path in
            path.value.members.filter { $0.value["tags"]?.elements.first?.text == name }
                .map { operation($0.value, $0.name.uppercased(), path.name) }
        }
        return DescriptionPage.Group(
            name: name, anchor: "group-" + name.lowercased().replacing(" ", with: "-"),
            about_html: about(tag), operations: operations)
    }

    func schema(_ member: JSONTree.Member) -> DescriptionPage.Schema {
        DescriptionPage.Schema(
            name: member.name, anchor: SchemaText.anchor(member.name), about_html: about(member.value),
            shape: shape(of: member.value, showingFields: true))
    }

    private func shape(of schema: JSONTree?, showingFields: Bool) -> DescriptionPage.Shape {
        DescriptionPage.Shape(
            type_html: SchemaText.type(of: schema), fields: showingFields ? fields(of: schema) : [])
    }

    private func operation(_ operation: JSONTree, _ method: String, _ path: String) -> DescriptionPage.Operation {
        let parameters = (operation["parameters"]?.elements ?? []).map { parameter(resolved($0)) }
        return DescriptionPage.Operation(
            anchor: operation["operationId"]?.text ?? "", method: method, path: path,
            summary: operation["summary"]?.text ?? "", about_html: about(operation),
            credentials: credentials(operation), parameters: parameters, has_parameters: !parameters.isEmpty,
            bodies: bodies(operation["requestBody"], showingFields: true),
            answers: (operation["responses"]?.members ?? []).map { answer($0.name, resolved($0.value)) })
    }

    private func parameter(_ parameter: JSONTree) -> DescriptionPage.Field {
        DescriptionPage.Field(
            name: parameter["name"]?.text ?? "", location: parameter["in"]?.text ?? "",
            type_html: SchemaText.type(of: parameter["schema"]), is_required: parameter["required"]?.text == "true",
            about_html: about(parameter))
    }

    private func answer(_ status: String, _ response: JSONTree) -> DescriptionPage.Answer {
        let isGood = status < "400"
        return DescriptionPage.Answer(
            status: status, is_good: isGood, about_html: about(response),
            contents: isGood ? bodies(response, showingFields: false) : [])
    }

    private func bodies(_ holder: JSONTree?, showingFields: Bool) -> [DescriptionPage.Body] {
        (holder?["content"]?.members ?? []).map { content in
            DescriptionPage.Body(
                media_type: content.name,
                shape: shape(of: content.value["schema"], showingFields: showingFields),
                example: content.value["example"].map { example in
                    if case .string(let text) = example { text } else { example.pretty() }
                })
        }
    }

    /// The members of an object, with those of the schemas in its `allOf`.
    private func fields(of schema: JSONTree?) -> [DescriptionPage.Field] {
        guard let schema = schema.map(resolved) else { return [] }
        let required = (schema["required"]?.elements ?? []).compactMap(\.text)
        let own = (schema["properties"]?.members ?? []).map { member in
            DescriptionPage.Field(
                name: member.name, location: "", type_html: SchemaText.type(of: member.value),
                is_required: required.contains(member.name), about_html: about(member.value))
        }
        return (schema["allOf"]?.elements ?? []).flatMap { fields(of: $0) } + own
    }

    private func credentials(_ operation: JSONTree) -> String {
        let requirements = operation["security"]?.elements ?? []
        let names = requirements.flatMap(\.members).map(\.name)
        if names.isEmpty { return "For anyone" }
        let list = names.formatted(.list(type: .or).locale(Locale(identifier: "en_GB")))
        // An empty requirement makes the others optional.
        return requirements.contains { $0.members.isEmpty } ? "For anyone, also with \(list)" : "With \(list)"
    }

    private func about(_ part: JSONTree) -> String { SchemaText.html(part["description"]?.text ?? "") }

    /// The target of a reference, or the value itself.
    private func resolved(_ value: JSONTree) -> JSONTree {
        guard let reference = value["$ref"]?.text else { return value }
        let target = reference.split(separator: "/").dropFirst().reduce(document as JSONTree?) { $0?[String($1)] }
        return target ?? value
    }
}
