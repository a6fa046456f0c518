import Domain
import Foundation
import Testing

@testable import Streaming

@Suite("A frame of a WebSocket") struct WebSocketFrameTests {
    @Test(
        "has its length in as few bytes as it takes",
        arguments: [
            (0, [0x81, 0]), (125, [0x81, 125]), (126, [0x81, 126, 0, 126]), (65_535, [0x81, 126, 255, 255]),
            (65_536, [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] as [(Int, [UInt8])])
    func length(count: Int, header: [UInt8]) {
        let payload = [UInt8](repeating: 7, count: count)
        let bytes = WebSocketFrame.frame(.text, payload)
        #expect(bytes == header + payload)
        #expect(WebSocketFrame.end(ofFrameAt: 0, in: bytes) == bytes.count)
        #expect(WebSocketFrame.end(ofFrameAt: 3, in: [1, 2, 3] + bytes + [4]) == bytes.count + 3)
    }

    @Test("of a state is the progress object and nothing else")
    func state() throws {
        let progress = SessionProgress(
            sessionID: .random(), status: .transcribing, progress: 45, message: "Grüße \"a\"\n", error: nil,
            estimatedTimeRemaining: nil, version: 7, attempt: 1, createdAt: .now(), updatedAt: .now())
        let frame = WebSocketFrame.state(progress)
        var expected: [UInt8] = []
        appendJSON(progress, to: &expected)
        #expect(frame == WebSocketFrame.frame(.text, expected))
        let object = try JSONSerialization.jsonObject(with: Data(frame.dropFirst(4))) as? [String: Any]
        #expect(object?["message"] as? String == "Grüße \"a\"\n")
        #expect(object?.count == 10)
    }

    @Test("of an end has the code and a few words")
    func close() {
        #expect(WebSocketFrame.close(.revoked) == [0x88, 9, 0x03, 0xF0] + Array("revoked".utf8))
        #expect(WebSocketFrame.close(echoing: 4000) == [0x88, 2, 0x0F, 0xA0])
        #expect(WebSocketFrame.close(echoing: nil) == [0x88, 0])
        #expect(WebSocketFrame.ping == [0x89, 0])
        #expect(WebSocketFrame.pong([1, 2]) == [0x8A, 2, 1, 2])
    }

    /// What is cut is what goes out when a right ends while a client has no room.
    @Test("that has begun is gone on with to its end, and those behind it are not")
    func cut() {
        let head = Array("HEAD\r\n\r\n".utf8)
        let frames = [3, 0, 200, 70_000].map { WebSocketFrame.frame(.text, [UInt8](repeating: 1, count: $0)) }
        var ends = [head.count]
        for frame in frames { ends.append((ends.last ?? 0) + frame.count) }
        for hasHead in [true, false] {
            let frame = Frame(head: hasHead ? head : [], webSocketFrames: Array(frames.joined()))
            let ends = ends.map { hasHead ? $0 : $0 - head.count }
            for offset in [0, 1, 7, 8, 9, 12, 13, 14, 15, 16, 100, 217, 218, 219, 220, 50_000, frame.bytes.count] {
                let end = frame.endOfBegun(at: offset)
                #expect(end == ends.first { $0 >= offset })
                let cut = frame.prefix(upTo: end)
                #expect(cut.bytes == Array(frame.bytes[..<end]))
                #expect(cut.endOfBegun(at: offset) == end)
            }
        }
    }
}

@Suite("A conversation over a WebSocket") struct WebSocketConversationTests {
    private let start = Tick(.seconds(10))

    private func conversation() -> WebSocketConversation {
        WebSocketConversation(now: start, nextPing: start + 600)
    }

    @Test("answers the last ping of those that come together, and nothing else that is allowed")
    func pings() {
        var conversation = conversation()
        let bytes = ClientFrame.ping([1]).bytes + ClientFrame.text("x").bytes + ClientFrame.ping([2]).bytes
        #expect(conversation.receive((bytes + ClientFrame.text("y").bytes).span, at: start, isOpen: true) == .pong([2]))
        #expect(conversation.receive(ClientFrame.text("z").bytes.span, at: start, isOpen: true) == nil)
        #expect(!conversation.hasClientEnded)
        #expect(conversation.end == .ended)
    }

    @Test("is over with the client's end, whatever is said behind it, and a ping before it is not answered any more")
    func close() {
        for (isOpen, end) in [(true, StreamEnd.clientClosed), (false, .ended)] {
            var conversation = conversation()
            let bytes = ClientFrame.ping([1]).bytes + ClientFrame.close(1001).bytes + ClientFrame.ping([2]).bytes
            #expect(conversation.receive(bytes.span, at: start, isOpen: isOpen) == .close(1001))
            #expect(conversation.hasClientEnded)
            #expect(conversation.end == end)
            #expect(conversation.receive(ClientFrame.ping([3]).bytes.span, at: start, isOpen: false) == nil)
        }
    }

    @Test("knows that somebody is there by whatever is heard")
    func awaited() {
        var conversation = conversation()
        #expect(conversation.ping(now: start, interval: 600))
        #expect(conversation.isAwaited)
        // Not even a whole frame.
        #expect(conversation.receive([0x8A].span, at: start, isOpen: true) == nil)
        #expect(!conversation.isAwaited)
    }

    @Test("has an allowance for each minute")
    func allowance() {
        var conversation = conversation()
        let message = ClientFrame(opcode: 2, payload: [UInt8](repeating: 0, count: 4088)).bytes
        #expect(message.count == 4096)
        for minute in 0..<3 {
            let now = start + minute * WebSocketConversation.window
            for _ in 0..<256 { #expect(conversation.receive(message.span, at: now, isOpen: true) == nil) }
        }
        let last = start + 3 * WebSocketConversation.window
        for _ in 0..<256 { #expect(conversation.receive(message.span, at: last, isOpen: true) == nil) }
        #expect(conversation.receive([0x81].span, at: last + 1199, isOpen: true) == .violation(.tooMuch))
        #expect(conversation.end == .violation)
        #expect(conversation.hasClientEnded)
        // However much follows.
        for _ in 0..<10 {
            #expect(conversation.receive(message.span, at: last + 1199, isOpen: false) == .violation(.tooMuch))
        }
    }

    @Test("takes no more single bytes than it takes time to read them")
    func singleBytes() {
        var conversation = conversation()
        var answers = 0
        let bytes = ClientFrame(opcode: 2, payload: [UInt8](repeating: 0, count: 60_000)).bytes
        for byte in bytes.prefix(16_384) where conversation.receive([byte].span, at: start, isOpen: true) != nil {
            answers += 1
        }
        #expect(answers == 0)
        #expect(conversation.receive([bytes[16_384]].span, at: start, isOpen: true) == .violation(.tooMuch))
    }

    /// Most streams are no WebSockets and pay nothing for them.
    @Test("is kept beside the slot of its stream, which is no larger for it")
    func size() {
        #expect(MemoryLayout<StreamSlot>.stride == 64)
        #expect(MemoryLayout<WebSocketConversation>.stride <= 80)
    }
}
