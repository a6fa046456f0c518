import Synchronization
import TestSupport
import TestTime
import Testing

@testable import Streaming

/// Heartbeats, deadlines, and the end of the server.
@Suite("The reactor and time", .deadline) struct ReactorTimeTests {
    @Test("A quiet stream gets whole heartbeats and goes on", arguments: [true, false])
    func heartbeats(isChunked: Bool) async throws {
        let clock = ManualClock()
        try await withReactor(heartbeat: .seconds(15), clock: clock) { scene in
            let stream = try await scene.open(
                firstFrame: Frame(head: [], payload: Array("hello".utf8), isChunked: isChunked), isChunked: isChunked)
            let hello = isChunked ? "5\r\nhello\r\n" : "hello"
            let heartbeat = isChunked ? "d\r\n: heartbeat\n\n\r\n" : ": heartbeat\n\n"
            #expect(try await stream.read(hello.utf8.count) == hello)
            for _ in 0..<5 {
                clock.advance(by: .seconds(15) + Tick.length)
                #expect(try await stream.read(heartbeat.utf8.count) == heartbeat)
            }
            #expect(await scene.send("news", to: stream) == .sent)
            await scene.end(stream)
            let rest = String(decoding: try await onThread { try stream.client.readToEnd() }, as: UTF8.self)
            #expect(rest == (isChunked ? "4\r\nnews\r\n3\r\nbye\r\n0\r\n\r\n" : "newsbye"))
        }
    }

    @Test("After a write, the next heartbeat comes a whole interval later")
    func heartbeatPutOff() async throws {
        let clock = ManualClock()
        try await withReactor(heartbeat: .seconds(15), clock: clock) { scene in
            let stream = try await scene.open()
            clock.advance(by: .seconds(14))
            #expect(await scene.send("news", to: stream) == .sent)
            clock.advance(by: .seconds(15))
            #expect(await scene.send("more", to: stream) == .sent)
            clock.advance(by: .seconds(15) + Tick.length)
            let expected = "5\r\nhello\r\n4\r\nnews\r\n4\r\nmore\r\nd\r\n: heartbeat\n\n\r\n"
            #expect(try await stream.read(expected.utf8.count) == expected)
        }
    }

    @Test("A heartbeat never interrupts an unfinished frame")
    func heartbeatWhileBlocked() async throws {
        let clock = ManualClock()
        try await withReactor(heartbeat: .seconds(5), clock: clock) { scene in
            let (stream, unfinished) = try await scene.blocked()
            // The time of a few heartbeats of another stream.
            let other = try await scene.open(1)
            _ = try await other.read(10)
            for _ in 0..<5 {
                clock.advance(by: .seconds(5) + Tick.length)
                _ = try await other.read(18)
            }
            await scene.end(stream)
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            let sent = body.payloads.filter { $0 != ": heartbeat\n\n" }
            #expect(sent.count == 3)
            expectSame(
                Array(sent.joined().utf8),
                Array("hello".utf8) + unfinished.bytes[unfinished.payload] + Array("bye".utf8))
            #expect(body.isComplete)
        }
    }

