public import Foundation
import NIOHTTP1
import TestSupport

/// The OpenAPI document of a server, which the tests compare with responses.
public struct APIDescription: Sendable {
    /// A JSON object.
    public typealias Object = [String: any Sendable]

    /// The document of the sources, which the binary carries; nil if it cannot be read.
    static let ofSources = try? APIDescription(
        Data(contentsOf: packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets/openapi.json")))

    /// The whole document.
    public let document: Object
    private let schemas: SchemaCheck
    private let templates: [Template]

    /// Gets the description of a running server.
    public init(_ server: TestServer) async throws {
        try await self.init(server.request(.GET, "/openapi.json").body)
    }

    /// Reads a description.
    ///
    /// - Throws: The error of the decoder.
    public init(_ json: Data) throws {
        document = try JSONSerialization.jsonObject(with: json) as? Object ?? [:]
        schemas = SchemaCheck(document: try JSONDecoder().decode(JSONValue.self, from: json))
        templates = (schemas.document["paths"]?.members ?? [:]).keys.map(Template.init)
    }

    /// The operations, as in `GET /api/sessions/{id}`.
    public var operations: [String: Object] {
        var operations: [String: Object] = [:]
        for (path, item) in object(document["paths"]) {
            for (method, operation) in object(item) {
                operations["\(method.uppercased()) \(path)"] = object(operation)
            }
        }
        return operations
    }

    /// A value as an object; empty for any other value.
    public func object(_ value: (any Sendable)?) -> Object { value as? Object ?? [:] }

    /// A value as a list of texts; empty for any other value.
    public func strings(_ value: (any Sendable)?) -> [String] { value as? [String] ?? [] }

    /// The target of a reference, or the value itself; nil if the target does not exist.
    public func resolved(_ value: (any Sendable)?) -> Object? {
        let object = object(value)
        guard let reference = object["$ref"] as? String else { return object }
        return reference.split(separator: "/").dropFirst()
            .reduce(document as Object?) { $0?[String($1)] as? Object }
    }

    /// Every value of a key, anywhere in the document.
    public func values(of key: String) -> [any Sendable] {
        func search(_ value: any Sendable) -> [any Sendable] {
            if let object = value as? Object {
                return object.flatMap { ($0.key == key ? [$0.value] : []) + search($0.value) }
            }
            return (value as? [any Sendable] ?? []).flatMap(search)
        }
        return search(document)
    }

    // MARK: - Answers

    /// The operation that a request reaches, as in `GET /api/sessions/{id}`; nil if none does.
    ///
    /// HEAD reaches the operation of GET, unless the path has an operation of its own.
    func operation(_ method: HTTPMethod, _ target: String) -> String? {
        let path = target.prefix { $0 != "?" }.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let found = templates.filter { $0.matches(path) }.min { $0.parameterCount < $1.parameterCount }
        guard let found, let item = schemas.document["paths"]?[found.path] else { return nil }
        let methods = method == .HEAD ? ["HEAD", "GET"] : [method.rawValue]
        return methods.first { item[$0.lowercased()] != nil }.map { "\($0) \(found.path)" }
    }

    /// The first difference between a response and the description of its operation; nil if there is none.
    ///
    /// - Parameters:
    ///   - response: The response; its body may be empty, as after HEAD.
    ///   - operation: The operation, as in `GET /api/sessions/{id}`.
    /// - Returns: What differs; nil if nothing does.
    public func fault(of response: TestResponse, to operation: String) -> String? {
        let words = operation.split(separator: " ").map(String.init)
        guard let declared = schemas.document["paths"]?[words[1]]?[words[0].lowercased()] else {
            return "not described"
        }
        guard let answer = declared["responses"]?["\(response.status)"] else {
            return "\(response.status) is not declared"
        }
        let described = schemas.resolved(answer)
        if let fault = fault(ofHeaders: response, by: described["headers"]) { return "\(response.status): \(fault)" }
        if response.body.isEmpty { return nil }
        let type = String((response.headers.first(name: "Content-Type") ?? "").prefix { $0 != ";" })
        let content = (described["content"]?.members ?? [:]).first {
            $0.key == type || $0.key.hasSuffix("/*") && type.hasPrefix($0.key.dropLast())
        }
        guard let content else { return "\(response.status) with \(type) is not declared" }
        guard type.hasSuffix("json"), let schema = content.value["schema"] else { return nil }
        guard let body = try? JSONDecoder().decode(JSONValue.self, from: response.body) else {
            return "the body is not JSON"
        }
        return schemas.fault(of: body, by: schema, at: "body")
    }

    /// The examples that do not fit their schemas, with the first difference of each.
    public func faultsOfExamples() -> [String] { examples(in: schemas.document, at: "#") }

    private func examples(in value: JSONValue, at place: String) -> [String] {
        if let elements = value.elements { return elements.flatMap { examples(in: $0, at: place + "[]") } }
        guard let members = value.members else { return [] }
        // An example of a body stands beside its schema, and one of a schema in it.
        let ofBody = members["schema"].map { schema in
            ([members["example"]].compactMap { $0 }
                + (members["examples"]?.members ?? [:]).values.compactMap { $0["value"] })
                .compactMap { schemas.fault(of: $0, by: schema, at: place) }
        }
        let ofSchema = members["examples"]?.elements?.compactMap { schemas.fault(of: $0, by: value, at: place) }
        let inside = members.filter { $0.key != "example" && $0.key != "examples" }
            .flatMap { examples(in: $0.value, at: "\(place)/\($0.key)") }
        return (ofBody ?? []) + (ofSchema ?? []) + inside
    }

    /// The headers that the description has to name if an answer carries them.
    private static let notable: Set<String> = [
        "accept-ranges", "allow", "content-disposition", "content-location", "content-range", "etag", "last-modified",
        "location", "retry-after", "set-cookie", "tus-checksum-algorithm", "tus-extension", "tus-max-size",
        "tus-version",
        "upload-expires", "upload-length", "upload-metadata", "upload-offset", "www-authenticate", "x-request-id",
    ]

    private func fault(ofHeaders response: TestResponse, by described: JSONValue?) -> String? {
        let described = described?.members ?? [:]
        for (name, header) in described
        where schemas.resolved(header)["required"] == .bool(true) && response.headers[name].isEmpty {
            return "\(name) is missing"
        }
        let names = Set(described.keys.map { $0.lowercased() })
        let undescribed = response.headers.map { $0.name.lowercased() }
            .first { Self.notable.contains($0) && !names.contains($0) }
        return undescribed.map { "the header \($0) is not described" }
    }

    /// A path with parameters, as in `/api/sessions/{id}`.
    private struct Template: Sendable {
        let path: String
        let segments: [String]
        let parameterCount: Int

        init(_ path: String) {
            self.path = path
            segments = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            parameterCount = segments.count { $0.hasPrefix("{") }
        }

        func matches(_ path: [String]) -> Bool {
            path.count == segments.count
                && zip(segments, path).allSatisfy { $0 == $1 || $0.hasPrefix("{") && !$1.isEmpty }
        }
    }
}

/// An answer that the description of the API does not have.
public struct UndescribedAnswer: Error, CustomStringConvertible {
    /// What differs.
    public let description: String
}

extension TestServer {
    /// Compares an answer with the description of the API.
    ///
    /// - Throws: ``UndescribedAnswer`` when they differ.
    func compare(_ answer: TestResponse, to method: HTTPMethod, _ path: String) throws {
        // The port of the metrics has routes of its own.
        guard isDescribed, let description = APIDescription.ofSources,
            let operation = description.operation(method, path),
            let fault = description.fault(of: answer, to: operation)
        else { return }
        throw UndescribedAnswer(description: "\(method) \(path): \(fault)")
    }
}
