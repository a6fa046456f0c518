import Foundation
import NIOCore
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// A message of the server on a WebSocket.
enum WebSocketMessage: Equatable, Sendable {
    case text(String)
    case ping
    case pong([UInt8])
    case close(UInt16?, String)
    /// A frame that a server must not send.
    case illegal(String)
}

/// A WebSocket at the level of frames: a test sees each frame, and can send any.
struct WebSocketConnection {
    private var wire: WireConnection
    private(set) var status = 0
    private(set) var headers = HTTPHeaders()

    var channel: any Channel { wire.channel }

    /// The key of RFC 6455, 1.3, and the server's answer to it.
    static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    fileprivate init(_ wire: WireConnection) { self.wire = wire }

    // MARK: - Sending

    func send(_ text: String) async throws { try await wire.send(text) }

    func send(_ bytes: [UInt8]) async throws { try await wire.send(Data(bytes)) }

    /// Sends the handshake.
    func requestUpgrade(_ path: String, _ headers: [String: String]) async throws {
        let fields = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
        try await send(
            "GET \(path) HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \(Self.key)\r\n\(fields)\r\n")
    }

    /// Sends a masked frame.
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

    /// Makes the next close a reset of the connection: RST instead of FIN.
    func resetOnClose() async throws { try await wire.resetOnClose() }

    // MARK: - Receiving

    /// Reads the head of the response.
    mutating func readHead() async throws { (status, headers) = try await wire.readHead() }

    /// Reads the body of a response that refuses the handshake.
    mutating func readProblem() async throws -> TestResponse {
        TestResponse(status: status, headers: headers, body: try await wire.readBody(of: headers))
    }

    /// The next message; nil at the end of the connection.
    mutating func next(
        limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line
    ) async throws -> WebSocketMessage? {
        guard
            let frame = try await wire.read(limit: limit, fileID: fileID, line: line, upTo: { Self.end(of: $0) })
        else { return nil }
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
        default: .illegal("\(Array(frame.prefix(16)))")
        }
    }

    /// The next progress object.
    ///
    /// Pings get a pong. Any other message fails the test.
    ///
    /// - Throws: ``DidNotHappen`` when none comes in time, even if pings do.
    mutating func object(fileID: String = #fileID, line: Int = #line) async throws -> ProgressObject {
        try await within("an object on the WebSocket", fileID: fileID, line: line) {
            while let message = try await next() {
                guard message == .ping else {
                    guard case .text(let text) = message else { throw Unexpected(message: message) }
                    return try ProgressObject(text)
                }
                try await send(10)
            }
            throw Unexpected(message: nil)
        }
    }

    /// The objects up to a version.
    mutating func objects(
        upTo version: Int, fileID: String = #fileID, line: Int = #line
    ) async throws -> [ProgressObject] {
        var objects: [ProgressObject] = []
        while objects.last?.version != version { objects.append(try await object(fileID: fileID, line: line)) }
        return objects
    }

    /// All messages up to the end of the connection.
    ///
    /// Pings get a pong and are left out.
    ///
    /// - Parameter limit: The longest time for all of them.
    /// - Returns: The messages in order.
    /// - Throws: `DidNotHappen` after the limit; the error of the connection.
    mutating func rest(limit: Duration = TestDeadline.event) async throws -> [WebSocketMessage] {
        try await within("the end of the WebSocket", limit: limit) {
            var messages: [WebSocketMessage] = []
            while let message = try await next(limit: limit) {
                if message == .ping {
                    // The server may have ended the connection since.
                    try? await send(10)
                } else {
                    messages.append(message)
                }
            }
            return messages
        }
    }

    /// Checks all messages but pings, up to the end of the connection.
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

    /// The end of the first frame; nil while the frame is incomplete.
    private static func end(of bytes: Data) -> Int? {
        guard bytes.count >= 2 else { return nil }
        let width = bytes[1] == 126 ? 2 : bytes[1] == 127 ? 8 : 0
        guard bytes.count >= 2 + width else { return nil }
        let length = width == 0 ? Int(bytes[1] & 0x7F) : bytes[2..<2 + width].reduce(0) { $0 << 8 | Int($1) }
        return bytes.count >= 2 + width + length ? 2 + width + length : nil
    }
}

extension TestServer {
    /// Lends a connection before the handshake, and closes it after `body`.
    func withWebSocketConnection<Result: Sendable>(
        receiveBuffer: Int? = nil, _ body: (inout WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        try await withWire(receiveBuffer: receiveBuffer) { wire in
            var connection = WebSocketConnection(wire)
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
            try await connection.requestUpgrade(path, headers)
            try await connection.readHead()
            try #require(connection.status == 101)
            return try await body(&connection)
        }
    }

    /// The messages of a WebSocket that the server ends.
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
