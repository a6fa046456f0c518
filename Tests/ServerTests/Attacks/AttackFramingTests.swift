import ServerTestSupport
import TestSupport
import Testing

/// Request smuggling: a proxy takes for one request what a server takes for two.
@Suite(.deadline) struct AttackFramingTests {
    /// The smuggled request.
    ///
    /// A server that reads it as a request answers 401.
    private static let smuggled = "GET /api/auth/me HTTP/1.1\r\nHost: test\r\n\r\n"

    private static func post(_ fields: String, _ body: String) -> String {
        "POST /api/auth/login HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\(fields)\r\n\r\n\(body)"
    }

    private static let chunked = "0\r\n\r\n\(smuggled)"

    private static let shapes: [(name: String, request: String)] = [
        ("CL and TE", post("Content-Length: 5\r\nTransfer-Encoding: chunked", chunked)),
        ("TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 5", chunked)),
        ("two CLs", post("Content-Length: 5\r\nContent-Length: 0", smuggled)),
        ("two CLs in one", post("Content-Length: 5, 0", smuggled)),
        ("the same CL twice", post("Content-Length: 0\r\nContent-Length: 0", smuggled)),
        ("negative CL", post("Content-Length: -1", smuggled)),
        ("CL with a sign", post("Content-Length: +0", smuggled)),
        ("CL in hexadecimal", post("Content-Length: 0x10", smuggled)),
        ("CL with a space inside", post("Content-Length: 1 0", smuggled)),
        ("CL too large", post("Content-Length: 99999999999999999999999", smuggled)),
        ("chunked after something", post("Transfer-Encoding: xchunked", chunked)),
        ("chunked before something", post("Transfer-Encoding: chunked, identity", chunked)),
        ("chunked in quotes", post("Transfer-Encoding: \"chunked\"", chunked)),
        ("chunked with a vertical tab", post("Transfer-Encoding: \u{0B}chunked", chunked)),
        ("space before the colon of TE", post("Transfer-Encoding : chunked", chunked)),
        ("space before the colon of CL", post("Content-Length : 5", smuggled)),
        ("TE behind a NUL", post("X: a\0\r\nTransfer-Encoding: chunked", chunked)),
        ("chunk size too large", post("Transfer-Encoding: chunked", "fffffffffffffffff\r\n\(smuggled)")),
        ("chunk size that is none", post("Transfer-Encoding: chunked", "zz\r\n\(smuggled)")),
        ("negative chunk size", post("Transfer-Encoding: chunked", "-1\r\n\(smuggled)")),
        ("chunk size in C", post("Transfer-Encoding: chunked", "0x5\r\nhello\r\n\(chunked)")),
        ("chunk longer than its size", post("Transfer-Encoding: chunked", "2\r\nhello\r\n\(chunked)")),
        ("a header without a name", post(": x", smuggled)),
        ("a header line without a colon", post("Transfer-Encoding", smuggled)),
    ]

    @Test(
        "A request with an ambiguous length gets one 400, and the server closes the connection",
        arguments: shapes.map(\.name))
    func refused(_ name: String) async throws {
        let request = try #require(Self.shapes.first { $0.name == name }?.request)
        try await withServer { server in
            let answer = try await server.answer(to: request)
            let statuses = answerStatuses(in: answer)
            #expect(statuses.count == 1, "\(answer)")
            #expect(statuses.first == 400, "\(answer)")
            #expect(answer.lowercased().contains("connection: close"))
        }
    }

    /// Spellings of a line's or a head's end that some parsers accept.
    ///
    /// This server's parser may accept or reject them.
    private static let lenient: [(name: String, request: String)] = [
        ("a folded line", post("X: a\r\n Transfer-Encoding: chunked", chunked)),
        ("a folded TE", post("Transfer-Encoding:\r\n chunked\r\nConnection: close", chunked)),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\nConnection: close", chunked)),
        ("two TEs", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nConnection: close", chunked)),
        ("TE in capitals", post("TRANSFER-ENCODING: CHUNKED\r\nConnection: close", chunked)),
        ("bare LF", post("X: a\nTransfer-Encoding: chunked\nConnection: close", chunked)),
        ("bare CR", post("X: a\rTransfer-Encoding: chunked\r\nConnection: close", smuggled)),
        ("bare LF in chunks", post("Transfer-Encoding: chunked\r\nConnection: close", "0\n\n\(smuggled)")),
        (
            "trailers",
            post("Transfer-Encoding: chunked\r\nConnection: close", "0\r\nContent-Length: 5\r\n\r\n\(smuggled)")
        ),
    ]

    @Test("No second answer follows a request with Connection: close", arguments: lenient.map(\.name))
    func last(_ name: String) async throws {
        let request = try #require(Self.lenient.first { $0.name == name }?.request)
        try await withServer(["HTTP_HEAD_TIMEOUT": "2", "HTTP_BODY_TIMEOUT": "2"]) { server in
            let answer = try await server.answer(to: request)
            #expect(answerStatuses(in: answer).count == 1, "\(answer)")
            #expect(!answer.contains(" 401 "), "\(answer)")
        }
    }
}
