import Foundation
import HTTPTypes
import SettingsReading
import TestSupport
import Testing

@testable import HTTPAPI

/// The routes that the limits of requests leave out, as docs/security.md and the API description name them.
struct LimitedRouteTests {
    /// The words in code of the item of "Limits on requests" with a beginning.
    private func code(ofItem beginning: String) throws -> Set<String> {
        let page = try String(contentsOf: packageRoot.appending(path: "docs/security.md"), encoding: .utf8)
        let section = try #require(page.split(separator: "### Limits on requests").last)
        let start = try #require(section.range(of: "- \(beginning)"))
        let item = section[start.lowerBound...].dropFirst(2)
        let end = item.range(of: "\n- ")?.lowerBound ?? item.range(of: "\n\n")?.lowerBound ?? item.endIndex
        return Set(item[..<end].matches(of: /`([^`]+)`/).map { String($0.1) })
    }

    private func route(_ method: String, _ path: String) -> String {
        "\(method) \(path)".replacing(/:(\w+)/) { "{\($0.1)}" }
    }

    @Test("By default a sign-in has 200 requests a second, and an address 2,000")
    func defaults() throws {
        let settings = try RequestSettings(SettingsReader(environment: [:]))
        #expect(settings.perSignIn == 200)
        #expect(settings.perAddress == 2000)
        let page = try String(contentsOf: packageRoot.appending(path: "docs/security.md"), encoding: .utf8)
        #expect(page.contains("`REQUESTS_PER_SIGN_IN` (200 a second) and `REQUESTS_PER_ADDRESS` (2000 a second)"))
    }

    @Test("The documentation names the routes that are charged for refusals alone")
    func free() throws {
        let free = Set(RequestLimiter.free.map { route($0.method.rawValue, "\($0.path)") })
        #expect(try code(ofItem: "A stream, a WebSocket or a progress report") == free)
    }

    @Test("The documentation names the routes that are never charged, and the API description gives them no 429")
    func exempt() throws {
        let exempt = Set(RequestLimiter.exempt.map { "\($0)" })
        #expect(try code(ofItem: "`/health`").subtracting(["METRICS_PORT"]) == exempt)
        let path = packageRoot.appending(path: "Sources/HTTPAPI/Web/Assets/openapi.json")
        let document = try JSONSerialization.jsonObject(with: Data(contentsOf: path)) as? [String: Any]
        let paths = try #require(document?["paths"] as? [String: [String: Any]])
        var undeclared: Set<String> = []
        for (path, operations) in paths {
            for case let operation as [String: Any] in operations.values {
                let responses = operation["responses"] as? [String: Any]
                if let responses, responses["429"] == nil { undeclared.insert(path) }
            }
        }
        #expect(undeclared == exempt)
    }
}
