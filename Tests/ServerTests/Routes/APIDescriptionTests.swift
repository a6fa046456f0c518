import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct APIDescriptionTests {
    @Test("The API description has every registered route, and no other")
    func completeness() async throws {
        try await withServer { server in
            let described = try await Set(APIDescription(server).operations.keys)
            let routes = server.documentedRoutes.subtracting(TestServer.pageRoutes)
            #expect(routes.subtracting(described) == [], "not described")
            #expect(described.subtracting(routes) == [], "no such route")
        }
    }

    @Test("The API description is well formed: references resolve, and the path's parameters are declared")
    func structure() async throws {
        try await withServer { server in
            let api = try await APIDescription(server)
            #expect((api.document["openapi"] as? String)?.hasPrefix("3.1.") == true)
            let info = api.object(api.document["info"])
            #expect(info["title"] is String)
            #expect(info["version"] is String)
            for reference in api.values(of: "$ref") {
                #expect(api.resolved(["$ref": reference] as APIDescription.Object) != nil, "\(reference)")
            }
            let components = api.object(api.document["components"])
            let schemes = Set(api.object(components["securitySchemes"]).keys)
            let tags = Set(
                (api.document["tags"] as? [APIDescription.Object] ?? []).compactMap { $0["name"] as? String })
            #expect(schemes == ["bearer", "cookie", "ticket"])
            let operations = api.operations
            let ids = operations.values.compactMap { $0["operationId"] as? String }
            #expect(ids.count == operations.count)
            #expect(Set(ids).count == ids.count)
            for (name, operation) in operations {
                #expect(Set(api.strings(operation["tags"])).isSubset(of: tags), "\(name)")
                #expect(!api.strings(operation["tags"]).isEmpty, "\(name)")
                #expect(operation["summary"] is String, "\(name)")
                let security = try #require(operation["security"] as? [APIDescription.Object], "\(name)")
                for requirement in security { #expect(schemes.isSuperset(of: requirement.keys), "\(name)") }

                let parameters = (operation["parameters"] as? [any Sendable] ?? []).compactMap { api.resolved($0) }
                let ofPath = parameters.filter { $0["in"] as? String == "path" }
                #expect(ofPath.allSatisfy { $0["required"] as? Bool == true }, "\(name)")
                let placeholders = name.matches(of: /\{(\w+)\}/).map { String($0.output.1) }
                #expect(ofPath.compactMap { $0["name"] as? String } == placeholders, "\(name)")
                for parameter in parameters { #expect(parameter["schema"] != nil, "\(name)") }

                let responses = api.object(operation["responses"])
                #expect(responses.keys.contains { $0.hasPrefix("2") || $0 == "101" }, "\(name)")
                #expect(security.isEmpty == (responses["403"] == nil) || name.hasPrefix("POST /api/auth"), "\(name)")
                for (status, response) in responses {
                    let response = try #require(api.resolved(response), "\(name) \(status)")
                    #expect(response["description"] is String, "\(name) \(status)")
                    let content = api.object(response["content"])
                    let isProblem = content["application/problem+json"] != nil
                    #expect(isProblem == (status >= "400"), "\(name) \(status)")
                    #expect(api.object(response["headers"])["X-Request-Id"] != nil, "\(name) \(status)")
                    // Generators read no other type.
                    let isReadable = content.keys.contains { type in
                        type.hasPrefix("text/") || type.hasSuffix("json") || type == "application/octet-stream"
                    }
                    #expect(content.isEmpty || isReadable, "\(name) \(status)")
                    if status == "422" {
                        let problem = api.object(content["application/problem+json"])["schema"]
                        #expect(
                            api.resolved(problem)?["required"].map(api.strings)?.contains("errors") == true, "\(name)")
                    }
                }
                // Every path knows other methods, and any request may be malformed or too slow.
                for status in ["400", "405", "408", "500"] { #expect(responses[status] != nil, "\(name) \(status)") }
                // A route without a body in its answer ignores `Accept`.
                let hasBody = responses.contains {
                    $0.key < "300" && !api.object(api.resolved($0.value)?["content"]).isEmpty
                }
                #expect((responses["406"] != nil) == hasBody, "\(name) 406")
            }
        }
    }

    @Test("Every object of the API description has a name, which generated clients take")
    func names() async throws {
        try await withServer { server in
            let api = try await APIDescription(server)
            for (name, operation) in api.operations {
                let body = api.object(api.resolved(operation["requestBody"])?["content"])
                let answers = api.object(operation["responses"]).values
                    .map { api.object(api.resolved($0)?["content"]) }
                for content in [body] + answers {
                    for (type, content) in content {
                        #expect(unnamed(api.object(content)["schema"], in: api) == nil, "\(name) \(type)")
                    }
                }
            }
            let schemas = api.object(api.object(api.document["components"])["schemas"])
            #expect(schemas.count > 50)
            for (name, schema) in schemas {
                for part in api.object(schema).filter({ $0.key != "allOf" }).values {
                    #expect(unnamed(part, in: api) == nil, "\(name)")
                }
            }
        }
    }

    /// An object or a list of values without a name, anywhere in a part of the description; nil if there is none.
    private func unnamed(_ part: (any Sendable)?, in api: APIDescription) -> APIDescription.Object? {
        if let list = part as? [any Sendable] { return list.lazy.compactMap { unnamed($0, in: api) }.first }
        let object = api.object(part)
        if object["properties"] is APIDescription.Object || object["enum"] != nil { return object }
        return object.filter { !["example", "examples", "allOf"].contains($0.key) }.values.lazy
            .compactMap { unnamed($0, in: api) }.first
    }

    @Test("The API description names every status, and is open to later ones")
    func statuses() async throws {
        try await withServer { server in
            let api = try await APIDescription(server)
            let status = try #require(api.resolved(["$ref": "#/components/schemas/Status"] as APIDescription.Object))
            #expect(api.strings(status["x-extensible-enum"]) == SessionStatus.allCases.map(\.rawValue))
            #expect(status["enum"] == nil)
        }
    }

    @Test(
        "The file of an upload stands last and is not a required field, so that generated clients send it last"
    )
    func uploadForm() throws {
        let source = try String(
            contentsOf: packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets/openapi.json"), encoding: .utf8)
        let form = try #require(source.split(separator: "\"UploadForm\": {").last)
        let fields = form.prefix(while: { $0 != "]" })
        #expect(fields.contains("\"required\": [\"patient_id\""))
        let places = try ["patient_id", "session_date", "session_id", "language", "file"].map { name in
            try #require(form.range(of: "\"\(name)\": {")?.lowerBound, "\(name)")
        }
        #expect(places == places.sorted())
        #expect(form[places[4]...].prefix(200).contains("\"format\": \"binary\""))
    }

    @Test("A route whose success has no body ignores Accept, and the type of errors says nothing about the success")
    func accept() async throws {
        try await withServer { server in
            let clinic = try await Clinic(server)
            let api = try await APIDescription(server)
            var count = 0
            for (name, operation) in api.operations {
                let responses = api.object(operation["responses"])
                let words = name.split(separator: " ")
                let isOver = ["/api/auth/logout", "/api/sessions/{id}/status/ws", "/api/sessions/status/ws"]
                    .contains(String(words[1]))
                let path = String(words[1]).replacing("/api/users/{id}", with: "/api/users/\(clinic.id(.patient))")
                    .replacing("/sign-ins/{id}", with: "/sign-ins/\(SignInID.random())")
                    .replacing(/{\w+}/, with: "\(clinic.session)")
                let isBare = responses["406"] == nil
                for accept in isBare ? ["text/html", "application/problem+json"] : ["application/problem+json"] {
                    // A stream would never end.
                    let method = path.hasSuffix("/stream") ? .HEAD : HTTPMethod(rawValue: String(words[0]))
                    let isChange = method == .DELETE && path == "/api/sessions/\(clinic.session)"
                    let answer = try await server.request(
                        method, path, token: isOver ? nil : clinic.token(isChange ? .patient : .admin),
                        headers: ["Accept": accept, "Tus-Resumable": "1.0.0"])
                    #expect(answer.status != 406, "\(name) \(accept)")
                    count += 1
                }
            }
            #expect(count > 60)
        }
    }

    @Test("The examples of the API description fit their schemas")
    func examples() async throws {
        try await withServer { server in
            let response = try await server.request(.GET, "/openapi.json")
            let faults = try APIDescription(response.body).faultsOfExamples()
            #expect(faults == [], "\(faults)")
        }
    }

    @Test("/docs shows every operation, with nothing inline")
    func page() async throws {
        try await withServer { server in
            let response = try await server.request(.GET, "/docs")
            #expect(response.status == 200)
            #expect(response.headers["Content-Type"] == ["text/html; charset=utf-8"])
            let page = response.text
            for (name, operation) in try await APIDescription(server).operations {
                let path = try #require(name.split(separator: " ").last)
                #expect(page.contains("<code class=\"path\">\(path)</code>"), "\(name)")
                let summary = try #require(operation["summary"] as? String)
                #expect(page.contains(">\(summary)<"), "\(name)")
            }
            // The server's policy would block them.
            for inline in ["<script", "<style", "style=", "onclick", "javascript:"] { #expect(!page.contains(inline)) }
            // Each link within the page has its target.
            for link in page.matches(of: /href="#([^"]+)"/) where link.output.1 != "main" {
                #expect(page.contains("id=\"\(link.output.1)\""), "\(link.output.1)")
            }
            #expect(page.contains("id=\"schema-Progress\""))
            #expect(!page.contains("{{"))
            for asset in page.matches(of: /(?:href|src)="(\/[^"#]+)"/) {
                #expect(try await server.request(.GET, String(asset.output.1)).status == 200, "\(asset.output.1)")
            }
            #expect(try await server.request(.GET, "/").text.contains("href=\"/docs\""))
        }
    }
}
