import Domain
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import PropertySupport
import Testing

@testable import HTTPAPI

/// What a pipeline sends as JSON, well-formed or not.
@Suite("Any body of a report")
struct ReportBodyPropertyTests {
    private static let good = #"""
        {"reports": [{"session_id": "550e8400-e29b-41d4-a716-446655440000", "status": "transcribing", "progress": 45, "message": "é\n", "attempt": 1, "estimated_time_remaining": 30}]}
        """#

    private static let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "1e400", "-0", "45", "1.5",
        "99999999999999999999", "\"status\"", "\"progress\"", "\"reports\":[", "\"transcribing\"", "\"message\":", " ",
    ]

    @Test("is a report, or a problem that says what is wrong with it")
    func single() async {
        await decodes(ReportBody.self)
    }

    @Test("of many is a list in which each place is a report or a problem, or a problem by itself")
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
