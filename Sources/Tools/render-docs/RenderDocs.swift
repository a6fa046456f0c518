import Foundation
import Mustache

// Renders the page `/docs` from the description of the API: render-docs OPENAPI TEMPLATE OUTPUT

@main
struct RenderDocs {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst().map { URL(filePath: $0) }
        guard arguments.count == 3 else {
            FileHandle.standardError.write(Data("usage: render-docs OPENAPI TEMPLATE OUTPUT\n".utf8))
            exit(64)
        }
        let page = try page(
            of: Data(contentsOf: arguments[0]), template: String(contentsOf: arguments[1], encoding: .utf8))
        try Data(page.utf8).write(to: arguments[2], options: .atomic)
    }

    /// Renders the page as HTML.
    ///
    /// - Throws: The error of a description or a template that cannot be parsed.
    static func page(of description: Data, template: String) throws -> String {
        try MustacheTemplate(string: template).render(DescriptionPage(try JSONTree(description)))
    }
}
