import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Endless requests.
///
/// Each meets a limit, and the server keeps serving others.
@Suite(.deadline) struct AttackSizeTests {
    private static let head = "POST /api/auth/login HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    private static let piece = String(repeating: "x", count: 16_384)

    /// A name, the beginning of the request, the piece that the client repeats, and the allowed status codes.
    private static let table: [(name: String, begin: String, piece: String, statuses: [Int])] = [
        ("request line", "GET /", piece, [400]),
        ("query", "GET /health?", String(repeating: "a=b&", count: 4096), [400]),
        ("method", "", String(repeating: "X", count: 16_384), [400]),
        ("header's name", "GET /health HTTP/1.1\r\n", piece, [400]),
        ("header", "GET /health HTTP/1.1\r\nX: ", piece, [400]),
        ("cookie", "GET /api/auth/me HTTP/1.1\r\nCookie: ", String(repeating: "a=b; ", count: 4096), [400]),
        ("list of headers", "GET /health HTTP/1.1\r\n", String(repeating: "X: y\r\n", count: 1000), [400]),
        ("JSON body", head + "Content-Length: 9999999999\r\n\r\n\"", piece, [413]),
        ("chunked JSON body", head + "Transfer-Encoding: chunked\r\n\r\n", "4000\r\n\(piece)\r\n", [413]),
        (
            "trailers", head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            String(repeating: "X: y\r\n", count: 1000), [400, 422]
        ),
        // The server answers before the body and does not read it.
        (
            "body of a GET", "GET /health HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n",
            "4000\r\n\(piece)\r\n", [200]
        ),
        // The HTTP decoder stops after these requests. The server must not buffer what follows.
        ("what follows CONNECT", "CONNECT x:1 HTTP/1.1\r\nHost: test\r\n\r\n", piece, [400, 404, 405]),
        (
            "what follows an upgrade",
            "GET /health HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            piece, [200]
        ),
        (
            "what follows an upgrade for a proxy",
            "GET /health HTTP/1.1\r\nHost: test\r\nProxy-Connection: upgrade\r\nUpgrade: x\r\n\r\n", piece, [200]
        ),
        (
            "what follows an upgrade of HTTP/1.0",
            "GET /health HTTP/1.0\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", piece, [200]
        ),
        (
            "body of nothing", "POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 9999999999\r\n\r\n", piece,
            [404]
        ),
    ]

    @Test("An endless request meets a limit, and the server closes the connection", arguments: table.map(\.name))
    func endless(_ name: String) async throws {
        let row = try #require(Self.table.first { $0.name == name })
        try await withServer { server in
            let connection = try await server.attackConnection()
            await connection.send(row.begin)
            // The server reads and drops what comes until it closes: on a fast machine that can be very much.
            try await connection.sendUntilClosed(row.piece)
            let answer = try await connection.untilClosed()
            let statuses = answerStatuses(in: answer)
            #expect(statuses.count <= 1)
            // A client that keeps sending can lose the answer to a reset of the connection.
            if let status = statuses.first { #expect(row.statuses.contains(status), "\(status)") }
            #expect(try await server.request(.GET, "/health").status == 200)
        }
    }

    @Test("A request that stops in the middle is cut off, with 408 if it has no answer yet")
    func stopped() async throws {
        // A whole head, and the answer to it, need less time on a loaded machine too.
        try await withServer(["HTTP_HEAD_TIMEOUT": "10", "HTTP_BODY_TIMEOUT": "10"]) { server in
            let table: [(String, Int)] = [
                ("GET /health HTTP/1.1\r\nHost: te", 408), ("G", 408),
                (Self.head + "Content-Length: 100\r\n\r\n{\"email\":", 408),
                (Self.head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", 408),
                (Self.head + "Transfer-Encoding: chunked\r\n\r\n5;x=\(String(repeating: "y", count: 1000))", 408),
                ("GET /health HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhello", 200),
                ("POST /nothing HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhello", 404),
            ]
            try await withThrowingTaskGroup(of: Void.self) { clients in
                for (request, status) in table {
                    clients.addTask {
                        let answer = try await server.answer(to: request)
                        #expect(answerStatuses(in: answer) == [status], "\(request)")
                        if status == 408 {
                            #expect(answer.contains("\"type\":\"/problems/request-timeout\""))
                            #expect(answer.lowercased().contains("connection: close"))
                        }
                    }
                }
                try await clients.waitForAll()
            }
        }
    }

    @Test("Deeply nested JSON is rejected")
    func deep() async throws {
        try await withClinic { clinic in
            for text in [
                String(repeating: "[", count: 60_000), String(repeating: "{\"a\":", count: 10_000),
                "{\"email\":" + String(repeating: "[", count: 30_000) + String(repeating: "]", count: 30_000) + "}",
            ] {
                for (path, caller) in [("/api/auth/login", nil), ("/api/progress", Clinic.Caller.admin)] {
                    let status = try await clinic.post(path, text, as: caller).status
                    #expect([400, 422].contains(status), "\(path): \(status)")
                }
            }
        }
    }
}
