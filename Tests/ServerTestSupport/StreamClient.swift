import AsyncHTTPClient
import NIOCore
public import NIOHTTP1
import TestSupport

extension TestServer {
    /// A client for many streams at once: the shared one opens at most eight connections to a server.
    private static let streams = HTTPClient(
        eventLoopGroupProvider: .singleton,
        configuration: HTTPClient.Configuration(
            timeout: .init(connect: TimeAmount(TestDeadline.event), read: TimeAmount(TestDeadline.event)),
            connectionPool: .init(idleTimeout: .seconds(1), concurrentHTTP1ConnectionsPerHostSoftLimit: 1000)))

    /// Lends an open stream, of which there may be many; the connection is closed when `body` is done.
    public func withStream<Result>(
        _ path: String, headers: HTTPHeaders, _ body: (EventReader) async throws -> Result
    ) async throws -> Result {
        var request = HTTPClientRequest(url: baseURL + path)
        request.headers = headers
        let response = try await Self.streams.execute(request, deadline: .now() + TimeAmount(TestDeadline.test))
        return try await body(EventReader(response))
    }
}
