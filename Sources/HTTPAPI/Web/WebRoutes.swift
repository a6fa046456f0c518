import Brotli
import Crypto
import Domain
import FoundationEssentials
import Gzip
import HTTPTypes
import Hummingbird
import TextForms

/// The page at `/`, its assets, and the client for browsers, which the binary carries.
struct PageRoutes: Sendable {
    private let assets: [String: Asset]
    /// The name of this release's folder of assets: a hash of all of them.
    ///
    /// A file in it never changes, so that browsers keep it without asking.
    private let folder: String
    private let pages: [PageLanguage: Asset]

    /// Renders the page in each language, and compresses it as the build compresses the assets.
    ///
    /// - Parameter settings: Gives the page the limits of uploads, and the address of the server.
    /// - Throws: The template's error if the page does not parse, or that of its words, which is a fault of the build.
    init(settings: HTTPSettings) throws {
        let assets = Self.readAssets()
        let folder = Self.hash(of: assets)
        self.assets = assets
        self.folder = folder
        let template = String(decoding: EmbeddedFiles.all["page.mustache"] ?? Data(), as: UTF8.self)
        let words = try JSONDecoder().decode(
            [String: [String: String]].self, from: EmbeddedFiles.all["page-words.json"] ?? Data())
        let views = assets.keys.filter { $0.hasPrefix("admin-") && $0.hasSuffix(".js") }
            .map { String($0.dropFirst(6).dropLast(3)) }
        let brotli = Brotli()
        let values = [
            "product_name": "TherapyBridge",
            // The folder of the assets.
            "assets": "/assets/\(folder)",
            // The origin under which browsers reach the server.
            "origin": settings.ownOrigin,
            // The names of the admin's views that the binary carries.
            "views": Self.adminViews.filter(views.contains).joined(separator: " "),
            "max_upload_bytes": String(settings.uploads.maximumBytes),
            "accepted_extensions": AudioFormat.acceptedExtensions.map { ".\($0)" }.joined(separator: ","),
        ]
        pages = try Dictionary(
            uniqueKeysWithValues: PageLanguage.allCases.map { language in
                var values = values
                values["language"] = language.rawValue
                for (name, word) in words[language.rawValue] ?? [:] { values["words.\(name)"] = word }
                let page = Data(try PageTemplate.render(template, values).utf8)
                let asset = Asset(
                    page, contentType: "text/html; charset=utf-8",
                    gzip: Gzip.compress([UInt8](page)).map { Data($0) }, brotli: brotli?.compress(page))
                return (language, asset)
            })
    }

    /// The admin's views in the order of the page.
    private static let adminViews = ["people", "assignments", "board", "audit"]

    private static func readAssets() -> [String: Asset] {
        var assets: [String: Asset] = [:]
        for (name, data) in EmbeddedFiles.all {
            let type: String
            switch name.split(separator: ".").last {
            case "ts": type = "text/plain; charset=utf-8"
            case "js": type = "text/javascript; charset=utf-8"
            case "css": type = "text/css; charset=utf-8"
            case "svg": type = "image/svg+xml"
            default: continue
            }
            assets[name] = Asset(
                data, contentType: type, gzip: EmbeddedFiles.all["\(name).gz"], brotli: EmbeddedFiles.all["\(name).br"])
        }
        return assets
    }

    private static func hash(of assets: [String: Asset]) -> String {
        let tags = assets.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.etag)" }
        let hash = SHA256.hash(data: Data(tags.joined(separator: "\n").utf8))
        return hash.prefix(6).hexadecimal
    }

    func add(to table: inout RouteTable) {
        let pages = pages
        table.unauthenticated(.get, "/", produces: "text/html") { request, _ in
            guard let page = pages[PageLanguage(of: request)] else { throw HTTPError(.notFound) }
            var response = page.response(to: request)
            response.headers[.vary] = "Accept-Encoding, Accept-Language, Cookie"
            return response
        }
        // Each asset has its own route. An unknown asset gets 404 for every method, like any other path. The client is for
        // other pages too, and its path stays the same from release to release.
        for (name, asset) in assets {
            let isClient = name.hasPrefix("client.")
            table.unauthenticated(.get, isClient ? "/\(name)" : "/assets/\(name)", produces: "*/*") { request, _ in
                asset.response(to: request)
            }
            if isClient { continue }
            table.unauthenticated(.get, "/assets/\(folder)/\(name)", produces: "*/*") { request, _ in
                asset.response(to: request, isImmutable: true)
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
        page = Asset(
            EmbeddedFiles.all["docs.html"] ?? Data(), contentType: "text/html; charset=utf-8",
            gzip: EmbeddedFiles.all["docs.html.gz"], brotli: EmbeddedFiles.all["docs.html.br"])
    }

    func add(to table: inout RouteTable) {
        let (description, page) = (description, page)
        table.unauthenticated(.get, "/openapi.json") { request, _ in description.response(to: request) }
        table.unauthenticated(.get, "/docs", produces: "text/html") { request, _ in page.response(to: request) }
    }
}
