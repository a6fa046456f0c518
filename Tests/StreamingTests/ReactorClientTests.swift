import TestSupport
import TestTime
import Testing

@testable import Streaming

/// Clients that leave in every way, and clients that send.
@Suite("The reactor and clients that leave", .deadline) struct ReactorClientTests {
    enum WayToLeave: CaseIterable, Sendable { case closes, endsWriting, resets }

    /// Opens a stream, and lets its client leave.
    private func leave(_ way: WayToLeave, _ scene: ReactorScene, isBlocked: Bool) async throws -> (
        StreamID, String
    ) {
        let stream = isBlocked ? try await scene.blocked().stream : try await scene.open()
        switch way {
        case .closes: if !isBlocked { _ = try await onThread { try stream.client.read() } }
        case .endsWriting:
            stream.client.endWriting()
            // On the client's side the connection is open until the server closes it.
            _ = try await onThread { try? stream.client.readToEnd() }
        case .resets: stream.client.resetOnClose()
        }
        return (stream.id, stream.identity)
    }

    @Test(
        "When a client leaves in any way, the stream ends, the delegate learns of it once, and the descriptor is closed",
        arguments: WayToLeave.allCases,
        [true, false])
    func leaves(_ way: WayToLeave, isBlocked: Bool) async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            for _ in 0..<5 {
                let (id, identity) = try await leave(way, scene, isBlocked: isBlocked)
                var event = try await events.next()
                if event == .drained(id) { event = try await events.next() }
                #expect(event == .closed(id))
                #expect(try !openSockets().contains(identity))
                #expect(await scene.reactor.send(Frame([1]), to: [id]).first?.outcome == .gone)
                #expect(await scene.reactor.streamCount == 0)
            }
        }
    }

    @Test("The reactor drops what a client sends, and the stream goes on")
    func garbage() async throws {
        try await withReactor { scene in
            let stream = try await scene.open()
            let writer = Task {
                try await onThread {
                    for _ in 0..<50 { try stream.client.write([UInt8](repeating: UInt8(ascii: "G"), count: 50_000)) }
                }
            }
            for number in 0..<50 { #expect(await scene.send("\(number)", to: stream) == .sent) }
            try await writer.value
            try stream.client.write(Array("GET / HTTP/1.1\r\nHost: pipelined\r\n\r\n".utf8))
            await scene.end(stream)
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.payloads == ["hello"] + (0..<50).map { "\($0)" } + ["bye"])
            #expect(body.isComplete)
        }
    }

    /// A close with unread input would reset the connection, and the reset could destroy the end on its way.
    @Test("A client that still sends at the end receives the whole end")
    func sendsAtTheEnd() async throws {
        try await withReactor { scene in
            for generation in 0..<30 as Range<UInt32> {
                let stream = try await scene.open(generation, generation: generation)
                try stream.client.write([UInt8](repeating: UInt8(ascii: "G"), count: 100_000))
                await scene.end(stream, with: String(repeating: "end", count: 5000))
                try stream.client.write([UInt8](repeating: UInt8(ascii: "G"), count: 1000))
                let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
                #expect(body.isComplete)
            }
        }
    }

    @Test("The reactor closes the connection of a client that does not close after the end", arguments: [true, false])
    func lingers(sends: Bool) async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let stream = try await scene.open()
            await scene.end(stream)
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.isComplete)
            if sends { try stream.client.write([1, 2, 3]) }
            clock.advance(by: .seconds(1))
            #expect(try await events.next() == .closed(stream.id))
            #expect(try !openSockets().contains(stream.identity))
        }
    }

    @Test("A client that leaves during the end causes no error", arguments: WayToLeave.allCases)
    func leavesAtTheEnd(_ way: WayToLeave) async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            for generation in 0..<20 as Range<UInt32> {
                let (id, identity) = try await {
                    let stream = try await scene.open(0, generation: generation)
                    await scene.end(stream)
                    if way == .resets { stream.client.resetOnClose() }
                    if way == .endsWriting { stream.client.endWriting() }
                    return (stream.id, stream.identity)
                }()
                #expect(try await events.next() == .closed(id))
                #expect(try !openSockets().contains(identity))
            }
        }
    }

    @Test("A socket whose client has left before the hand-off is closed")
    func goneBefore() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            for generation in 0..<20 as Range<UInt32> {
                let (server, identity, client) = try {
                    let (server, identity, client) = try scene.loopback.connect()
                    if generation.isMultiple(of: 2) { client.resetOnClose() } else { client.endWriting() }
                    return (server, identity, generation.isMultiple(of: 2) ? nil : client)
                }()
                let id = StreamID(slot: 0, generation: generation)
                await scene.reactor.adopt(
                    id, server, as: .chunks, firstFrame: Frame(head: [], payload: [1], isChunked: true),
                    expiresAt: scene.now + .seconds(3600), livesUntil: scene.now + .seconds(3600))
                #expect(try await events.next() == .closed(id))
                #expect(try !openSockets().contains(identity))
                withExtendedLifetime(client) {}
            }
        }
    }
}
