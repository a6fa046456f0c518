import Foundation
import NIOHTTP1
import ServerTestSupport

/// The OpenAPI document of a server, which the tests compare with responses.
struct APIDescription: Sendable {
    typealias Object = [String: any Sendable]

    let document: Object

    init(_ server: TestServer) async throws {
        document = try await server.request(.GET, "/openapi.json").json()
    }

    /// The operations, as in `GET /api/sessions/{id}`.
    var operations: [String: Object] {
        var operations: [String: Object] = [:]
        for (path, item) in object(document["paths"]) {
            for (method, operation) in object(item) {
                operations["\(method.uppercased()) \(path)"] = object(operation)
            }
        }
        return operations
    }

    func object(_ value: (any Sendable)?) -> Object { value as? Object ?? [:] }

    func strings(_ value: (any Sendable)?) -> [String] { value as? [String] ?? [] }

    /// The target of a reference, or the value itself; nil if the target does not exist.
    func resolved(_ value: (any Sendable)?) -> Object? {
        let object = object(value)
        guard let reference = object["$ref"] as? String else { return object }
        return reference.split(separator: "/").dropFirst()
            .reduce(document as Object?) { $0?[String($1)] as? Object }
    }

    /// The first difference between a response and the description of its operation; nil if there is none.
    func fault(of response: TestResponse, to operation: String) -> String? {
        guard let declared = operations[operation] else { return "not described" }
        guard let described = object(declared["responses"])["\(response.status)"] else {
            return "\(response.status) is not declared"
        }
        if response.body.isEmpty { return nil }
        let contents = object(resolved(described)?["content"])
        let type = (response.headers.first(name: "Content-Type") ?? "").prefix { $0 != ";" }
        guard
            let content = contents.first(where: {
                $0.key == type || $0.key.hasSuffix("/*") && type.hasPrefix($0.key.dropLast())
            })
        else { return "\(response.status) with \(type) is not declared" }
        guard type.hasSuffix("json"), let body = try? response.json() else { return nil }
        return fault(of: body, by: object(content.value)["schema"], at: operation)
    }

    /// The first missing or undescribed member, also in nested objects and lists.
    private func fault(of value: any Sendable, by schema: (any Sendable)?, at place: String) -> String? {
        if let list = value as? [any Sendable] {
            let items = resolved(schema)?["items"]
            return list.lazy.compactMap { fault(of: $0, by: items, at: place + "[]") }.first
        }
        guard let members = value as? Object else { return nil }
        let (properties, required) = self.members(of: schema)
        // A schema without properties allows any object.
        if properties.isEmpty { return nil }
        if let name = required.first(where: { members[$0] == nil }) { return "\(place).\(name) is missing" }
        if let name = members.keys.first(where: { properties[$0] == nil }) {
            return "\(place).\(name) is not described"
        }
        return members.lazy.compactMap { fault(of: $0.value, by: properties[$0.key], at: "\(place).\($0.key)") }.first
    }

    private func members(of schema: (any Sendable)?) -> (properties: Object, required: [String]) {
        let schema = resolved(schema) ?? [:]
        var result = (properties: object(schema["properties"]), required: strings(schema["required"]))
        for part in schema["allOf"] as? [any Sendable] ?? [] {
            let more = members(of: part)
            result.properties.merge(more.properties) { first, _ in first }
            result.required += more.required
        }
        return result
    }

    /// Every value of a key, anywhere in the document.
    func values(of key: String) -> [any Sendable] {
        func search(_ value: any Sendable) -> [any Sendable] {
            if let object = value as? Object {
                return object.flatMap { ($0.key == key ? [$0.value] : []) + search($0.value) }
            }
            return (value as? [any Sendable] ?? []).flatMap(search)
        }
        return search(document)
    }
}
