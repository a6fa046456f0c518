import Domain
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import PropertySupport
import Testing

@testable import HTTPAPI

/// Any JSON of a pipeline, well-formed or not.
@Suite("Any body of a report")
struct ReportBodyPropertyTests {
    private static let good = #"""
        {"reports": [{"session_id": "550e8400-e29b-41d4-a716-446655440000", "status": "transcribing", "progress": 45, "message": "é\n", "attempt": 1, "estimated_time_remaining": 30}]}
        """#

    private static let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "1e400", "-0", "45", "1.5",
        "99999999999999999999", "\"status\"", "\"progress\"", "\"reports\":[", "\"transcribing\"", "\"message\":", " ",
    ]

    @Test("A body is a report, or a problem that says what is wrong")
    func single() async {
        await decodes(ReportBody.self)
    }

    @Test("A list's body has a report or a problem for each entry, or is one problem as a whole")
    func many() async {
        await decodes(ReportListBody.self)
    }

    private func decodes<Body: Decodable & SendableMetatype>(_ type: Body.Type) async {
        await holds(forCases: 200) { random in
            let input =
                random.happens(oneIn: 2)
                ? random.mutation(of: Array(Self.good.utf8), changes: 1...3)
                : Array("{".utf8) + random.jumble(of: Self.pieces, count: 0...20)
            let head = HTTPRequest(method: .post, scheme: "http", authority: "localhost", path: "/")
            let request = Request(head: head, body: RequestBody(buffer: ByteBuffer(bytes: input)))
            do {
                let body = try await JSON.decode(Body.self, from: request, maximumValues: 1000)
                if let body = body as? ReportBody { _ = try body.report(of: .random()) }
                return nil
            } catch let problem as Problem where [.malformed, .invalid, .tooLarge].contains(problem.kind) {
                return nil
            } catch {
                return "\(input): \(error)"
            }
        }
    }
}
