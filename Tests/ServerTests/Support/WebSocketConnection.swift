import Domain
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ServerTestSupport
import TestSupport
import Testing

/// What a server says on a WebSocket.
enum WebSocketMessage: Equatable, Sendable {
    case text(String)
    case ping
    case pong([UInt8])
    case close(UInt16?, String)
    /// What no server may send.
    case illegal(String)
}

/// A WebSocket as the wire has it: each frame is seen, and any can be sent.
struct WebSocketConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    let channel: any Channel
    private var received: [UInt8] = []
    private(set) var status = 0
    private(set) var headers = HTTPHeaders()

    /// The key of RFC 6455, 1.3, and what it says is the answer to it.
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    fileprivate init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
        _ channel: any Channel
    ) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
        self.channel = channel
    }

    // MARK: - Sending

    func send(_ text: String) async throws { try await outbound.write(ByteBuffer(string: text)) }

    func send(_ bytes: [UInt8]) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }

    /// Asks for the WebSocket.
    func ask(for path: String, _ headers: [String: String]) async throws {
        let fields = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
        try await send(
            "GET \(path) HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(Self.key)\r\n\(fields)\r\n")
    }

    /// Sends a masked frame, whatever it is.
    func send(_ opcode: UInt8, _ payload: [UInt8] = [], isFinal: Bool = true) async throws {
        var bytes: [UInt8] = [(isFinal ? 0x80 : 0) | opcode]
        switch payload.count {
        case ...125: bytes.append(0x80 | UInt8(payload.count))
        case ...0xFFFF: bytes += [0xFE, UInt8(payload.count >> 8), UInt8(payload.count & 0xFF)]
        default: bytes += [0xFF] + (0..<8).map { UInt8(payload.count >> (56 - 8 * $0) & 0xFF) }
        }
        let mask: [UInt8] = [0x11, 0x22, 0x33, 0x44]
        try await send(bytes + mask + payload.enumerated().map { $1 ^ mask[$0 % 4] })
    }

    func ping(_ payload: [UInt8]) async throws { try await send(9, payload) }

    func close(_ code: UInt16) async throws { try await send(8, [UInt8(code >> 8), UInt8(code & 0xFF)]) }

    // MARK: - Receiving

    /// Reads the head of the answer.
    mutating func readHead() async throws {
        let end = try await read { bytes in
            guard bytes.count >= 4 else { return nil }
            return (0...bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == Array("\r\n\r\n".utf8) }.map { $0 + 4 }
        }
        let lines = String(decoding: try #require(end), as: UTF8.self).components(separatedBy: "\r\n")
        status = Int(lines[0].split(separator: " ").dropFirst().first ?? "") ?? 0
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers.add(
                name: String(line[..<colon]),
                value: line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
        }
    }

    /// Reads the head of another answer on the same connection, as it is.
    mutating func readSecondHead() async throws -> String {
        let end = try await read { bytes in
            String(decoding: bytes, as: UTF8.self).range(of: "\r\n\r\n").map {
                String(decoding: bytes, as: UTF8.self)[..<$0.upperBound].utf8.count
            }
        }
        return String(decoding: end ?? [], as: UTF8.self)
    }

    /// Passes over whatever comes; false at the end of the connection.
    mutating func skip() async throws -> Bool {
        received = []
        return try await within("bytes of the server, or the end of the connection") {
            try await inbound.next() != nil
        }
    }

    /// Reads the body of an answer that is no WebSocket.
    mutating func readProblem() async throws -> TestResponse {
        let length = Int(headers.first(name: "Content-Length") ?? "") ?? 0
        let body = length == 0 ? [] : try #require(try await read { $0.count >= length ? length : nil })
        return TestResponse(status: status, headers: headers, body: Data(body))
    }

    /// The next message; nil at the end of the connection.
    mutating func next(
        limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line
    ) async throws -> WebSocketMessage? {
        guard let frame = try await read({ Self.end(of: $0) }, limit: limit, fileID: fileID, line: line) else {
            return nil
        }
        let header = frame[1] == 126 ? 4 : frame[1] == 127 ? 10 : 2
        let payload = Array(frame.dropFirst(header))
        return switch frame[0] {
        case 0x81: .text(String(decoding: payload, as: UTF8.self))
        case 0x88:
            .close(
                payload.count < 2 ? nil : UInt16(payload[0]) << 8 | UInt16(payload[1]),
                String(decoding: payload.dropFirst(2), as: UTF8.self))
        case 0x89: .ping
        case 0x8A: .pong(payload)
        default: .illegal("\(frame.prefix(16))")
        }
    }

    /// The next progress object; pings are answered meanwhile, and anything else is a failed test.
    ///
    /// - Throws: ``DidNotHappen`` when none comes in time, however many pings do.
    mutating func object(fileID: String = #fileID, line: Int = #line) async throws -> WatchedProgress {
        try await within("an object on the WebSocket", fileID: fileID, line: line) {
            while let message = try await next() {
                guard message == .ping else {
                    guard case .text(let text) = message else { throw Unexpected(message: message) }
                    return try WatchedProgress(text)
                }
                try await send(10)
            }
            throw Unexpected(message: nil)
        }
    }

    /// The objects up to the one of a version.
    mutating func objects(
        upTo version: Int, fileID: String = #fileID, line: Int = #line
    ) async throws -> [WatchedProgress] {
        var objects: [WatchedProgress] = []
        while objects.last?.version != version { objects.append(try await object(fileID: fileID, line: line)) }
        return objects
    }

    /// All that comes, to the end of the connection; pings are left out.
    ///
    /// - Parameter limit: How long all of it may take.
    mutating func rest(limit: Duration = TestDeadline.event) async throws -> [WebSocketMessage] {
        try await within("the end of the WebSocket", limit: limit) {
            var messages: [WebSocketMessage] = []
            while let message = try await next(limit: limit) {
                if message != .ping { messages.append(message) }
            }
            return messages
        }
    }

    /// Checks what comes, pings left out, to the end of the connection.
    mutating func expectRest(
        _ expected: WebSocketMessage..., limit: Duration = TestDeadline.event,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let messages = try await rest(limit: limit)
        #expect(messages == expected, sourceLocation: sourceLocation)
    }

    /// Checks the version of the next object.
    mutating func expectVersion(_ version: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let object = try await object()
        #expect(object.version == version, sourceLocation: sourceLocation)
    }

    struct Unexpected: Error { let message: WebSocketMessage? }

    /// Where the first frame ends; nil while it is not whole.
    private static func end(of bytes: [UInt8]) -> Int? {
        guard bytes.count >= 2 else { return nil }
        let width = bytes[1] == 126 ? 2 : bytes[1] == 127 ? 8 : 0
        guard bytes.count >= 2 + width else { return nil }
        let length = width == 0 ? Int(bytes[1] & 0x7F) : bytes[2..<2 + width].reduce(0) { $0 << 8 | Int($1) }
        return bytes.count >= 2 + width + length ? 2 + width + length : nil
    }

    /// Reads until something is whole; nil when the connection ends before anything of it has come.
    private mutating func read(
        _ end: ([UInt8]) -> Int?, limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line
    ) async throws -> [UInt8]? {
        while true {
            if let end = end(received) {
                defer { received.removeFirst(end) }
                return Array(received[..<end])
            }
            let more = try await within("bytes on the WebSocket", limit: limit, fileID: fileID, line: line) {
                try await inbound.next()
            }
            guard let more else {
                try #require(received.isEmpty, "cut off in the middle")
                return nil
            }
            received += more.readableBytesView
        }
    }
}

