public import Foundation
import NIOCore
public import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization
import TestSupport

/// A receiver of webhooks on loopback, which also misbehaves.
public final class WebhookReceiver: Sendable {
    /// A request that has arrived whole.
    public struct Delivery: Sendable {
        /// The method.
        public let method: HTTPMethod
        /// The path and the query.
        public let target: String
        /// The headers.
        public let headers: HTTPHeaders
        /// The body.
        public let body: Data

        /// The header `webhook-id`.
        public var id: String { headers.first(name: "webhook-id") ?? "" }

        /// The body as a JSON object.
        public func json() throws -> [String: any Sendable] {
            try JSONSerialization.jsonObject(with: body) as? [String: any Sendable] ?? [:]
        }

        /// The members of `data`.
        public func data() throws -> [String: any Sendable] { try json()["data"] as? [String: any Sendable] ?? [:] }
    }

    /// What the receiver does with a request.
    public enum Answer: Sendable {
        /// Answers with a status, headers and a body.
        case status(Int, [String: String] = [:], body: String = "")
        /// Sends these bytes, and leaves the connection open.
        case bytes(String)
        /// Answers nothing, and leaves the connection open.
        case hang
        /// Closes the connection without an answer.
        case close
        /// Begins an answer, and sends headers without an end.
        case endlessHead
        /// Answers with a status and a body without an end.
        case endlessBody(Int)
    }

    /// The port.
    public let port: Int
    /// Every request, for one reader.
    public let arrivals: AsyncStream<Delivery>

    private let continuation: AsyncStream<Delivery>.Continuation
    private let requests = Mutex<[Delivery]>([])
    private let answer: @Sendable (Delivery, _ index: Int) async -> Answer
    private let channel: any Channel

    /// The requests so far.
    public var deliveries: [Delivery] { requests.withLock { $0 } }

    private final class Target: Sendable {
        let receiver = Mutex<WebhookReceiver?>(nil)
    }

    private init(
        host: String, port: Int, tls: NIOSSLContext?, _ answer: @escaping @Sendable (Delivery, Int) async -> Answer
    ) async throws {
        let target = Target()
        self.answer = answer
        (arrivals, continuation) = AsyncStream.makeStream(of: Delivery.self)
        channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { child in
                child.eventLoop.makeCompletedFuture {
                    if let tls { try child.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls)) }
                    try child.pipeline.syncOperations.addHandler(ByteToMessageHandler(HTTPRequestDecoder()))
                    try child.pipeline.syncOperations.addHandler(
                        Handler { delivery in
                            guard let receiver = target.receiver.withLock({ $0 }) else { return .close }
                            return await receiver.take(delivery)
                        })
                }
            }
            .bind(host: host, port: port).get()
        self.port = channel.localAddress?.port ?? 0
        target.receiver.withLock { $0 = self }
    }

    private func take(_ delivery: Delivery) async -> Answer {
        let index = requests.withLock { requests in
            requests.append(delivery)
            return requests.count - 1
        }
        continuation.yield(delivery)
        return await answer(delivery, index)
    }

    /// Lends a receiver.
    ///
    /// - Parameters:
    ///   - host: The address that it listens on.
    ///   - port: The port; 0 for a free one.
    ///   - certificate: The receiver's certificate; nil for plain HTTP.
    ///   - answer: Decides about each request, whose number it gets.
    ///   - body: The test.
    /// - Returns: What the test returns.
    /// - Throws: What the test throws; an error of the socket.
    public static func with<Result>(
        host: String = "127.0.0.1", port: Int = 0, certificate: TestCertificate? = nil,
        answer: @escaping @Sendable (Delivery, _ index: Int) async -> Answer = { _, _ in .status(204) },
        _ body: (WebhookReceiver) async throws -> Result
    ) async throws -> Result {
        let receiver = try await WebhookReceiver(host: host, port: port, tls: certificate?.context(), answer)
        do {
            let result = try await body(receiver)
            try await receiver.channel.close()
            return result
        } catch {
            try? await receiver.channel.close()
            throw error
        }
    }

    /// Waits for requests.
    ///
    /// - Parameters:
    ///   - count: How many.
    ///   - fileID: The caller's file, for the error.
    ///   - line: The caller's line, for the error.
    /// - Returns: The next requests, in their order.
    /// - Throws: `DidNotHappen`
    public func next(_ count: Int = 1, fileID: String = #fileID, line: Int = #line) async throws -> [Delivery] {
        try await within("\(count) deliveries", fileID: fileID, line: line) {
            var found: [Delivery] = []
            for await delivery in arrivals.prefix(count) { found.append(delivery) }
            return found
        }
    }
}

