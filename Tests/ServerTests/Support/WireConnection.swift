import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import ServerTestSupport
import TestSupport

/// A connection on which a test writes the bytes of HTTP itself: slowly, wrongly, or not to their end.
struct WireConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var received = Data()

    fileprivate init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
    }

    func send(_ text: String) async throws { try await outbound.write(ByteBuffer(string: text)) }

    func send(_ bytes: Data) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }

    /// Reads up to the blank line behind a head.
    mutating func readHead() async throws -> (status: Int, headers: HTTPHeaders) {
        let end = try await readUntil { $0.firstRange(of: Data("\r\n\r\n".utf8))?.upperBound }
        let lines = String(decoding: end, as: UTF8.self).components(separatedBy: "\r\n")
        var headers = HTTPHeaders()
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers.add(
                name: String(line[..<colon]),
                value: line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
        }
        return (Int(lines[0].split(separator: " ").dropFirst().first ?? "") ?? 0, headers)
    }

    /// Reads an answer whose length is declared.
    mutating func readResponse() async throws -> TestResponse {
        let (status, headers) = try await readHead()
        let length = Int(headers.first(name: "Content-Length") ?? "") ?? 0
        let body = try await readUntil { $0.count >= length ? $0.startIndex + length : nil }
        return TestResponse(status: status, headers: headers, body: body)
    }

    /// Reads everything up to and with a text.
    mutating func read(upTo text: String) async throws -> String {
        String(
            decoding: try await readUntil { $0.firstRange(of: Data(text.utf8))?.upperBound }, as: UTF8.self)
    }

    /// Reads to the end of the connection.
    mutating func readToEnd() async throws -> Data {
        while let more = try await read() { received.append(contentsOf: more.readableBytesView) }
        defer { received = Data() }
        return received
    }

    private mutating func read() async throws -> ByteBuffer? {
        try await within("bytes of the server, or the end of the connection") { try await inbound.next() }
    }

    private mutating func readUntil(_ end: (Data) -> Data.Index?) async throws -> Data {
        while true {
            if let end = end(received) {
                defer { received = Data(received[end...]) }
                return Data(received[..<end])
            }
            guard let more = try await read() else { throw EndedTooEarly(received: received) }
            received.append(contentsOf: more.readableBytesView)
        }
    }

    struct EndedTooEarly: Error { let received: Data }
}

extension TestServer {
    /// Lends a connection, which is closed when `body` is done, whatever was sent.
    func withWire<Result: Sendable>(_ body: (inout WireConnection) async throws -> Result) async throws -> Result {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = WireConnection(inbound, outbound)
            return try await body(&connection)
        }
    }
}
