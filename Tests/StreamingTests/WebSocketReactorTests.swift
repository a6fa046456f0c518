import TestSupport
import TestTime
import Testing

@testable import Streaming

/// WebSockets at the reactor: pings, Close frames, and the frames of clients.
@Suite("The reactor and WebSockets", .deadline) struct WebSocketReactorTests {
    private static let hello = WebSocketFrame.frame(.text, Array("hello".utf8))
    private static let bye = WebSocketFrame.close(.finished)

    /// Opens a WebSocket, whose client has read nothing yet.
    private func open(_ scene: ReactorScene, _ slot: UInt32 = 0, receiveBuffer: CInt? = nil) async throws
        -> ReactorScene.Stream
    {
        try await scene.open(
            slot, firstFrame: Frame(head: Array("HEAD\r\n\r\n".utf8), webSocketFrames: Self.hello), as: .webSocket,
            receiveBuffer: receiveBuffer)
    }

    /// Opens a WebSocket with an unfinished frame, behind which another one waits in the same piece.
    private func blocked(_ scene: ReactorScene) async throws -> (stream: ReactorScene.Stream, first: [UInt8]) {
        let stream = try await open(scene, receiveBuffer: 4096)
        let first = WebSocketFrame.frame(.text, [UInt8](repeating: UInt8(ascii: "a"), count: 2_000_000))
        let second = WebSocketFrame.frame(.text, Array("second".utf8))
        #expect(await scene.send(Frame(webSocketFrames: first + second), to: stream) == .started)
        return (stream, first)
    }

    private let head = Array("HEAD\r\n\r\n".utf8) + hello

    @Test("A WebSocket gets its head and its frames, and the connection ends after both Close frames")
    func wire() async throws {
        try await withReactor { scene in
            let stream = try await open(scene)
            let news = WebSocketFrame.frame(.text, Array("news".utf8))
            #expect(await scene.send(Frame(webSocketFrames: news), to: stream) == .sent)
            await scene.reactor.end(stream.id, with: Frame(webSocketFrames: Self.bye))
            let expected = head + news + Self.bye
            let bytes = try await onThread {
                let bytes = try stream.client.read(exactly: expected.count)
                try stream.client.write(ClientFrame.close(1000).bytes)
                return bytes + (try stream.client.readToEnd())
            }
            expectSame(bytes, expected)
            stream.client.endWriting()
            var events = scene.delegate.events.makeAsyncIterator()
            #expect(try await events.next() == .closed(stream.id))
            #expect(try !openSockets().contains(stream.identity))
        }
    }

