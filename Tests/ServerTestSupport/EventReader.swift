import AsyncHTTPClient
import Foundation
import NIOCore
public import NIOHTTP1
public import TestSupport

/// One block of an event stream.
public struct StreamedEvent: Sendable, Equatable {
    /// The value of `id:`.
    public var id: String?
    /// The value of `event:`.
    public var event: String?
    /// The value of `data:`.
    public var data: String?
    /// The milliseconds of `retry:`.
    public var retry: Int?
    /// The text of a comment, which a heartbeat is.
    public var comment: String?

    /// The data as a JSON object.
    public func json() throws -> [String: any Sendable] {
        try JSONSerialization.jsonObject(with: Data((data ?? "{}").utf8)) as? [String: any Sendable] ?? [:]
    }

    /// The status in the data.
    public var status: String? { (try? json())?["status"] as? String }
    /// The percentage in the data.
    public var progress: Int? { (try? json())?["progress"] as? Int }
    /// The version in the data.
    public var version: Int? { (try? json())?["version"] as? Int }

    init(block: Substring) {
        for line in block.split(separator: "\n") {
            let colon = line.firstIndex(of: ":") ?? line.endIndex
            let value = line[colon...].dropFirst().drop { $0 == " " }
            switch line[..<colon] {
            case "": comment = String(value)
            case "id": id = String(value)
            case "event": event = String(value)
            case "data": data = String(value)
            case "retry": retry = Int(value)
            default: break
            }
        }
    }
}

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
            guard let bytes = try await body.next() else { return nil }
            pending += String(buffer: bytes)
        }
    }

    /// All blocks until the end of the stream, without heartbeats.
    ///
    /// - Parameter limit: The longest wait for each block.
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
        _ path: String, token: String?, lastEventID: String? = nil, _ body: (EventReader) async throws -> Result
    ) async throws -> Result {
        var request = HTTPClientRequest(url: baseURL + path)
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        if let lastEventID { request.headers.add(name: "Last-Event-ID", value: lastEventID) }
        request.headers.add(name: "Accept", value: "text/event-stream")
        let response = try await HTTPClient.shared.execute(request, deadline: .now() + TimeAmount(TestDeadline.test))
        return try await body(EventReader(response))
    }
}