/// A progress object as a watcher gets it.
struct WatchedProgress: Sendable {
    let text: String
    let version: Int
    let status: String
    let progress: Int
    let attempt: Int

    init(_ text: String) throws {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(
            Set(object.keys) == [
                "session_id", "status", "progress", "message", "error", "estimated_time_remaining", "version",
                "attempt",
                "created_at", "updated_at",
            ])
        self.text = text
        version = try #require(object["version"] as? Int)
        status = try #require(object["status"] as? String)
        progress = try #require(object["progress"] as? Int)
        attempt = try #require(object["attempt"] as? Int)
    }
}

/// Checks what holds for the objects of one WebSocket in every case (docs/streams.md, "Order and resumption").
func expectInOrder(_ objects: [WatchedProgress], sourceLocation: SourceLocation = #_sourceLocation) {
    for (one, next) in zip(objects, objects.dropFirst()) {
        #expect(next.version > one.version, "versions strictly increase", sourceLocation: sourceLocation)
        #expect(next.attempt >= one.attempt, sourceLocation: sourceLocation)
        #expect(
            next.attempt > one.attempt || next.progress >= one.progress, "progress falls",
            sourceLocation: sourceLocation)
    }
}

extension TestServer {
    /// Lends a connection that nothing was sent on, which is closed when `body` is done.
    func withWebSocketConnection<Result: Sendable>(
        receiveBuffer: Int? = nil, _ body: (inout WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        var bootstrap = ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        if let receiveBuffer {
            bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: .init(receiveBuffer))
        }
        let channel = try await bootstrap.connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = WebSocketConnection(inbound, outbound, channel.channel)
            return try await body(&connection)
        }
    }

    /// Lends a WebSocket.
    func withWebSocket<Result: Sendable>(
        _ path: String, token: String?, headers: [String: String] = [:], receiveBuffer: Int? = nil,
        _ body: (inout WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        try await withWebSocketConnection(receiveBuffer: receiveBuffer) { connection in
            var headers = headers
            if let token { headers["Authorization"] = "Bearer \(token)" }
            try await connection.ask(for: path, headers)
            try await connection.readHead()
            try #require(connection.status == 101)
            return try await body(&connection)
        }
    }

    /// All that a WebSocket says that ends by itself.
    func messages(_ path: String, token: String?, headers: [String: String] = [:]) async throws -> [WebSocketMessage] {
        try await withWebSocket(path, token: token, headers: headers) { try await $0.rest() }
    }
}

extension StreamScene {
    var webSocketPath: String { "/api/sessions/\(session)/status/ws" }

    /// Lends the patient's WebSocket of the session.
    func withWebSocket<Result: Sendable>(
        query: String = "", lastEventID: String? = nil, receiveBuffer: Int? = nil,
        _ body: (inout WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        try await server.withWebSocket(
            webSocketPath + query, token: token, headers: lastEventID.map { ["Last-Event-ID": $0] } ?? [:],
            receiveBuffer: receiveBuffer, body)
    }
}