    @Test("The reactor waits a moment for a client's Close frame, and no longer", arguments: [true, false])
    func waits(talks: Bool) async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            let stream = try await open(scene)
            await scene.reactor.end(stream.id, with: Frame(webSocketFrames: Self.bye))
            let expected = head + Self.bye
            expectSame(try await onThread { try stream.client.read(exactly: expected.count) }, expected)
            let talk = Task {
                try await onThread {
                    // The client sends until the reactor closes the connection.
                    while talks, (try? stream.client.write(ClientFrame(opcode: 2, payload: [1]).bytes)) != nil {}
                }
            }
            clock.advance(by: .seconds(1))
            var events = scene.delegate.events.makeAsyncIterator()
            #expect(try await events.next() == .closed(stream.id))
            try await talk.value
        }
    }

    @Test("A client's Close frame gets its own code back, and the delegate learns of it before the slot is free")
    func clientCloses() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            for (generation, code) in [(0, 1000), (1, 4321), (2, nil)] as [(UInt32, UInt16?)] {
                let (server, identity, client) = try scene.loopback.connect()
                let id = StreamID(slot: 0, generation: generation)
                await scene.reactor.adopt(
                    id, server, as: .webSocket, firstFrame: Frame(head: [], webSocketFrames: Self.hello),
                    expiresAt: scene.now + .seconds(3600), livesUntil: scene.now + .seconds(3600))
                let bytes = try await onThread {
                    // Frames after the Close frame do not count.
                    try client.write(ClientFrame.close(code).bytes + ClientFrame.ping([1]).bytes + [0xFF, 0xFF])
                    return try client.readToEnd()
                }
                expectSame(bytes, Self.hello + WebSocketFrame.close(echoing: code))
                #expect(try await events.next() == .leaving(id))
                #expect(await scene.reactor.send(Frame(webSocketFrames: Self.hello), to: [id]).first?.outcome == .gone)
                client.endWriting()
                #expect(try await events.next() == .closed(id))
                #expect(try !openSockets().contains(identity))
            }
        }
    }

    @Test("A client that breaks the protocol gets a Close frame, and the connection ends")
    func violation() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let stream = try await open(scene)
            let bytes = try await onThread {
                try stream.client.write([0x81, 0x05] + Array("naked".utf8))
                return try stream.client.readToEnd()
            }
            expectSame(bytes, head + WebSocketFrame.close(.protocolError))
            #expect(try await events.next() == .leaving(stream.id))
            stream.client.endWriting()
            #expect(try await events.next() == .closed(stream.id))
        }
    }

    @Test("A violation without room for a Close frame cuts the connection, and so does a flood during the end")
    func violationWhileBlocked() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let (stream, _) = try await blocked(scene)
            try stream.client.write([0xFF])
            #expect(try await events.next() == .closed(stream.id))
            withExtendedLifetime(stream) {}

            let (other, _) = try await blocked(scene)
            await scene.reactor.end(other.id, with: Frame(webSocketFrames: Self.bye))
            let flood = ClientFrame(opcode: 2, payload: [UInt8](repeating: 0, count: 60_000)).bytes
            // The connection may be closed before everything is written.
            try? await onThread { for _ in 0..<20 { try other.client.write(flood) } }
            #expect(try await events.next() == .closed(other.id))
            withExtendedLifetime(other) {}
        }
    }

    @Test("A ping is answered, also if it comes in pieces")
    func pong() async throws {
        try await withReactor { scene in
            let stream = try await open(scene)
            let payload = (0..<125).map { UInt8($0) }
            let expected = head + WebSocketFrame.pong(payload)
            let bytes = try await onThread {
                for byte in ClientFrame.ping(payload).bytes { try stream.client.write([byte]) }
                return try stream.client.read(exactly: expected.count)
            }
            expectSame(bytes, expected)
        }
    }

    @Test("Of several pings without room, the last one is answered when there is room")
    func pongAfterWaiting() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let (stream, first) = try await blocked(scene)
            for number in 0..<5 as Range<UInt8> { try stream.client.write(ClientFrame.ping([number]).bytes) }
            let before = head + first + WebSocketFrame.frame(.text, Array("second".utf8))
            let last = WebSocketFrame.pong([4])
            try await eventually("the last ping has arrived") {
                await scene.reactor.streams.conversations[0]?.pong?.bytes == last
            }
            #expect(await scene.send(Frame(webSocketFrames: Self.hello), to: stream) == .refused)
            let bytes = try await onThread { try stream.client.read(exactly: before.count + last.count) }
            expectSame(bytes, before + last)
            #expect(try await events.next() == .drained(stream.id))
            #expect(await scene.send(Frame(webSocketFrames: Self.hello), to: stream) == .sent)
        }
    }

    @Test("When a right ends, only the frame that has begun is finished")
    func endsWhileBlocked() async throws {
        try await withReactor { scene in
            let (stream, first) = try await blocked(scene)
            await scene.reactor.end(
                stream.id, with: Frame(webSocketFrames: WebSocketFrame.close(.revoked)), beginsNoOther: true)
            let bytes = try await onThread { try stream.client.readToEnd() }
            expectSame(bytes, head + first + WebSocketFrame.close(.revoked))
        }
    }

    @Test("A client that answers gets one ping after the other, and a client that does not answer is closed")
    func pings() async throws {
        let clock = ManualClock()
        try await withReactor(ping: .seconds(30), clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let (server, identity, client) = try scene.loopback.connect()
            let id = StreamID(slot: 0, generation: 0)
            await scene.reactor.adopt(
                id, server, as: .webSocket, firstFrame: Frame(webSocketFrames: Self.hello),
                expiresAt: scene.now + .seconds(3600), livesUntil: scene.now + .seconds(3600))
            expectSame(try await onThread { try client.read(exactly: Self.hello.count) }, Self.hello)
            for _ in 0..<2 {
                clock.advance(by: .seconds(30))
                expectSame(try await onThread { try client.read(exactly: 2) }, WebSocketFrame.ping)
                try client.write(ClientFrame(opcode: 10).bytes)
                try await eventually("the answer has arrived") {
                    await scene.reactor.streams.conversations[0]?.isAwaited == false
                }
            }
            clock.advance(by: .seconds(30))
            expectSame(try await onThread { try client.read(exactly: 2) }, WebSocketFrame.ping)
            clock.advance(by: .seconds(30))
            #expect(try await onThread { (try? client.readToEnd()) ?? [] } == [])
            #expect(try await events.next() == .closed(id))
            #expect(try !openSockets().contains(identity))
        }
    }

    @Test("At the end of the server WebSockets and streams of events get each their own last frame")
    func shutDown() async throws {
        try await withReactor { scene in
            var readers: [Task<(Bool, [UInt8]), any Error>] = []
            for slot in 0..<20 as Range<UInt32> {
                let isWebSocket = slot.isMultiple(of: 2)
                let stream = isWebSocket ? try await open(scene, slot) : try await scene.open(slot)
                readers.append(
                    Task {
                        try await onThread {
                            let bytes = try stream.client.readToEnd()
                            stream.client.endWriting()
                            return (isWebSocket, bytes)
                        }
                    })
            }
            #expect(await scene.reactor.webSocketCount == 10)
            await scene.reactor.shutDown(within: TestDeadline.event) { wire in
                wire == .webSocket
                    ? Frame(webSocketFrames: WebSocketFrame.close(.shutdown)) : ReactorScene.shutdownFrame
            }
            for reader in readers {
                let (isWebSocket, bytes) = try await reader.value
                if isWebSocket {
                    expectSame(bytes, head + WebSocketFrame.close(.shutdown))
                } else {
                    #expect(try ChunkedBody(bytes).payloads == ["hello", "retry: 1\n\n"])
                }
            }
            #expect(await scene.reactor.webSocketCount == 0)
        }
    }
}
