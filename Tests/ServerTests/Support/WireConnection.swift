import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ServerTestSupport
import Synchronization
import TestSupport
import Testing

/// A connection on which a test reads and writes the bytes itself.
///
/// An HTTP client would hide what some tests are about: how a response is framed, and requests that are slow, malformed or
/// incomplete.
struct WireConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    /// The channel, for options of the socket.
    let channel: any Channel
    /// The bytes that the connection has received and the test has not read.
    private(set) var unread = Data()

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

    func send(_ bytes: Data) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }

    /// Sends a request without a body.
    func send(_ method: String, _ path: String, token: String, version: String = "1.1") async throws {
        try await send("\(method) \(path) HTTP/\(version)\r\nHost: test\r\nAuthorization: Bearer \(token)\r\n\r\n")
    }

    /// Sends bytes as a slow client does, until another request has its answer.
    ///
    /// The sleep paces the client. It is never silent for as long as an upload may be.
    ///
    /// - Returns: The answer, and how many bytes were sent.
    func trickle<Answer: Sendable>(
        _ bytes: Data, until answer: @escaping @Sendable () async throws -> Answer
    ) async throws -> (answer: Answer, count: Int) {
        let isAnswered = Atomic<Bool>.Reference()
        async let awaited = {
            defer { isAnswered.set() }
            return try await answer()
        }()
        var count = 0
        while !isAnswered.value {
            try await Task.sleep(for: .milliseconds(200))
            try await send(Data(bytes.dropFirst(count).prefix(10)))
            count += 10
        }
        return (try await awaited, count)
    }

    /// Makes the next close a reset of the connection: RST instead of FIN.
    func resetOnClose() async throws {
        let socket = try #require(channel as? any SocketOptionProvider)
        try await socket.setSoLinger(linger(l_onoff: 1, l_linger: 0)).get()
    }

    // MARK: - Receiving

    /// Reads the head of a response.
    mutating func readHead() async throws -> (status: Int, headers: HTTPHeaders) {
        let lines = try await read(upTo: "\r\n\r\n").components(separatedBy: "\r\n")
        var headers = HTTPHeaders()
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers.add(
                name: String(line[..<colon]),
                value: line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
        }
        return (Int(lines[0].split(separator: " ").dropFirst().first ?? "") ?? 0, headers)
    }

    /// Reads the body of a response whose head declares its length.
    mutating func readBody(of headers: HTTPHeaders) async throws -> Data {
        let length = Int(headers.first(name: "Content-Length") ?? "") ?? 0
        return try await read { $0.count >= length ? length : nil } ?? Data()
    }

    /// Reads a response whose head declares its length.
    mutating func readResponse() async throws -> TestResponse {
        let (status, headers) = try await readHead()
        return TestResponse(status: status, headers: headers, body: try await readBody(of: headers))
    }

    /// Reads everything up to the end of a text.
    ///
    /// - Throws: ``EndedTooEarly`` when the connection ends before that.
    mutating func read(upTo text: String) async throws -> String {
        let bytes = try await read { $0.firstRange(of: Data(text.utf8))?.upperBound }
        guard let bytes else { throw EndedTooEarly(received: Data()) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Reads up to the end of the connection.
    mutating func readToEnd() async throws -> Data {
        while let more = try await receive(limit: TestDeadline.event) {
            unread.append(contentsOf: more.readableBytesView)
        }
        defer { unread = Data() }
        return unread
    }

    /// Reads up to the end of the connection.
    mutating func readTextToEnd() async throws -> String { String(decoding: try await readToEnd(), as: UTF8.self) }

    /// Reads up to an end.
    ///
    /// - Parameters:
    ///   - limit: The longest wait for more bytes.
    ///   - fileID: The file of the caller, for the error.
    ///   - line: The line of the caller, for the error.
    ///   - end: The index of the end in the unread bytes; nil while it has not come.
    /// - Returns: Nil when the connection ends without another byte.
    /// - Throws: ``EndedTooEarly`` when the connection ends after a part; ``DidNotHappen``.
    mutating func read(
        limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line, upTo end: (Data) -> Int?
    ) async throws -> Data? {
        while true {
            if let end = end(unread) {
                defer { unread = Data(unread[end...]) }
                return Data(unread[..<end])
            }
            guard let more = try await receive(limit: limit, fileID: fileID, line: line) else {
                if unread.isEmpty { return nil }
                throw EndedTooEarly(received: unread)
            }
            unread.append(contentsOf: more.readableBytesView)
        }
    }

    private mutating func receive(
        limit: Duration, fileID: String = #fileID, line: Int = #line
    ) async throws -> ByteBuffer? {
        try await within("bytes of the server, or the end of the connection", limit: limit, fileID: fileID, line: line)
        {
            try await inbound.next()
        }
    }

    struct EndedTooEarly: Error { let received: Data }
}

extension TestServer {
    /// Lends a connection, and closes it after `body`.
    func withWire<Result: Sendable>(
        receiveBuffer: Int? = nil, _ body: (inout WireConnection) async throws -> Result
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
            var connection = WireConnection(inbound, outbound, channel.channel)
            return try await body(&connection)
        }
    }
}
