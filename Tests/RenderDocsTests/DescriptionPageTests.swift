import Foundation
import TestSupport
import Testing

@testable import RenderDocs

@Suite("Page of the API's description")
struct DescriptionPageTests {
    private let template = packageRoot.appending(path: "Sources/Tools/RenderDocs/docs.mustache")

    private func page(of description: String) throws -> String {
        try DocsPage.html(
            of: Data(description.utf8), template: String(contentsOf: template, encoding: .utf8))
    }

    @Test("The page has operations under their tags and members in order, and escapes text")
    func operations() throws {
        let page = try page(
            of: #"""
                {
                  "info": {"title": "A <title>", "description": "One `code`.\n\nTwo & more."},
                  "tags": [{"name": "Two words", "description": "About <it>"}],
                  "paths": {"/b": {"get": {
                    "tags": ["Two words"], "operationId": "readB", "summary": "Read \"b\"",
                    "security": [{"bearer": []}, {"cookie": []}],
                    "parameters": [{"$ref": "#/components/parameters/limit"}],
                    "responses": {"200": {"description": "Good", "content": {"application/json": {
                      "schema": {"$ref": "#/components/schemas/Thing"}, "example": {"z": 1.50, "a": "x"}}}},
                      "404": {"description": "None"}}},
                    "post": {"tags": ["Two words"], "security": [{}, {"bearer": []}]}}},
                  "components": {
                    "parameters": {"limit": {"name": "limit", "in": "query",
                      "schema": {"type": "integer", "minimum": 1, "maximum": 200}}},
                    "schemas": {"Thing": {"type": "object", "required": ["z"],
                      "properties": {"z": {"type": "number"}, "a": {"type": ["string", "null"], "maxLength": 5},
                        "b": {"oneOf": [{"type": "boolean"}, {"type": "null"}]},
                        "c": {"type": "string", "x-extensible-enum": ["d", "<e>"]}}}}}
                }
                """#)
        #expect(page.contains("<title>API – A &lt;title&gt;</title>"))
        #expect(page.contains("<p>One <code>code</code>.</p>"))
        #expect(page.contains("<p>Two &amp; more.</p>"))
        #expect(page.contains("<h2 id=\"group-two-words\">Two words</h2>"))
        #expect(page.contains("Read &quot;b&quot;"))
        #expect(page.contains("With bearer or cookie."))
        #expect(page.contains("For anyone, also with bearer."))
        #expect(page.contains("integer, 1 to 200"))
        #expect(page.contains("<a href=\"#schema-Thing\">Thing</a>"))
        #expect(page.contains("{&quot;z&quot;: 1.50, &quot;a&quot;: &quot;x&quot;}"))
        #expect(page.contains("string or null, at most 5 characters"))
        #expect(page.contains("boolean or null"))
        #expect(page.contains("one of <code>d</code>, <code>&lt;e&gt;</code>, or a later one"))
    }

    @Test("A malformed description is refused", arguments: ["", "[", "{\"info\": }"])
    func malformed(description: String) {
        #expect(throws: (any Error).self) { try page(of: description) }
    }
}
