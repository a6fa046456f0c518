public import AsyncHTTPClient
public import Foundation
import NIOCore
public import NIOHTTP1
import TestSupport

/// A whole response.
public struct TestResponse: Sendable {
    /// The status code.
    public let status: Int
    /// The headers.
    public let headers: HTTPHeaders
    /// The body.
    public let body: Data

    /// Makes a response.
    public init(status: Int, headers: HTTPHeaders, body: Data) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// The body as text.
    public var text: String { String(decoding: body, as: UTF8.self) }

    /// The body as a JSON object.
    public func json() throws -> [String: any Sendable] {
        try JSONSerialization.jsonObject(with: body) as? [String: any Sendable] ?? [:]
    }
}

extension TestServer {
    /// A client for many connections to one server.
    ///
    /// The shared client opens at most eight.
    public static let client = HTTPClient(
        eventLoopGroupProvider: .singleton,
        configuration: HTTPClient.Configuration(
            timeout: .init(connect: TimeAmount(TestDeadline.event), read: TimeAmount(TestDeadline.event)),
            connectionPool: .init(idleTimeout: .seconds(1), concurrentHTTP1ConnectionsPerHostSoftLimit: 1000)))

    /// Sends a request and reads the whole response.
    ///
    /// The request's and the response's private texts become canaries: they may not appear in the log, nor in a
    /// refusal. The response has to be one of those in the description of the API.
    public func request(
        _ method: HTTPMethod, _ path: String, token: String? = nil, headers: [String: String] = [:],
        body: Data? = nil
    ) async throws -> TestResponse {
        var request = HTTPClientRequest(url: baseURL + path)
        request.method = method
        if let token { request.headers.add(name: "Authorization", value: "Bearer \(token)") }
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if let body {
            CanaryWatch.shared.plant(json: body, isRequest: true)
            request.body = .bytes(ByteBuffer(bytes: body))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: TimeAmount(TestDeadline.event))
        let bytes = try await response.body.collect(upTo: 64 << 20)
        let answer = TestResponse(
            status: Int(response.status.code), headers: response.headers, body: Data(bytes.readableBytesView))
        if answer.status >= 400 {
            try CanaryWatch.shared.inspect(answer.text, in: "a refusal")
        } else {
            CanaryWatch.shared.plant(json: answer.body, isRequest: false)
        }
        try compare(answer, to: method, path)
        return answer
    }

    /// Sends JSON.
    public func post(_ path: String, _ json: String, token: String? = nil) async throws -> TestResponse {
        try await request(
            .POST, path, token: token, headers: ["Content-Type": "application/json"], body: Data(json.utf8))
    }
}
