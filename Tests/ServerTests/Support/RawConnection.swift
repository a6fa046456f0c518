import NIOCore
import NIOPosix
import ServerTestSupport
import TestSupport

/// A connection whose bytes are seen as they are: what a client library hides is what some tests are about.
struct RawConnection {
    private var inbound: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    let channel: any Channel

    fileprivate init(
        _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
        _ channel: any Channel
    ) {
        self.inbound = inbound.makeAsyncIterator()
        self.outbound = outbound
        self.channel = channel
    }

    /// Sends a request without a body.
    func send(_ method: String, _ path: String, token: String, version: String = "1.1") async throws {
        try await outbound.write(
            ByteBuffer(
                string: "\(method) \(path) HTTP/\(version)\r\nHost: test\r\nAuthorization: Bearer \(token)\r\n\r\n"))
    }

    /// The next bytes; nil at the end.
    mutating func read() async throws -> String? {
        try await within("bytes of the server, or the end of the connection") {
            try await inbound.next().map { String(buffer: $0) }
        }
    }

    /// Everything up to the end of the connection.
    mutating func readToEnd() async throws -> String {
        var text = ""
        while let more = try await read() { text += more }
        return text
    }

    /// Everything up to and with a text.
    mutating func read(upTo end: String) async throws -> String {
        var text = ""
        while !text.contains(end) {
            guard let more = try await read() else { throw EndedTooEarly(text: text) }
            text += more
        }
        return text
    }

    struct EndedTooEarly: Error { let text: String }
}

extension TestServer {
    /// Lends a raw connection, which is closed in order when `body` is done.
    func withRawConnection<Result: Sendable>(
        _ body: (inout RawConnection) async throws -> Result
    ) async throws -> Result {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            var connection = RawConnection(inbound, outbound, channel.channel)
            return try await body(&connection)
        }
    }
}
