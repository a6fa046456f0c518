import NIOCore
import NIOPosix
import ServerTestSupport
import Synchronization
import TestSupport

/// A connection that sends any bytes and keeps every byte that comes back.
///
/// It reads while it writes. If the server answers and closes, unsent bytes must not cost the client the answer.
struct Intruder: Sendable {
    private let channel: any Channel
    private let ear: Ear

    fileprivate init(_ channel: any Channel, _ ear: Ear) {
        self.channel = channel
        self.ear = ear
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
    ///
    /// - Returns: False if the server took all of them.
    func send(_ text: String, times: Int) async -> Bool {
        for _ in 0..<times where await !send(text) { return true }
        return false
    }

    /// The text that has come back so far.
    var heard: String { ear.text }

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
        return ear.bytes
    }

    /// Closes the connection.
    func leave() async { try? await channel.close() }

    fileprivate final class Ear: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer

        private let received = Mutex(ByteBuffer())

        var bytes: ByteBuffer { received.withLock { $0 } }

        var text: String { String(buffer: bytes) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            received.withLock { _ = $0.writeImmutableBuffer(bytes) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

extension TestServer {
    /// Opens a connection.
    ///
    /// The test or the server closes it.
    func intruder() async throws -> Intruder {
        let ear = Intruder.Ear()
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(ear) }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return Intruder(channel, ear)
    }

    /// Sends a text over a new connection, and waits until the server closes it.
    func answer(to text: String) async throws -> String {
        let intruder = try await intruder()
        await intruder.send(text)
        return try await intruder.untilClosed()
    }
}

/// The status codes of the responses in a text.
func answerStatuses(in text: String) -> [Int] {
    text.matches(of: #/HTTP/1\.1 ([0-9]{3}) /#).compactMap { Int($0.output.1) }
}
