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
            #expect(server.documentedRoutes.subtracting(described) == [], "not described")
            #expect(described.subtracting(server.documentedRoutes) == [], "no such route")
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
                    let isProblem = api.object(response["content"])["application/problem+json"] != nil
                    #expect(isProblem == (status >= "400"), "\(name) \(status)")
                }
            }
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