    @Test("A client that takes nothing of an unfinished frame for a minute is closed")
    func stalled() async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let (stream, _) = try await scene.blocked()
            clock.advance(by: .seconds(59))
            #expect(await scene.send("no room", to: stream) == .refused)
            clock.advance(by: .seconds(1) + Tick.length)
            #expect(try await events.next() == .closed(stream.id))
            #expect(try !openSockets().contains(stream.identity))
        }
    }

    @Test(
        "When a token expires or a lifetime is over, the delegate learns of it once and ends the stream",
        arguments: [true, false], [Duration.zero, .milliseconds(120), .seconds(-5)])
    func timeIsUp(isExpiry: Bool, after delay: Duration) async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            scene.delegate.lastFrame.withLock { $0 = Frame(Array("time".utf8), isLast: true) }
            let stream = try await scene.open(
                expiresIn: isExpiry ? delay : .seconds(3600), livesFor: isExpiry ? .seconds(3600) : delay)
            if delay > .zero {
                clock.advance(by: delay - .milliseconds(1))
                #expect(await scene.send("in time", to: stream) == .sent)
                clock.advance(by: Tick.length)
            }
            #expect(try await events.next() == (isExpiry ? .expired(stream.id) : .outlived(stream.id)))
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.payloads == ["hello"] + (delay > .zero ? ["in time"] : []) + ["time"])
            #expect(body.isComplete)
            stream.client.endWriting()
            #expect(try await events.next() == .closed(stream.id))
        }
    }

    @Test("If the delegate lets the stream live, the same deadline does not return, and the other one still comes")
    func letLive() async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let stream = try await scene.open(expiresIn: .seconds(10), livesFor: .seconds(200))
            clock.advance(by: .seconds(10))
            #expect(try await events.next() == .expired(stream.id))
            clock.advance(by: .seconds(190))
            #expect(try await events.next() == .outlived(stream.id))
            #expect(await scene.send("still here", to: stream) == .sent)
            stream.client.endWriting()
            #expect(try await events.next() == .closed(stream.id))
        }
    }

    @Test("A deadline comes for a stream without room too, and the frame that has begun is finished first")
    func timeIsUpWhileBlocked() async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            scene.delegate.lastFrame.withLock { $0 = Frame(Array("time".utf8), isLast: true) }
            let firstFrame = Frame(head: [], payload: [UInt8](repeating: 1, count: 3_000_000), isChunked: true)
            let stream = try await scene.open(firstFrame: firstFrame, receiveBuffer: 4096, expiresIn: .seconds(10))
            clock.advance(by: .seconds(10))
            #expect(try await events.next() == .expired(stream.id))
            let bytes = try await onThread { try stream.client.readToEnd() }
            expectSame(bytes, firstFrame.bytes + Array("4\r\ntime\r\n0\r\n\r\n".utf8))
        }
    }

    @Test("Deadlines of ended streams do not reach the next stream in their slot")
    func staleTimes() async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            for generation in 0..<20 as Range<UInt32> {
                let stream = try await scene.open(0, generation: generation, expiresIn: .seconds(15))
                stream.client.endWriting()
                #expect(try await events.next() == .closed(stream.id))
            }
            let stream = try await scene.open(0, generation: 20, expiresIn: .seconds(50))
            clock.advance(by: .seconds(15))
            #expect(await scene.send("not mine", to: stream) == .sent)
            clock.advance(by: .seconds(35))
            #expect(try await events.next() == .expired(stream.id))
            #expect(await scene.send("still here", to: stream) == .sent)
        }
    }

    // MARK: - The end of the server

    @Test("At the end of the server every stream gets the reconnection delay, and the reactor waits for all")
    func shutDown() async throws {
        try await withReactor { scene in
            var streams: [ReactorScene.Stream] = []
            for slot in 0..<100 as Range<UInt32> { streams.append(try await scene.open(slot)) }
            let readers = streams.map { stream in
                Task {
                    try await onThread {
                        let bytes = try stream.client.readToEnd()
                        stream.client.endWriting()
                        return bytes
                    }
                }
            }
            await scene.reactor.shutDown(within: TestDeadline.event) { _ in ReactorScene.shutdownFrame }
            #expect(await scene.reactor.streamCount == 0)
            for reader in readers {
                let body = try ChunkedBody(try await reader.value)
                #expect(body.payloads == ["hello", "retry: 1\n\n"])
                #expect(body.isComplete)
            }
            let open = try openSockets()
            #expect(!streams.contains { open.contains($0.identity) })
        }
    }

    @Test("A stream that comes after the end of the server gets the reconnection delay too")
    func late() async throws {
        try await withReactor { scene in
            await scene.reactor.shutDown(within: TestDeadline.event) { _ in ReactorScene.shutdownFrame }
            let stream = try await scene.open()
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.payloads == ["hello", "retry: 1\n\n"])
            #expect(body.isComplete)
        }
    }

    @Test("At the end of the server a client that does not read is closed")
    func givesUp() async throws {
        let clock = ManualClock()
        try await withReactor(clock: clock) { scene in
            let (blocked, _) = try await scene.blocked()
            let idle = try await scene.open(1)
            let end = Task { await scene.reactor.shutDown(within: .seconds(5)) { _ in ReactorScene.shutdownFrame } }
            try await eventually("every stream is closed") {
                clock.advance(by: .seconds(1))
                return await scene.reactor.streamCount == 0
            }
            await end.value
            let open = try openSockets()
            #expect(!open.contains(blocked.identity))
            #expect(!open.contains(idle.identity))
            // The stream that could be written to has its whole end.
            #expect(try ChunkedBody(try await onThread { try idle.client.readToEnd() }).isComplete)
        }
    }

    @Test("The reactor waits for a stream that is ending already, and sends it nothing more")
    func endingAlready() async throws {
        try await withReactor { scene in
            let (stream, _) = try await scene.blocked()
            await scene.end(stream, with: "bye")
            let reader = Task {
                try await onThread {
                    let bytes = try stream.client.readToEnd()
                    stream.client.endWriting()
                    return bytes
                }
            }
            await scene.reactor.shutDown(within: TestDeadline.event) { _ in ReactorScene.shutdownFrame }
            let body = try ChunkedBody(try await reader.value)
            #expect(body.payloads.count == 3)
            #expect(body.payloads.last == "bye")
            #expect(body.isComplete)
        }
    }
}
