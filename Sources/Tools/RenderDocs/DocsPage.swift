package import Foundation
import Mustache

/// The page `/docs`, made from the description of the API during the build.
package enum DocsPage {
    /// Renders the page as HTML.
    ///
    /// - Throws: The error of a description or a template that cannot be parsed.
    package static func html(of description: Data, template: String) throws -> String {
        try MustacheTemplate(string: template).render(DescriptionPage(try JSONTree(description)))
    }
}
