import Foundation
import TestSupport
import Testing

@testable import RenderDocs

/// The routes of the API description in the binary.
///
/// Tests of the server compare the description with its router and its answers.
struct RoutePart {
    /// The place in the documentation with more about a route.
    private static let links = [
        "POST /api/auth/login": "#authentication",
        "POST /api/auth/logout": "#sign-out",
        "POST /api/auth/refresh": "security.md#refresh-tokens",
        "GET /api/auth/sign-ins": "#sign-ins",
        "GET /api/users/{id}/sign-ins": "#sign-ins",
        "POST /api/sessions/upload": "#uploads",
        "POST /api/uploads": "uploads.md",
        "PATCH /api/uploads/{id}": "uploads.md#send-bytes",
        "DELETE /api/uploads/{id}": "uploads.md#end-an-upload",
        "GET /api/sessions/{id}": "#the-session-object",
        "PATCH /api/sessions/{id}": "#the-session-object",
        "GET /api/sessions/{id}/status": "#the-progress-object",
        "GET /api/sessions/{id}/status/stream": "streams.md",
        "GET /api/sessions/status/stream": "streams.md#the-stream-of-all-sessions",
        "GET /api/sessions/{id}/status/ws": "websocket.md",
        "GET /api/sessions/status/ws": "websocket.md#all-sessions",
        "POST /api/sessions/{id}/status/ticket": "streams.md#tickets",
        "POST /api/sessions/status/ticket": "streams.md#tickets",
        "GET /api/sessions/{id}/recording": "#recordings",
        "GET /api/sessions/{id}/transcript": "#the-transcript-object",
        "PUT /api/sessions/{id}/transcript": "pipeline.md#transcripts",
        "PATCH /api/sessions/{id}/transcript": "#corrections",
        "PUT /api/sessions/{id}/notes": "#corrections",
        "GET /api/sessions/{id}/history": "#corrections",
        "POST /api/pipeline/claim": "pipeline.md#work-by-http",
        "POST /api/pipeline/leases/{session_id}": "pipeline.md#claims-and-leases",
        "DELETE /api/pipeline/leases/{session_id}": "pipeline.md#claims-and-leases",
        "POST /api/sessions/{id}/progress": "pipeline.md#reports-over-http",
        "POST /api/progress": "pipeline.md#reports-over-http",
        "GET /api/sessions": "#sessions",
        "GET /api/patients": "#people",
        "GET /api/patients/{id}/export": "#data-of-a-patient",
        "DELETE /api/patients/{id}/data": "#data-of-a-patient",
        "GET /api/therapists": "#people",
        "GET /api/therapists/{therapist_id}/patients": "#people",
        "PUT /api/therapists/{therapist_id}/patients/{patient_id}": "#accounts",
        "DELETE /api/therapists/{therapist_id}/patients/{patient_id}": "#accounts",
        "PATCH /api/users/{id}": "#accounts",
        "GET /api/audit": "#audit-log",
        "GET /metrics": "metrics.md",
        "POST /api/webhooks": "webhooks.md#add-an-endpoint",
        "PATCH /api/webhooks/{id}": "webhooks.md#add-an-endpoint",
        "GET /api/webhooks/{id}/deliveries": "webhooks.md#retries",
    ]

    private let document: JSONTree

    init() throws {
        let file = packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets/openapi.json")
        document = try JSONTree(try Data(contentsOf: file))
    }

    /// - Throws: The failed requirement if a link belongs to no route.
    func text() throws -> String {
        let rows = (document["paths"]?.members ?? []).flatMap { path in
            path.value.members.map { method in row(method.name.uppercased(), path.name, method.value) }
        }
        let names = (document["paths"]?.members ?? []).flatMap { path in
            path.value.members.map { "\($0.name.uppercased()) \(path.name)" }
        }
        try #require(Set(Self.links.keys).subtracting(names) == [])
        return table(["route", "who", "does", "success"], rows)
            + "\n\nA `?` after a member marks an optional one. A name such as `Session` is a schema of `GET /openapi.json`."
    }

    private func row(_ method: String, _ path: String, _ operation: JSONTree) -> [String] {
        let query = (operation["parameters"]?.elements ?? []).map(resolved)
            .filter { $0["in"]?.text == "query" }.compactMap { $0["name"]?.text }
        let parts = ["\(method) \(path)", query.isEmpty ? nil : "?" + query.map { "\($0)=" }.joined(separator: "&")]
        let body = contents(of: operation["requestBody"])
        return [
            (parts + body).compactMap { $0 }.map { "`\($0)`" }.joined(separator: " "), operation["x-who"]?.text ?? "",
            linked(operation["summary"]?.text ?? "", "\(method) \(path)"), success(of: operation),
        ]
    }

    private func linked(_ summary: String, _ route: String) -> String {
        Self.links[route].map { "[\(summary)](\($0))" } ?? summary
    }

    private func success(of operation: JSONTree) -> String {
        let answers = (operation["responses"]?.members ?? []).filter { $0.name < "400" }
        let bodies = answers.map { contents(of: resolved($0.value)) }.first { !$0.isEmpty } ?? []
        return answers.map(\.name).joined(separator: ", ") + " " + bodies.map { "`\($0)`" }.joined(separator: ", ")
    }

    /// Each content of a body: the members of JSON or a form, or the media type.
    private func contents(of body: JSONTree?) -> [String] {
        (body?["content"]?.members ?? []).map { content in
            guard let schema = content.value["schema"], let members = members(of: schema) else { return content.name }
            return members
        }
    }

    /// The members of an object, or the schema's name if they are many; nil without members.
    private func members(of schema: JSONTree) -> String? {
        let name = schema["$ref"]?.text?.split(separator: "/").last.map(String.init)
        let fields = fields(of: schema)
        if fields.isEmpty || fields.count > 6 { return name }
        return "{\(fields.joined(separator: ", "))}"
    }

    private func fields(of schema: JSONTree) -> [String] {
        let schema = resolved(schema)
        let required = (schema["required"]?.elements ?? []).compactMap(\.text)
        return (schema["allOf"]?.elements ?? []).flatMap(fields)
            + (schema["properties"]?.members ?? []).map { required.contains($0.name) ? $0.name : "\($0.name)?" }
    }

    private func resolved(_ value: JSONTree) -> JSONTree {
        guard let reference = value["$ref"]?.text else { return value }
        let target = reference.split(separator: "/").dropFirst().reduce(document as JSONTree?) { $0?[String($1)] }
        return target ?? value
    }
}
