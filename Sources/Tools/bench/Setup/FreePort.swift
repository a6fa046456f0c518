import NIOCore
import NIOPosix

/// A port of loopback that was free a moment ago.
func freePort() async throws -> Int {
    let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
        .bind(host: "127.0.0.1", port: 0).get()
    guard let port = channel.localAddress?.port else { throw BenchmarkError("there is no free port") }
    try await channel.close().get()
    return port
}
