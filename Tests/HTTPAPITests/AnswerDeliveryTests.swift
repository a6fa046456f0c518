import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import Synchronization
import Testing

@testable import HTTPAPI

@Suite("The delivery of an answer")
struct AnswerDeliveryTests {
    @Test("The way back is taken once, and not after the delivery")
    func once() async {
        let count = Atomic(0)
        let lost = AnswerDelivery()
        lost.ifUndelivered { count.add(1, ordering: .relaxed) }
        await lost.end()
        await lost.end()
        #expect(count.load(ordering: .relaxed) == 1)
        let delivered = AnswerDelivery()
        delivered.ifUndelivered { count.add(1, ordering: .relaxed) }
        delivered.delivered()
        await delivered.end()
        #expect(count.load(ordering: .relaxed) == 1)
    }

    /// The client resets the connection while the route works: the body of the answer never runs.
    @Test("An answer whose head cannot be written is taken back, and a written one is not", arguments: [true, false])
    func head(isClosed: Bool) async throws {
        let count = Atomic(0)
        let router = Router(context: AppContext.self)
        router.get("/") { _, context in
            let delivery = context.delivery
            delivery.ifUndelivered { count.add(1, ordering: .relaxed) }
            return Response(
                status: .ok,
                body: ResponseBody(contentLength: 0) { writer in
                    try await writer.finish(nil)
                    delivery.delivered()
                })
        }
        let respond = FrameworkResponder.responder(
            router.buildResponder(), date: DateHeader(), logger: Logger(label: "test"))
        let channel = NIOAsyncTestingChannel()
        _ = try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).get()
        let connection = try await channel.testingEventLoop.executeInContext {
            try NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>(wrappingChannelSynchronously: channel)
        }
        try? await connection.executeThenClose { inbound, outbound in
            if isClosed { try await channel.close() }
            let request = Request(
                head: HTTPRequest(method: .get, scheme: "http", authority: "test", path: "/"),
                body: RequestBody(buffer: ByteBuffer()))
            try await respond(request, ResponseWriter(outbound: outbound), channel)
        }
        #expect(count.load(ordering: .relaxed) == (isClosed ? 1 : 0))
    }
}
