import TestSupport
import Testing

@testable import Streaming

/// The bytes on the wire, and which client gets them.
@Suite("The reactor", .deadline) struct StreamReactorTests {
    @Test(
        "The head comes with the first chunk, then each frame as a chunk, then the end of the body and the connection")
    func wire() async throws {
        try await withReactor { scene in
            let firstFrame = Frame(head: Array("HEAD\r\n\r\n".utf8), payload: Array("one".utf8), isChunked: true)
            let stream = try await scene.open(firstFrame: firstFrame)
            #expect(await scene.send("two", to: stream) == .sent)
            #expect(await scene.send("three", to: stream) == .sent)
            #expect(await scene.end(stream, with: "four"))
            let bytes = try await onThread { try stream.client.readToEnd() }
            #expect(
                String(decoding: bytes, as: UTF8.self)
                    == "HEAD\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n4\r\nfour\r\n0\r\n\r\n")
        }
    }

    @Test(
        "The head and the first state leave in one write, and each later frame in one write of its own",
        arguments: [true, false])
    func oneWrite(isChunked: Bool) async throws {
        try await withReactor { scene in
            // A socket of this type keeps the boundaries of writes: each read returns one.
            let (server, client) = try packetSockets()
            let id = StreamID(slot: 0, generation: 0)
            await scene.reactor.adopt(
                id, server, as: isChunked ? .chunks : .bare,
                firstFrame: Frame(
                    head: Array("HEAD\r\n\r\n".utf8), payload: Array("state".utf8), isChunked: isChunked),
                expiresAt: scene.now + .seconds(3600), livesUntil: scene.now + .seconds(3600))
            #expect(await scene.reactor.send(Frame(Array("news".utf8)), to: [id]).isEmpty)
            let writes = try await onThread { [try client.read(), try client.read()] }
            #expect(
                writes.map { String(decoding: $0, as: UTF8.self) }
                    == (isChunked
                        ? ["HEAD\r\n\r\n5\r\nstate\r\n", "4\r\nnews\r\n"] : ["HEAD\r\n\r\nstate", "news"]))
        }
    }

    @Test("A client of HTTP/1.0 gets bare payloads, and the end of the connection ends the body")
    func http10() async throws {
        try await withReactor { scene in
            let firstFrame = Frame(head: Array("HEAD\r\n\r\n".utf8), payload: Array("one".utf8), isChunked: false)
            let stream = try await scene.open(firstFrame: firstFrame, isChunked: false)
            #expect(await scene.send("two", to: stream) == .sent)
            await scene.end(stream, with: "three")
            let bytes = try await onThread { try stream.client.readToEnd() }
            #expect(String(decoding: bytes, as: UTF8.self) == "HEAD\r\n\r\nonetwothree")
        }
    }

    @Test("One frame goes to many streams, and the outcome names each exception by its index")
    func many() async throws {
        try await withReactor { scene in
            var streams: [ReactorScene.Stream] = []
            for slot in 0..<20 as Range<UInt32> {
                let isChunked = slot.isMultiple(of: 2)
                streams.append(
                    try await scene.open(
                        slot, firstFrame: Frame(head: [], payload: [UInt8(ascii: "!")], isChunked: isChunked),
                        isChunked: isChunked))
            }
            await scene.end(streams[3])
            await scene.end(streams[8])
            let stranger = StreamID(slot: 99, generation: 0)
            let exceptions = await scene.reactor.send(
                Frame(Array("news".utf8)), to: [stranger] + streams.map(\.id))
            #expect(exceptions.map(\.index) == [0, 4, 9])
            #expect(exceptions.allSatisfy { $0.outcome == .gone })
            for (index, stream) in streams.enumerated() {
                await scene.end(stream)
                let text = String(decoding: try await onThread { try stream.client.readToEnd() }, as: UTF8.self)
                let news = index == 3 || index == 8 ? "" : index.isMultiple(of: 2) ? "4\r\nnews\r\n" : "news"
                #expect(text == (index.isMultiple(of: 2) ? "1\r\n!\r\n\(news)3\r\nbye\r\n0\r\n\r\n" : "!\(news)bye"))
            }
        }
    }

    @Test("The generation tells the streams of one slot apart")
    func generations() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            var old: [StreamID] = []
            for generation in 0..<50 as Range<UInt32> {
                let stream = try await scene.open(3, generation: generation)
                #expect(await scene.send("mine", to: stream) == .sent)
                for id in old {
                    #expect(await scene.reactor.send(Frame(Array("not mine".utf8)), to: [id]).first?.outcome == .gone)
                    #expect(await scene.reactor.end(id, with: Frame([1], isLast: true)) == false)
                }
                await scene.end(stream)
                let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
                #expect(body.payloads == ["hello", "mine", "bye"])
                #expect(body.isComplete)
                withExtendedLifetime(stream) {}
                stream.client.endWriting()
                #expect(try await events.next() == .closed(stream.id))
                old = [stream.id] + old.prefix(2)
            }
        }
    }

    @Test("A stream ends once, with the first last frame")
    func endsOnce() async throws {
        try await withReactor { scene in
            let stream = try await scene.open()
            #expect(await scene.end(stream, with: "first"))
            await scene.end(stream, with: "second")
            #expect(await scene.send("third", to: stream) == .gone)
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.payloads == ["hello", "first"])
        }
    }

    /// Every seventh stream has ended before.
    @Test("A fan-out on all cores reaches each stream with its own bytes, and no ended stream")
    func fanOut() async throws {
        try await withReactor { scene in
            var streams: [ReactorScene.Stream] = []
            for slot in 0..<700 as Range<UInt32> {
                let isChunked = !slot.isMultiple(of: 3)
                let firstFrame = Frame(head: [], payload: Array("\(slot)".utf8), isChunked: isChunked)
                streams.append(try await scene.open(slot, firstFrame: firstFrame, isChunked: isChunked))
            }
            for index in stride(from: 0, to: 700, by: 7) { await scene.end(streams[index]) }
            for round in 0..<5 {
                let frame = Frame(Array("round \(round)".utf8))
                let exceptions = await scene.reactor.send(frame, to: streams.map(\.id))
                #expect(exceptions.map(\.index) == Array(stride(from: 0, to: 700, by: 7)))
                #expect(exceptions.allSatisfy { $0.outcome == .gone })
            }
            for (index, stream) in streams.enumerated() {
                await scene.end(stream)
                let bytes = try await onThread { try stream.client.readToEnd() }
                let rounds = index.isMultiple(of: 7) ? [] : (0..<5).map { "round \($0)" }
                let expected = ["\(index)"] + rounds + ["bye"]
                if index.isMultiple(of: 3) {
                    #expect(String(decoding: bytes, as: UTF8.self) == expected.joined())
                } else {
                    #expect(try ChunkedBody(bytes).payloads == expected)
                }
            }
        }
    }
}