/// Reads the requests of one connection, and writes what the receiver decides.
private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    private let take: @Sendable (WebhookReceiver.Delivery) async -> WebhookReceiver.Answer
    private var head: HTTPRequestHead?
    private var body = Data()

    init(take: @escaping @Sendable (WebhookReceiver.Delivery) async -> WebhookReceiver.Answer) { self.take = take }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body(let part): body.append(contentsOf: part.readableBytesView)
        case .end:
            guard let head = head.take() else { return }
            let delivery = WebhookReceiver.Delivery(
                method: head.method, target: head.uri, headers: head.headers, body: body)
            body = Data()
            let channel = context.channel
            Self.reply(to: delivery, on: channel, take)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private typealias Take = @Sendable (WebhookReceiver.Delivery) async -> WebhookReceiver.Answer

    private static func reply(to delivery: WebhookReceiver.Delivery, on channel: any Channel, _ take: @escaping Take) {
        // Not structured: NIO has no task for a handler. The channel's end ends what the task writes.
        Task {
            let answer = await take(delivery)
            await write(answer, to: channel)
        }
    }

    private static func write(_ answer: WebhookReceiver.Answer, to channel: any Channel) async {
        func send(_ text: String) async throws { try await channel.writeAndFlush(ByteBuffer(string: text)) }
        do {
            switch answer {
            case .hang: break
            case .close: try await channel.close()
            case .bytes(let text): try await send(text)
            case .status(let status, let headers, let body):
                let fields = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
                // RFC 9110, 8.6: no Content-Length in a 204.
                let length = status == 204 ? "" : "Content-Length: \(body.utf8.count)\r\n"
                try await send("HTTP/1.1 \(status) Answer\r\n\(fields)\(length)\r\n\(body)")
            case .endlessHead:
                try await send("HTTP/1.1 200 OK\r\n")
                while true {
                    try await send(String(repeating: "X-Filler: \(String(repeating: "a", count: 1000))\r\n", count: 10))
                }
            case .endlessBody(let status):
                try await send("HTTP/1.1 \(status) Answer\r\nTransfer-Encoding: chunked\r\n\r\n")
                while true { try await send("400\r\n" + String(repeating: "a", count: 1024) + "\r\n") }
            }
        } catch {
            // The client has closed the connection.
        }
    }
}

/// A certificate for names on loopback, which no system trusts.
public struct TestCertificate: Sendable {
    /// The path of the certificate.
    public let path: String
    private let key: String

    /// Lends a certificate.
    ///
    /// - Parameters:
    ///   - name: The name that it is valid for.
    ///   - body: The test.
    /// - Returns: What the test returns.
    /// - Throws: What the test throws; an error of `openssl`.
    public static func with<Result>(
        name: String, _ body: (TestCertificate) async throws -> Result
    ) async throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-certificate-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let certificate = TestCertificate(
            path: folder.appending(path: "server.crt").path, key: folder.appending(path: "server.key").path)
        let run = try await runProgram(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:\(name)", "-keyout", certificate.key, "-out",
                certificate.path,
            ])
        guard run.status == 0 else { throw CertificateNotMade(output: run.errorOutput) }
        return try await body(certificate)
    }

    fileprivate func context() throws -> NIOSSLContext {
        try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) },
                privateKey: .privateKey(NIOSSLPrivateKey(file: key, format: .pem))))
    }
}

/// `openssl` has made no certificate.
struct CertificateNotMade: Error {
    /// What it said.
    let output: String
}
