import Domain
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import PropertySupport
import Testing

@testable import HTTPAPI

/// Any text in the head of a request.
@Suite("Any header")
struct HeaderPropertyTests {
    @Test("The parameters of a header have the values that were quoted in it")
    func parameters() {
        let words = ["a", "\"", "\\", ";", "=", " ", "é", "\u{301}", "😀", "q", "\t", "\0"]
        holds(forCases: 300) { random in
            let value = random.text(of: words, count: 0...8)
            var quoted = "\""
            for scalar in value.unicodeScalars {
                if scalar == "\"" || scalar == "\\" || random.happens(oneIn: 5) { quoted += "\\" }
                quoted.unicodeScalars.append(scalar)
            }
            let junk = random.text(of: words, count: 0...8).filter { $0 != ";" }
            let text = "form-data;\(random.happens(oneIn: 2) ? " " : "")name=\(quoted)\";\(junk)"
            let found = HeaderParameters(text)["name"]
            return found.map { Array($0.unicodeScalars) } == Array(value.unicodeScalars)
                ? nil : "\(text.debugDescription) gives \(found.debugDescription)"
        }
    }

    @Test("Any Range header asks for a part of the file, the whole file, or nothing")
    func ranges() {
        let words = [
            "bytes=", "bytes", "=", "-", ",", "0", "1", "99", "100", "9223372036854775807", " ", "٣", "W", "\t",
        ]
        holds(forCases: 500) { random in
            let header = random.text(of: words, count: 0...7)
            let size = Int64(random.pick([0, 1, 100, Int.max]))
            guard case .part(let part) = ByteRange(header, of: size) else { return nil }
            let isWithin = part.lowerBound >= 0 && part.lowerBound < part.upperBound && part.upperBound <= size
            return isWithin ? nil : "\(header.debugDescription) of \(size) is \(part)"
        }
    }

    @Test("A well-formed Range header names exactly its bytes")
    func wellFormedRange() {
        holds(forCases: 200) { random in
            let size = Int64.random(in: 1...1000, using: &random)
            let first = Int64.random(in: 0..<size, using: &random)
            let last = Int64.random(in: first...2000, using: &random)
            let suffix = Int64.random(in: 1...2000, using: &random)
            let isRight =
                ByteRange("bytes=\(first)-\(last)", of: size) == .part(first..<min(last + 1, size))
                && ByteRange("bytes=\(first)-", of: size) == .part(first..<size)
                && ByteRange("bytes=-\(suffix)", of: size) == .part(max(0, size - suffix)..<size)
            return isRight ? nil : "\(first), \(last), \(suffix) of \(size)"
        }
    }

    @Test("If-None-Match has a tag if and only if it lists the tag")
    func entityTags() {
        holds(forCases: 300) { random in
            let listed = (0..<Int.random(in: 0...4, using: &random)).map { _ in Int.random(in: 1...6, using: &random) }
            let header = listed.map { "\(random.happens(oneIn: 2) ? "W/" : "")\"\($0)\"" }
                .joined(separator: random.pick([",", ", ", " , ", ",,"]))
            let tag = Int.random(in: 1...6, using: &random)
            let isListed = EntityTags(header).contains("\"\(tag)\"")
            _ = EntityTags(random.text(of: ["\"", "W/", "*", ",", " ", "7"], count: 0...9)).contains("\"7\"")
            return isListed == listed.contains(tag) ? nil : "\(header): \(tag)"
        }
    }

    @Test("Any Accept header gets a decision")
    func accept() {
        let words = [
            "*/*", "text/event-stream", "application/json", ";q=", "0", "1", "0.5", ",", " ", ";", "=", "\"", "/",
            "nan", "-",
        ]
        holds(forCases: 300) { random in
            let header = random.text(of: words, count: 0...8)
            do {
                try RouteTable.checkAccept(of: request([.accept: header]), against: "application/json")
            } catch let problem as Problem where problem.kind == .notAcceptable {
                return header.contains("*/*") || header.contains("application/json") || !header.isEmpty
                    ? nil : "nothing"
            } catch { return "\(header): \(error)" }
            return nil
        }
    }

