import Crypto
import Domain
import Foundation
import HTTPTypes
import Hummingbird
import Mustache
import NIOCore

/// The page at `/`, its assets, and the client for browsers, which the binary carries.
struct PageRoutes: Sendable {
    private struct PageContext {
        let product_name = "TherapyBridge"
        let max_upload_bytes: Int
        let accepted_extensions: String
    }

    private let assets: [String: Asset]
    private let page: Asset

    /// Renders the page.
    ///
    /// - Parameter settings: Gives the page the limits of uploads.
    /// - Throws: The template's error if the page does not parse, which is a fault of the build.
    init(settings: HTTPSettings) throws {
        var assets: [String: Asset] = [:]
        for (name, data) in EmbeddedFiles.all {
            switch name.split(separator: ".").last {
            case "ts": assets[name] = Asset(data, contentType: "text/plain; charset=utf-8")
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
            max_upload_bytes: settings.uploads.maximumBytes,
            accepted_extensions: AudioFormat.acceptedExtensions.map { ".\($0)" }.joined(separator: ","))
        page = Asset(Data(template.render(context).utf8), contentType: "text/html; charset=utf-8")
    }

    func add(to table: inout RouteTable) {
        let page = page
        table.unauthenticated(.get, "/", produces: "text/html") { request, _ in page.response(to: request) }
        // Each asset has its own route. An unknown asset gets 404 for every method, like any other path. The client is for
        // other pages too, and its path stays the same from release to release.
        for (name, asset) in assets {
            let folder = name.hasPrefix("client.") ? "" : "/assets"
            table.unauthenticated(.get, "\(folder)/\(name)", produces: "*/*") { request, _ in
                asset.response(to: request)
            }
        }
        if let icon = assets["favicon.svg"] {
            table.unauthenticated(.get, "/favicon.ico", produces: "*/*") { request, _ in icon.response(to: request) }
        }
    }
}

/// The description of the HTTP interface: `/openapi.json`, and `/docs`, a page that the build makes from the same file.
struct DescriptionRoutes: Sendable {
    private let description: Asset
    private let page: Asset

    init() {
        description = Asset(EmbeddedFiles.all["openapi.json"] ?? Data(), contentType: "application/json; charset=utf-8")
        page = Asset(EmbeddedFiles.all["docs.html"] ?? Data(), contentType: "text/html; charset=utf-8")
    }

    func add(to table: inout RouteTable) {
        let (description, page) = (description, page)
        table.unauthenticated(.get, "/openapi.json") { request, _ in description.response(to: request) }
        table.unauthenticated(.get, "/docs", produces: "text/html") { request, _ in page.response(to: request) }
    }
}

/// A file in the binary, ready to send.
struct Asset: Sendable {
    let body: ByteBuffer
    let contentType: String
    let etag: String

    init(_ data: Data, contentType: String) {
        body = ByteBuffer(bytes: data)
        self.contentType = contentType
        etag = "\"" + SHA256.hash(data: data).prefix(12).map { String(format: "%02x", $0) }.joined() + "\""
    }

    func response(to request: Request) -> Response {
        let headers: HTTPFields = [.eTag: etag, .cacheControl: "no-cache", .contentType: contentType]
        if let known = request.headers[.ifNoneMatch], EntityTags(known).contains(etag) {
            return Response(status: .notModified, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: body))
    }
}
