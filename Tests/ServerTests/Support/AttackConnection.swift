import NIOCore
import NIOPosix
import ServerTestSupport
import Synchronization
import TestSupport

/// A connection that sends any bytes and keeps every byte that comes back.
///
/// It reads while it writes. If the server answers and closes, unsent bytes must not cost the client the answer.
struct AttackConnection: Sendable {
    private let channel: any Channel
    private let receiver: Receiver

    fileprivate init(_ channel: any Channel, _ receiver: Receiver) {
        self.channel = channel
        self.receiver = receiver
    }

    /// Sends a text.
    ///
    /// - Returns: False once the connection is closed.
    @discardableResult
    func send(_ text: String) async -> Bool {
        do {
            try await channel.writeAndFlush(ByteBuffer(string: text))
            return true
        } catch {
            return false
        }
    }

    /// Sends a text again and again until the server closes the connection.
    func sendUntilClosed(_ text: String) async throws {
        try await within("the server closes the connection") {
            while !Task.isCancelled, await send(text) {}
            try Task.checkCancellation()
        }
    }

    /// The text that has come back so far.
    var received: String { receiver.text }

    /// Waits until the server closes the connection.
    ///
    /// - Returns: The text that came back.
    func untilClosed() async throws -> String { String(buffer: try await bytesUntilClosed()) }

    /// Waits until the server closes the connection.
    ///
    /// - Returns: The bytes that came back.
    func bytesUntilClosed() async throws -> ByteBuffer {
        try await within("the end of the connection") {
            try await withTaskCancellationHandler {
                try await channel.closeFuture.get()
            } onCancel: {
                channel.close(promise: nil)
            }
        }
        return receiver.bytes
    }

    /// Closes the connection.
    func close() async { try? await channel.close() }

    fileprivate final class Receiver: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        private let buffer = Mutex(ByteBuffer())

        var bytes: ByteBuffer { buffer.withLock { $0 } }

        var text: String { String(buffer: bytes) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            buffer.withLock { _ = $0.writeImmutableBuffer(bytes) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

extension TestServer {
    /// Opens a connection.
    ///
    /// The test or the server closes it.
    func attackConnection(to host: String = "127.0.0.1") async throws -> AttackConnection {
        let receiver = AttackConnection.Receiver()
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(receiver) }
            }
            .connect(host: host, port: port).get()
        return AttackConnection(channel, receiver)
    }

    /// Sends a text over a new connection, and waits until the server closes it.
    func answer(to text: String) async throws -> String {
        let connection = try await attackConnection()
        await connection.send(text)
        return try await connection.untilClosed()
    }
}

/// The status codes of the responses in a text.
func answerStatuses(in text: String) -> [Int] {
    text.matches(of: #/HTTP/1\.1 ([0-9]{3}) /#).compactMap { Int($0.output.1) }
}