    @Test("A well-formed cookie survives any cookie after it")
    func cookies() {
        let words = ["tb_access", "=", ";", " ", "\"", ",", "tb_refresh=x", "é", "%00", "$Version=1", "\t", "a=b"]
        holds(forCases: 300) { random in
            let junk = random.text(of: words, count: 0...10).filter { !$0.isNewline && $0 != "\0" }
            let request = request([.cookie: "tb_access=good; \(junk)"])
            let found = request.cookies[SignInCookies.accessName]?.value
            _ = self.request([.cookie: junk]).cookies[SignInCookies.accessName]
            // If two cookies have one name, either may count, but never a mixture of both.
            return found == "good" || junk.contains("tb_access") ? nil : "\(junk.debugDescription): \(found as Any)"
        }
    }

    @Test("A request begins a WebSocket if and only if it has what RFC 6455 prescribes")
    func handshake() {
        holds(forCases: 300) { random in
            let key = Data(random.bytes(random.happens(oneIn: 3) ? 0...20 : 16...16))
            let text =
                random.happens(oneIn: 4)
                ? String(decoding: random.mutation(of: Array(key.base64EncodedString().utf8)), as: UTF8.self)
                : key.base64EncodedString()
            let version = random.pick(["13", "13", "13", "8", "", "013", "13, 8"])
            let upgrade = random.pick(["websocket", "WebSocket", "h2c, websocket", "websockets", "web socket", ""])
            let connection = random.pick(["Upgrade", "keep-alive, Upgrade", "close", "upgraded", ""])
            let request = request([
                .upgrade: upgrade, .connection: connection, .secWebSocketVersion: version, .secWebSocketKey: text,
            ])
            let isGood =
                version == "13" && ["websocket", "WebSocket", "h2c, websocket"].contains(upgrade)
                && ["Upgrade", "keep-alive, Upgrade"].contains(connection)
                && Data(base64Encoded: text).map { $0.count == 16 && $0.base64EncodedString() == text } == true
            let isTaken = (try? WebSocketHandshake(request)) != nil
            return isTaken == isGood ? nil : "\(request.headers): \(isTaken)"
        }
    }

    @Test("Any forwarded text gives an address or none, and a range has exactly the addresses with its first bits")
    func addresses() {
        let words = [
            "192.0.2.1", "::ffff:", "2001:db8::1", "[", "]", ":", ".", "4711", " ", "%lo", "0", "ffff", "é", "unknown",
        ]
        holds(forCases: 300) { random in
            let text = random.text(of: words, count: 0...5)
            if let address = IPAddress(forwarded: text.utf8), ![4, 16].contains(address.bytes.count) {
                return "\(text.debugDescription): \(address)"
            }
            let (first, second) = (random.bytes(4...4), random.bytes(4...4))
            let length = Int.random(in: 0...32, using: &random)
            // These addresses differ by one bit.
            let other = random.happens(oneIn: 2) ? second : first.dropLast() + [second[0]]
            func dotted(_ bytes: [UInt8]) -> String { bytes.map(String.init).joined(separator: ".") }
            func bits(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
            guard let ranges = AddressRanges("\(dotted(first))/\(length)"), let address = IPAddress(dotted(other))
            else { return "\(first), \(other)" }
            let isWithin = bits(first) >> UInt64(32 - length) == bits(other) >> UInt64(32 - length)
            return ranges.contains(address) == isWithin ? nil : "\(dotted(other)) in \(dotted(first))/\(length)"
        }
    }

    @Test("Any last event id, in the header or the URL, is a number or counts as none")
    func queries() {
        let words = ["ticket", "last_event_id", "=", "&", "%", "%41", "%00", "%ff", "+", "7", "é", "?", "#", "/"]
        holds(forCases: 300) { random in
            var head = HTTPRequest(method: .get, scheme: "http", authority: "localhost", path: "/")
            let query = random.text(of: words, count: 0...10).filter { $0.isASCII && !$0.isNewline && $0 != "\0" }
            head.path = "/?last_event_id=7&" + query
            let request = Request(head: head, body: RequestBody(buffer: ByteBuffer()))
            _ = request.uri.queryParameters["ticket"]
            return request.lastEventID == "7" || query.contains("last_event_id")
                ? nil : "\(query): \(request.lastEventID as Any)"
        }
    }

    private func request(_ headers: HTTPFields) -> Request {
        var head = HTTPRequest(method: .get, scheme: "http", authority: "localhost", path: "/")
        head.headerFields = headers
        return Request(head: head, body: RequestBody(buffer: ByteBuffer()))
    }
}
