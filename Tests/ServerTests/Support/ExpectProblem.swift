import NIOHTTP1
import ServerTestSupport
import Testing

/// Checks that a response is a problem as docs/http-api.md, "Errors", describes it.
///
/// Its type ends with `type`, and its detail contains `detail`; nil allows any.
func expectProblem(
    _ response: TestResponse, _ status: Int, _ type: String? = nil, detail: String? = nil, _ comment: Comment? = nil,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(response.status == status, comment, sourceLocation: sourceLocation)
    guard response.status == status else { return }
    let text = response.text
    guard let json = try? response.json() else {
        Issue.record("no JSON: \(text)", sourceLocation: sourceLocation)
        return
    }
    func member(_ name: String) -> String { json[name] as? String ?? "" }
    #expect(response.headers["Content-Type"] == ["application/problem+json"], comment, sourceLocation: sourceLocation)
    #expect(
        Set(json.keys) == Set(["type", "title", "status", "detail", "request_id"] + (status == 422 ? ["errors"] : [])),
        comment, sourceLocation: sourceLocation)
    #expect(member("type").hasPrefix("/problems/"), comment, sourceLocation: sourceLocation)
    #expect(!member("title").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(!member("detail").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(json["status"] as? Int == status, comment, sourceLocation: sourceLocation)
    #expect(!member("request_id").isEmpty, comment, sourceLocation: sourceLocation)
    #expect(response.headers["X-Request-Id"] == [member("request_id")], comment, sourceLocation: sourceLocation)
    if let type { #expect(member("type") == "/problems/\(type)", comment, sourceLocation: sourceLocation) }
    if let detail {
        #expect(member("detail").contains(detail), "\(member("detail"))", sourceLocation: sourceLocation)
    }
    switch status {
    case 401: #expect(response.headers["WWW-Authenticate"] == ["Bearer"], comment, sourceLocation: sourceLocation)
    case 429, 503: #expect(!response.headers["Retry-After"].isEmpty, comment, sourceLocation: sourceLocation)
    default: break
    }
    // No internal detail: no SQL, no name of a table or a type, no path of this machine.
    for inner in [
        "SELECT", "INSERT", "UPDATE", "SQLSTATE", "app.session", "app.users", "app.report", "Error", "error(",
        "Optional", ".swift", "/tmp", "/var",
    ] {
        #expect(!text.contains(inner), "\(text)", sourceLocation: sourceLocation)
    }
}
