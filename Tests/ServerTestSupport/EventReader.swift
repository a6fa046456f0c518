import AsyncHTTPClient
import Foundation
import NIOCore
public import NIOHTTP1
public import TestSupport

/// The response of a stream, read block by block.
public final class EventReader {
    /// The status code of the response.
    public let status: Int
    /// The headers of the response.
    public let headers: HTTPHeaders
    private var body: HTTPClientResponse.Body.AsyncIterator
    private var pending = ""

    init(_ response: HTTPClientResponse) {
        status = Int(response.status.code)
        headers = response.headers
        body = response.body.makeAsyncIterator()
    }

    /// The next block that is not a heartbeat; nil at the end of the stream.
    ///
    /// - Throws: ``DidNotHappen`` when none comes in time, even if heartbeats do.
    public func next(
        limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line
    ) async throws -> StreamedEvent? {
        try await within("an event of the stream", limit: limit, fileID: fileID, line: line) {
            while let block = try await readBlock() {
                if block.comment == nil { return block }
            }
            return nil
        }
    }

    /// The next block, a heartbeat too; nil at the end of the stream.
    ///
    /// - Throws: ``DidNotHappen`` when none comes in time.
    public func nextBlock(fileID: String = #fileID, line: Int = #line) async throws -> StreamedEvent? {
        try await within("a block of the stream", fileID: fileID, line: line) { try await readBlock() }
    }

    private func readBlock() async throws -> StreamedEvent? {
        while true {
            if let end = pending.range(of: "\n\n") {
                defer { pending.removeSubrange(..<end.upperBound) }
                return StreamedEvent(block: pending[..<end.lowerBound])
            }
            guard let bytes = try await body.next() else {
                // The last line of a stream may be a field without a block.
                defer { pending = "" }
                return pending.isEmpty ? nil : StreamedEvent(block: pending[...])
            }
            pending += String(buffer: bytes)
        }
    }

    /// All blocks until the end of the stream, without heartbeats.
    ///
    /// - Parameters:
    ///   - limit: The longest wait for each block.
    ///   - fileID: The file of the caller, for the error.
    ///   - line: The line of the caller, for the error.
    /// - Returns: The blocks in order.
    /// - Throws: `DidNotHappen` when a block does not arrive in time; the error of the connection.
    public func rest(
        limit: Duration = TestDeadline.event, fileID: String = #fileID, line: Int = #line
    ) async throws -> [StreamedEvent] {
        var events: [StreamedEvent] = []
        while let event = try await next(limit: limit, fileID: fileID, line: line) { events.append(event) }
        return events
    }
}

extension TestServer {
    /// Lends a stream, and closes its connection after `body`.
    public func withStream<Result>(
        _ path: String, headers: HTTPHeaders, _ body: (EventReader) async throws -> Result
    ) async throws -> Result {
        var request = HTTPClientRequest(url: baseURL + path)
        request.headers = headers
        let response = try await Self.client.execute(request, deadline: .now() + TimeAmount(TestDeadline.test))
        return try await body(EventReader(response))
    }

    /// Lends a stream, and closes its connection after `body`.
    ///
    /// - Parameters:
    ///   - path: The path of the stream.
    ///   - token: The access token; nil sends none.
    ///   - lastEventID: The id to resume from; nil starts from the beginning.
    ///   - body: The test.
    /// - Returns: What the body returns.
    /// - Throws: The error of the connection, or of the body.
    public func withStream<Result>(
        _ path: String, token: String?, lastEventID: String? = nil, _ body: (EventReader) async throws -> Result
    ) async throws -> Result {
        var headers: HTTPHeaders = ["Accept": "text/event-stream"]
        if let token { headers.add(name: "Authorization", value: "Bearer \(token)") }
        if let lastEventID { headers.add(name: "Last-Event-ID", value: lastEventID) }
        return try await withStream(path, headers: headers, body)
    }
}
