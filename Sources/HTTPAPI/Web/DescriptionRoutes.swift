import Foundation
import Hummingbird
import Mustache

/// What this server takes and gives: `/openapi.json`, and `/docs`, a page made of the same file.
struct DescriptionRoutes: Sendable {
    private let description: Asset
    private let page: Asset

    /// - Throws: The error of the description or the template that does not parse: a fault of the build.
    init() throws {
        let json = EmbeddedFiles.all["openapi.json"] ?? Data()
        description = Asset(json, contentType: "application/json; charset=utf-8")
        let template = try MustacheTemplate(
            string: String(decoding: EmbeddedFiles.all["docs.mustache"] ?? Data(), as: UTF8.self))
        let context = DescriptionPage(try JSONTree(json))
        page = Asset(Data(template.render(context).utf8), contentType: "text/html; charset=utf-8")
    }

    func add(to table: inout RouteTable) {
        let (description, page) = (description, page)
        table.open(.get, "/openapi.json") { request, _ in description.response(to: request) }
        table.open(.get, "/docs", produces: "text/html") { request, _ in page.response(to: request) }
    }
}
