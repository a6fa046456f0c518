import Domain
import Foundation
import Testing

@testable import Streaming

@Suite("A frame of a WebSocket") struct WebSocketFrameTests {
    @Test(
        "The length takes as few bytes as possible",
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

    @Test("The frame of a state is the progress object and nothing else")
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
        #expect(object?.count == 11)
    }

    @Test("A Close frame has the code and the reason")
    func close() {
        #expect(WebSocketFrame.close(.revoked) == [0x88, 9, 0x03, 0xF0] + Array("revoked".utf8))
        #expect(WebSocketFrame.close(echoing: 4000) == [0x88, 2, 0x0F, 0xA0])
        #expect(WebSocketFrame.close(echoing: nil) == [0x88, 0])
        #expect(WebSocketFrame.ping == [0x89, 0])
        #expect(WebSocketFrame.pong([1, 2]) == [0x8A, 2, 1, 2])
    }

    /// The server cuts a frame when a right ends while the client has no room.
    @Test("The WebSocket frame that has begun is finished, and the ones after it are dropped")
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

    @Test("Only the last of several pings is answered, and messages get no answer")
    func pings() {
        var conversation = conversation()
        let bytes = ClientFrame.ping([1]).bytes + ClientFrame.text("x").bytes + ClientFrame.ping([2]).bytes
        #expect(conversation.receive((bytes + ClientFrame.text("y").bytes).span, at: start, isOpen: true) == .pong([2]))
        #expect(conversation.receive(ClientFrame.text("z").bytes.span, at: start, isOpen: true) == nil)
        #expect(!conversation.hasClientEnded)
        #expect(conversation.end == .ended)
    }

    @Test("A client's Close frame ends the conversation: earlier pings get no answer, and later frames do not count")
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

    @Test("Any byte from the client shows that it is there")
    func awaited() {
        var conversation = conversation()
        let isDue = conversation.ping(now: start, interval: 600)
        #expect(isDue)
        #expect(conversation.isAwaited)
        // Not a whole frame.
        #expect(conversation.receive([0x8A].span, at: start, isOpen: true) == nil)
        #expect(!conversation.isAwaited)
    }

    @Test("The client has an allowance for each minute")
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
        // More bytes do not change that.
        for _ in 0..<10 {
            #expect(conversation.receive(message.span, at: last + 1199, isOpen: false) == .violation(.tooMuch))
        }
    }

    @Test("Single bytes count for more than one byte each")
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

    /// Most streams are not WebSockets and must not pay for them.
    @Test("The conversation is beside the slot of its stream, which stays as small as before")
    func size() {
        #expect(MemoryLayout<StreamSlot>.stride == 64)
        #expect(MemoryLayout<WebSocketConversation>.stride <= 80)
    }
}
