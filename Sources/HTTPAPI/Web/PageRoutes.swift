import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Mustache

/// The page at `/` and what it is made of, out of the binary.
struct PageRoutes: Sendable {
    private struct PageContext {
        let product_name = "TherapyBridge"
        let max_upload_bytes: Int
        let accepted_extensions: String
    }

    private let assets: [String: Asset]
    private let page: Asset

    /// - Throws: The template's error when the page does not parse: a fault of the build.
    init(settings: HTTPSettings) throws {
        var assets: [String: Asset] = [:]
        for (name, data) in EmbeddedFiles.all {
            switch name.split(separator: ".").last {
            case "js": assets[name] = Asset(data, contentType: "text/javascript; charset=utf-8")
            case "css": assets[name] = Asset(data, contentType: "text/css; charset=utf-8")
            case "svg": assets[name] = Asset(data, contentType: "image/svg+xml")
            default: break
            }
        }
        self.assets = assets
        let template = try MustacheTemplate(
            string: String(decoding: EmbeddedFiles.all["page.mustache"] ?? Data(), as: UTF8.self))
        let context = PageContext(
            max_upload_bytes: settings.maximumUploadBytes,
            accepted_extensions: AudioFormat.allCases.flatMap(\.extensions).map { ".\($0)" }.joined(separator: ","))
        page = Asset(Data(template.render(context).utf8), contentType: "text/html; charset=utf-8")
    }

    func add(to table: inout RouteTable) {
        let page = page
        table.open(.get, "/", produces: "text/html") { request, _ in page.response(to: request) }
        // A route for each: what there is not gets 404 for every method, as everywhere.
        for (name, asset) in assets {
            table.open(.get, "/assets/\(name)", produces: "*/*") { request, _ in asset.response(to: request) }
        }
        if let icon = assets["favicon.svg"] {
            table.open(.get, "/favicon.ico", produces: "*/*") { request, _ in icon.response(to: request) }
        }
    }
}
