import Domain
import NIOCore
import NIOEmbedded
import NIOHTTP1
import PropertySupport
import Streaming
import Testing

@testable import HTTPAPI

/// The heads of requests for a stream that the server reads without the framework.
@Suite("Heads of openings")
struct OpeningHeadTests {
    private static let session = "550e8400-e29b-41d4-a716-446655440000"
    private static let requestLine = "GET /api/sessions/\(session)/status/stream HTTP/1.1"

    private func head(
        _ lines: [String] = ["Host: test", "Authorization: Bearer a.b-_.c"], request: String = Self.requestLine,
        after: String = ""
    ) -> OpeningHead? {
        OpeningHead(Array(([request] + lines).map { $0 + "\r\n" }.joined().utf8) + Array("\r\n\(after)".utf8))
    }

    @Test("The head has the session, the token and the last event")
    func parts() throws {
        let found = try #require(
            self.head(["Host: a.example:8000", "Authorization: bearer a.b.c", "Last-Event-ID: 7"]))
        #expect(found.session.description == Self.session)
        #expect(found.token == Array("a.b.c".utf8))
        #expect(found.version == 7)
        #expect(found.forwardedFor == [])
    }

    @Test("The heads of browsers, proxies and scripts are read")
    func clients() throws {
        let browser = [
            "Host: therapybridge.example", "Connection: keep-alive", "sec-ch-ua-platform: \"Linux\"",
            "Cache-Control: no-cache", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Accept: text/event-stream",
            "sec-ch-ua: \"Chromium\";v=\"140\"", "sec-ch-ua-mobile: ?0", "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Referer: https://therapybridge.example/",
            "Accept-Encoding: gzip, deflate, br", "Accept-Language: en-GB,en;q=0.9", "Last-Event-ID: 12",
        ]
        let found = try #require(head(browser + ["Cookie: theme=dark; tb_access=a.b.c; x=\"y\""]))
        #expect(found.token == Array("a.b.c".utf8))
        let proxied = try #require(
            head(browser + ["Cookie: tb_access=a.b.c", "X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Real-IP: 192.0.2.1"]))
        #expect(proxied.forwardedFor.map(Array.init) == [Array("192.0.2.1, 10.0.0.1".utf8)])
        #expect(head(["host:x", "accept:*/*", "AUTHORIZATION: BEARER a.b.c  ", "Connection: close"]) != nil)
    }

    @Test("The header wins over the cookie")
    func credentials() throws {
        let both = try #require(head(["Host: x", "Cookie: tb_access=c.c.c", "Authorization: Bearer a.b.c"]))
        #expect(both.token == Array("a.b.c".utf8))
    }

    @Test(
        "A request in another form is the framework's",
        arguments: [
            "POST /api/sessions/\(session)/status/stream HTTP/1.1",
            "HEAD /api/sessions/\(session)/status/stream HTTP/1.1",
            "get /api/sessions/\(session)/status/stream HTTP/1.1",
            "GET /api/sessions/\(session)/status/stream HTTP/1.0",
            "GET /api/sessions/\(session)/status/stream HTTP/2.0", "GET /api/sessions/\(session)/status/stream",
            "GET  /api/sessions/\(session)/status/stream HTTP/1.1",
            "GET /api/sessions/\(session)/status/stream  HTTP/1.1",
            "GET /api/sessions/\(session)/status/stream? HTTP/1.1",
            "GET /api/sessions/\(session)/status/stream?ticket=x HTTP/1.1",
            "GET /api/sessions/\(session)/status/stream/ HTTP/1.1",
            "GET //api/sessions/\(session)/status/stream HTTP/1.1",
            "GET /api/sessions/\(session)/status/ws HTTP/1.1", "GET /api/sessions/status/stream HTTP/1.1",
            "GET /api/sessions/\(session.dropLast())/status/stream HTTP/1.1",
            "GET /api/sessions/\(session)0/status/stream HTTP/1.1",
            "GET /api/sessions/\(session.dropLast())g/status/stream HTTP/1.1",
            "GET http://test/api/sessions/\(session)/status/stream HTTP/1.1", "",
        ])
    func requests(_ line: String) { #expect(head(request: line) == nil) }

    @Test(
        "A header that could mean something is the framework's",
        arguments: [
            "Host: other", "Authorization: Bearer d.e.f", "Origin: https://evil.example", "Expect: 100-continue",
            "Upgrade: websocket", "Connection: upgrade", "Connection: keep-alive, upgrade", "Content-Length: 0",
            "Content-Length: 5", "Transfer-Encoding: chunked", "Accept: application/json",
            "Accept: text/event-stream;q=0", "Last-Event-ID: x", "Last-Event-ID: ",
            "Last-Event-ID: 1234567890123456789",
            "Proxy-Connection: upgrade", "TE: trailers", "X-Unknown: 1", "If-None-Match: *",
            " folded: value", "name : value", ": value", "no colon", "X-Real-IP: \u{1}", "User-Agent: é",
            "User-Agent: a\rb", "User-Agent: a\nHost: b", "Cookie: tb_access=a.b.c; tb_access=d.e.f",
            "Cookie: tb_access=\"a.b.c\"", "Cookie: tb_access=",
        ])
    func headers(_ line: String) {
        #expect(head(["Host: test", "Authorization: Bearer a.b.c", line]) == nil)
    }

    @Test("A second line of a header that decides something is the framework's")
    func repeated() {
        let good = ["Host: test", "Authorization: Bearer a.b.c"]
        for line in ["Accept: */*", "Connection: close", "Last-Event-ID: 1", "Cookie: a=b"] {
            #expect(head(good + [line]) != nil)
            #expect(head(good + [line, line]) == nil, "\(line)")
        }
    }

    @Test(
        "A credential in another form is the framework's",
        arguments: [
            "Basic abc", "Bearer", "Bearer ", "Bearera.b.c", "Bearer  a.b.c", "Bearer a.b.c d", "Bearer a,b",
            "Bearer a.b.c==", "\tBearer\ta.b.c",
        ])
    func credentialForms(_ value: String) { #expect(head(["Host: x", "Authorization: \(value)"]) == nil) }

    @Test("A head without Host or credential, or that is not complete, is the framework's")
    func incomplete() {
        #expect(head(["Host: x"]) == nil)
        #expect(head(["Host: x", "Cookie: other=a.b.c"]) == nil)
        #expect(head(["Authorization: Bearer a.b.c"]) == nil)
        #expect(head(["Host: ", "Authorization: Bearer a.b.c"]) == nil)
        #expect(head(after: "x") == nil)
        #expect(head(after: "GET / HTTP/1.1\r\nHost: x\r\n\r\n") == nil)
        let whole = Array("\(Self.requestLine)\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\n\r\n".utf8)
        #expect(OpeningHead(whole) != nil)
        for length in 0..<whole.count { #expect(OpeningHead(Array(whole[..<length])) == nil, "\(length)") }
        #expect(OpeningHead(whole.filter { $0 != UInt8(ascii: "\r") }) == nil)
    }

    @Test("What is read means the same to the decoder of the framework")
    func agreement() throws {
        let original = Array(
            """
            \(Self.requestLine)\r\nHost: test:8000\r\nAuthorization: Bearer aa.bb.cc\r\nAccept: text/event-stream\r\n\
            Cookie: a=b; tb_access=dd.ee.ff\r\nLast-Event-ID: 17\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n
            """.utf8)
        #expect(OpeningHead(original) != nil)
        try holds(forCases: 2000) { random in
            let bytes = random.mutation(of: original)
            guard let found = OpeningHead(bytes) else { return nil }
            let channel = EmbeddedChannel(handler: ByteToMessageHandler(HTTPRequestDecoder()))
            defer { _ = try? channel.finish() }
            let text = String(decoding: bytes, as: UTF8.self)
            guard (try? channel.writeInbound(ByteBuffer(bytes: bytes))) != nil,
                case .head(let head) = try channel.readInbound(as: HTTPServerRequestPart.self),
                case .end(nil) = try channel.readInbound(as: HTTPServerRequestPart.self),
                try channel.readInbound(as: HTTPServerRequestPart.self) == nil
            else { return text }
            let token = String(decoding: found.token, as: UTF8.self)
            let isSame =
                head.method == .GET && head.version == .http1_1 && head.headers["Host"].count == 1
                && head.uri.lowercased() == "/api/sessions/\(found.session)/status/stream"
                && (head.headers["Authorization"].first?.lowercased().hasSuffix(token.lowercased())
                    ?? head.headers["Cookie"].joined().contains("tb_access=\(token)"))
                && head.headers["Last-Event-ID"].count <= 1
                && Resumption.version(head.headers["Last-Event-ID"].first) == found.version
                && head.headers["X-Forwarded-For"] == found.forwardedFor.map { String(decoding: $0, as: UTF8.self) }
            return isSame ? nil : text
        }
    }
}
