import NIOHTTP1
import ServerTestSupport
import Testing

/// The page's code, as the server sends it to a browser.
struct PageCode: Sendable {
    /// A request in the code.
    struct Request: Hashable, Sendable {
        let method: String
        /// The path without a query, with `{}` for each value.
        let path: String
    }

    /// The text of each module by its name, such as `api.js`.
    let modules: [String: String]

    /// Reads the modules that the page loads, those that they import, and the views.
    init(_ server: TestServer) async throws {
        let page = try await server.request(.GET, "/").text
        var waiting = page.matches(of: /src="\/assets\/[0-9a-f]+\/([a-z-]+\.js)"/).map { String($0.1) }
        let views = try #require(page.firstMatch(of: /data-views="([a-z ]*)"/)).1
        waiting += views.split(separator: " ").map { "admin-\($0).js" }
        var modules: [String: String] = [:]
        while let name = waiting.popLast() {
            if modules[name] != nil { continue }
            let response = try await server.request(.GET, "/assets/\(name)")
            #expect(response.status == 200, "\(name)")
            modules[name] = response.text
            waiting += response.text.matches(of: /"\.\/([a-z-]+\.js)"/).map { String($0.1) }
        }
        self.modules = modules
    }

    /// Every request in the code.
    var requests: Set<Request> {
        var requests: Set<Request> = []
        for (name, text) in modules {
            let matches = text.matches(of: /(?:"([A-Z]+)", )?["`](\/api\/[^"`]*)/)
            for match in matches {
                let path = match.2.prefix { $0 != "?" }.replacing(/\$\{[^}]*\}/, with: "{}")
                requests.insert(Request(method: match.1.map(String.init) ?? "GET", path: String(path)))
            }
            #expect(matches.count == text.ranges(of: "/api/").count, "a request in \(name) is not understood")
        }
        return requests
    }

    /// The first match of an expression in a module.
    func match<Output>(
        _ expression: Regex<Output>, in module: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Output {
        let text = try #require(modules[module], sourceLocation: sourceLocation)
        return try #require(
            text.firstMatch(of: expression)?.output, "\(module) has changed", sourceLocation: sourceLocation)
    }

    /// The body of a method of a class in a module.
    func method(
        _ head: String, in module: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Substring {
        let text = try #require(modules[module], sourceLocation: sourceLocation)
        let start = try #require(text.firstRange(of: "\n    \(head) {\n"), sourceLocation: sourceLocation).upperBound
        let end = try #require(text[start...].firstRange(of: "\n    }\n"), sourceLocation: sourceLocation).lowerBound
        return text[start..<end]
    }
}
