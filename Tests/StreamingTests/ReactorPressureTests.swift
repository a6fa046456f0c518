import TestSupport
import Testing

@testable import Streaming

/// Clients that do not read.
///
/// At most one frame is unfinished, and a frame that has begun arrives whole.
@Suite("The reactor and a slow client", .deadline) struct ReactorPressureTests {
    @Test(
        "A frame without room goes out piece by piece, and until then the stream takes no other",
        arguments: [true, false])
    func unfinished(isChunked: Bool) async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let (stream, large) = try await scene.blocked(isChunked: isChunked)
            for _ in 0..<10 { #expect(await scene.send("too early", to: stream) == .refused) }
            let begin = isChunked ? Array("5\r\nhello\r\n".utf8) : Array("hello".utf8)
            let expected = begin + (isChunked ? large.bytes : Array(large.bytes[large.payload]))
            let bytes = try await onThread { try stream.client.read(exactly: expected.count) }
            expectSame(bytes, expected)
            #expect(try await events.next() == .drained(stream.id))
            #expect(await scene.send("now", to: stream) == .sent)
            await scene.end(stream)
            let rest = try await onThread { try stream.client.readToEnd() }
            #expect(
                String(decoding: rest, as: UTF8.self)
                    == (isChunked ? "3\r\nnow\r\n3\r\nbye\r\n0\r\n\r\n" : "nowbye"))
        }
    }

    @Test("A first frame without room goes out piece by piece")
    func unfinishedOpening() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let firstFrame = Frame(
                head: Array("HEAD\r\n\r\n".utf8), payload: [UInt8](repeating: UInt8(ascii: "o"), count: 2_000_000),
                isChunked: true)
            let stream = try await scene.open(firstFrame: firstFrame, receiveBuffer: 4096)
            #expect(await scene.send("too early", to: stream) == .refused)
            let bytes = try await onThread { try stream.client.read(exactly: firstFrame.bytes.count) }
            expectSame(bytes, firstFrame.bytes)
            #expect(try await events.next() == .drained(stream.id))
            #expect(await scene.send("now", to: stream) == .sent)
        }
    }

    @Test("A last state without room is refused, and the stream goes on")
    func finish() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let last = Frame(Array("last".utf8), isLast: true)
            let (stream, large) = try await scene.blocked()
            #expect(await scene.reactor.finish(stream.id, with: last) == .refused)
            _ = try await onThread { try stream.client.read(exactly: 10 + large.bytes.count) }
            #expect(try await events.next() == .drained(stream.id))
            #expect(await scene.reactor.finish(stream.id, with: last) == .sent)
            let rest = try await onThread { try stream.client.readToEnd() }
            #expect(String(decoding: rest, as: UTF8.self) == "4\r\nlast\r\n0\r\n\r\n")
            #expect(await scene.reactor.finish(stream.id, with: last) == .gone)
        }
    }

    @Test("A last state that finds the socket full is refused, and the delegate learns when there is room")
    func finishFull() async throws {
        try await withReactor { scene in
            var events = scene.delegate.events.makeAsyncIterator()
            let stream = try await scene.open(receiveBuffer: 4096)
            // The socket is exactly full: the kernel takes nothing of the next frame.
            let piece = Frame([UInt8](repeating: UInt8(ascii: "x"), count: 1000))
            var sent = 0
            while await scene.send(piece, to: stream) == .sent { sent += 1 }
            let last = Frame(Array("last".utf8), isLast: true)
            #expect(await scene.reactor.finish(stream.id, with: last) == .refused)
            let begun = 10 + (sent + 1) * piece.bytes.count
            _ = try await onThread { try stream.client.read(exactly: begun) }
            #expect(try await events.next() == .drained(stream.id))
            #expect(await scene.reactor.finish(stream.id, with: last) == .sent)
            let rest = try await onThread { try stream.client.readToEnd() }
            #expect(String(decoding: rest, as: UTF8.self) == "4\r\nlast\r\n0\r\n\r\n")
        }
    }

    @Test("Every accepted frame arrives whole and in order, however slowly the client reads")
    func slowReader() async throws {
        try await withReactor { scene in
            let stream = try await scene.open(receiveBuffer: 4096)
            let read = { @Sendable in
                var bytes: [UInt8] = []
                var size = 1
                while true {
                    let more = try stream.client.read(atMost: size)
                    if more.isEmpty { return bytes }
                    bytes += more
                    size = size % 7919 + 97
                }
            }
            var events = scene.delegate.events.makeAsyncIterator()
            var accepted = ["hello"]
            var reader: Task<[UInt8], any Error>?
            for number in 0..<600 {
                let text = "\(number):" + String(repeating: "\(number % 10)", count: number * 37 % 20_000)
                switch await scene.send(text, to: stream) {
                case .sent: accepted.append(text)
                case .started:
                    accepted.append(text)
                    // Nothing is read before the socket is full once, because on a loaded machine it might never be.
                    if reader == nil { reader = Task { try await onThread(read) } }
                    #expect(try await events.next() == .drained(stream.id))
                case .refused, .gone: Issue.record("the stream refused a frame without a reason")
                }
            }
            await scene.end(stream)
            let body = try ChunkedBody(try await #require(reader).value)
            #expect(body.payloads == accepted + ["bye"])
            #expect(body.isComplete)
        }
    }

    @Test(
        "A stream that ends during an unfinished frame sends the rest, the last frame, and the end",
        arguments: [true, false])
    func endWhileBlocked(isChunked: Bool) async throws {
        try await withReactor { scene in
            let (stream, unfinished) = try await scene.blocked(isChunked: isChunked)
            #expect(await scene.end(stream))
            #expect(await scene.send("after the end", to: stream) == .gone)
            let bytes = try await onThread { try stream.client.readToEnd() }
            if isChunked {
                expectSame(bytes, Array("5\r\nhello\r\n".utf8) + unfinished.bytes + Array("3\r\nbye\r\n0\r\n\r\n".utf8))
            } else {
                expectSame(bytes, Array("hello".utf8) + unfinished.bytes[unfinished.payload] + Array("bye".utf8))
            }
        }
    }

    @Test("When the right ends and only the head has begun, the first payload is not sent")
    func unbegunState() async throws {
        try await withReactor { scene in
            // The head is larger than the socket's room.
            let head = Array(
                ("HTTP/1.1 200 OK\r\n" + String(repeating: "X: \(String(repeating: "y", count: 1000))\r\n", count: 5000)
                    + "\r\n").utf8)
            let firstFrame = Frame(head: head, payload: Array("a state".utf8), isChunked: true)
            let stream = try await scene.open(firstFrame: firstFrame, receiveBuffer: 4096)
            let last = Frame(Array("revoked".utf8), isLast: true)
            #expect(await scene.reactor.end(stream.id, with: last, beginsNoOther: true))
            let bytes = try await onThread { try stream.client.readToEnd() }
            expectSame(bytes, head + last.bytes)
        }
    }

    /// The kernel takes one byte or none.
    ///
    /// It may take a part of more bytes.
    @Test("When the right ends, a frame that waits for room is dropped")
    func unbegun() async throws {
        try await withReactor { scene in
            let firstFrame = Frame(head: [], payload: Array("hello".utf8), isChunked: false)
            let stream = try await scene.open(firstFrame: firstFrame, isChunked: false, receiveBuffer: 4096)
            let last = Frame(Array("revoked".utf8), isLast: true)
            let sent = await scene.reactor.fill(stream.id, with: Frame([UInt8(ascii: "x")]), thenRevokeWith: last)
            let bytes = try await onThread { try stream.client.readToEnd() }
            expectSame(
                bytes, Array("hello".utf8) + [UInt8](repeating: UInt8(ascii: "x"), count: sent) + Array("revoked".utf8))
        }
    }

    @Test("When the right ends, a frame that has begun is finished")
    func begun() async throws {
        try await withReactor { scene in
            let (stream, unfinished) = try await scene.blocked()
            let last = Frame(Array("revoked".utf8), isLast: true)
            #expect(await scene.reactor.end(stream.id, with: last, beginsNoOther: true))
            let bytes = try await onThread { try stream.client.readToEnd() }
            expectSame(bytes, Array("5\r\nhello\r\n".utf8) + unfinished.bytes + last.bytes)
        }
    }

    @Test("A first frame that waits for room goes out before the last frame")
    func unbegunOpening() async throws {
        try await withReactor { scene in
            let firstFrame = Frame(
                head: Array("HEAD\r\n\r\n".utf8), payload: [UInt8](repeating: UInt8(ascii: "o"), count: 2_000_000),
                isChunked: true)
            let stream = try await scene.open(firstFrame: firstFrame, receiveBuffer: 4096)
            let last = Frame(Array("revoked".utf8), isLast: true)
            await scene.reactor.end(stream.id, with: last, beginsNoOther: true)
            expectSame(try await onThread { try stream.client.readToEnd() }, firstFrame.bytes + last.bytes)
        }
    }

    @Test("A last frame without room is finished too")
    func largeLastWord() async throws {
        try await withReactor { scene in
            let stream = try await scene.open(receiveBuffer: 4096)
            let last = String(repeating: "last ", count: 400_000)
            await scene.end(stream, with: last)
            let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
            #expect(body.payloads.count == 2)
            expectSame(Array(body.text.utf8), Array(("hello" + last).utf8))
            #expect(body.isComplete)
        }
    }

    @Test("One client that does not read delays no other client")
    func others() async throws {
        try await withReactor { scene in
            var quick: [ReactorScene.Stream] = []
            for slot in 1...600 as ClosedRange<UInt32> { quick.append(try await scene.open(slot)) }
            // Last, because the reactor closes a client that takes nothing for a minute.
            let (slow, _) = try await scene.blocked()
            for round in 0..<3 {
                let exceptions = await scene.reactor.send(
                    Frame(Array("\(round)".utf8)), to: quick.map(\.id) + [slow.id])
                #expect(exceptions.map(\.index) == [600])
                #expect(exceptions.first?.outcome == .refused)
            }
            for stream in quick {
                await scene.end(stream)
                let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
                #expect(body.payloads == ["hello", "0", "1", "2", "bye"])
            }
        }
    }

    @Test("In a fan-out, a frame without room begins once and is finished")
    func fanOut() async throws {
        try await withReactor { scene in
            var streams: [ReactorScene.Stream] = []
            for slot in 0..<600 as Range<UInt32> {
                streams.append(try await scene.open(slot, receiveBuffer: slot < 5 ? 4096 : nil))
            }
            let frame = Frame([UInt8](repeating: UInt8(ascii: "f"), count: 60_000))
            var taken = [Int](repeating: 0, count: 600)
            for _ in 0..<20 {
                var outcomes = [SendOutcome](repeating: .sent, count: 600)
                for (index, outcome) in await scene.reactor.send(frame, to: streams.map(\.id)) {
                    outcomes[index] = outcome
                }
                for index in streams.indices {
                    #expect(outcomes[index] != .gone)
                    if outcomes[index] != .refused { taken[index] += 1 }
                }
            }
            #expect(taken.prefix(5).allSatisfy { $0 < 20 }, "the test has not tested anything")
            for (index, stream) in streams.enumerated() where index < 5 || index > 590 {
                await scene.end(stream)
                let body = try ChunkedBody(try await onThread { try stream.client.readToEnd() })
                #expect(body.isComplete)
                #expect(body.payloads.count == taken[index] + 2)
            }
        }
    }
}

extension StreamReactor {
    /// Sends a frame as often as there is room, and once more.
    ///
    /// Then it ends the stream, before there can be room again.
    fileprivate func fill(_ id: StreamID, with frame: Frame, thenRevokeWith last: Frame) -> Int {
        var sent = 0
        while true {
            switch send(frame, to: [id]).first?.outcome {
            case nil: sent += 1
            case .started:
                end(id, with: last, beginsNoOther: true)
                return sent
            default:
                Issue.record("the frame was neither sent nor begun")
                return sent
            }
        }
    }
}

/// Compares bytes that are too many to be printed.
func expectSame(_ bytes: [UInt8], _ expected: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
    if bytes == expected { return }
    let difference = zip(bytes, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    Issue.record(
        "\(bytes.count) bytes instead of \(expected.count), other from \(difference ?? min(bytes.count, expected.count)) on",
        sourceLocation: sourceLocation)
}
