import NIOCore
import NIOPosix
import Synchronization

/// A server that answers each path with a given text, and sends more text on request.
struct ScriptedServer: Sendable {
    /// The accepted connections.
    private final class Connections: Sendable {
        let all = Mutex<[any Channel]>([])
    }

    private let channel: any Channel
    private let connections: Connections

    var port: Int { channel.localAddress?.port ?? 0 }

    /// Lends a server.
    ///
    /// It sends each answer byte by byte.
    static func lend<Result>(
        _ answers: [String: String], _ body: (ScriptedServer) async throws -> Result
    ) async throws -> Result {
        let connections = Connections()
        let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    connections.all.withLock { $0.append(channel) }
                    try channel.pipeline.syncOperations.addHandler(Answerer(answers: answers))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = ScriptedServer(channel: channel, connections: connections)
        do {
            let result = try await body(server)
            await server.close()
            return result
        } catch {
            await server.close()
            throw error
        }
    }

    private func close() async {
        for channel in [channel] + connections.all.withLock({ $0 }) { try? await channel.close().get() }
    }

    /// Sends bytes on all connections, in pieces of a length.
    ///
    /// The reader must not depend on where a piece ends.
    func send(_ text: String, pieceLength: Int) async throws {
        for channel in connections.all.withLock({ $0 }) where channel.isActive {
            var rest = ByteBuffer(string: text)
            while rest.readableBytes > 0, let piece = rest.readSlice(length: min(pieceLength, rest.readableBytes)) {
                try await channel.writeAndFlush(piece)
            }
        }
    }

    /// Answers the first request of a connection.
    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let answers: [String: String]
        private var request = ""

        init(answers: [String: String]) { self.answers = answers }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            request += String(buffer: unwrapInboundIn(data))
            guard request.hasSuffix("\r\n\r\n") else { return }
            let path = request.split(separator: " ").dropFirst().first.map(String.init) ?? ""
            for byte in (answers[path] ?? "").utf8 {
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: [byte])), promise: nil)
            }
        }
    }
}
