import Testing

@testable import Streaming

/// Frames of a WebSocket's client, as the bytes of RFC 6455, 5.2.
@Suite("The reader of a client's frames") struct ClientFrameReaderTests {
    typealias Event = ClientFrameReader.Event

    private func events(_ frames: ClientFrame...) -> [Event] { ClientFrameReader.events(in: frames.map(\.bytes)) }

    /// The examples of RFC 6455, 5.7, that a client can send.
    @Test("The reader reads the examples of the RFC")
    func examples() {
        let hello: [UInt8] = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]
        #expect(ClientFrameReader.events(in: [hello]) == [.message(bytes: 5)])
        let pong: [UInt8] = [0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]
        #expect(ClientFrameReader.events(in: [pong]) == [.pong])
        let ping: [UInt8] = [0x89] + pong.dropFirst()
        #expect(ClientFrameReader.events(in: [ping]) == [.ping(Array("Hello".utf8))])
    }

    @Test("The reader removes the mask", arguments: [0, 1, 3, 4, 5, 124, 125])
    func mask(count: Int) {
        let payload = (0..<count).map { UInt8($0) }
        for mask: [UInt8] in [[0, 0, 0, 0], [1, 2, 3, 4], [255, 0, 128, 7]] {
            #expect(events(ClientFrame(opcode: 9, payload: payload, mask: mask)) == [.ping(payload)])
        }
    }

    @Test("The reader joins the parts of a message, and reads control frames between them")
    func fragments() {
        let parts = [
            ClientFrame.text("one", isFinal: false), .ping([1]),
            ClientFrame(opcode: 0, payload: [2, 3], isFinal: false),
            ClientFrame(opcode: 10), ClientFrame(opcode: 0, payload: [4]), ClientFrame(opcode: 2, payload: [5]),
        ]
        let expected: [Event] = [.ping([1]), .pong, .message(bytes: 6), .message(bytes: 1)]
        #expect(ClientFrameReader.events(in: parts.map(\.bytes)) == expected)
    }

    @Test("A message may have the maximum length in one frame or several, and not one byte more")
    func limit() {
        let limit = ClientFrameReader.messageLimit
        #expect(limit == 65_536)
        for width in [2, 8] {
            let count = width == 2 ? 65_535 : limit
            let frame = ClientFrame(opcode: 2, payload: [UInt8](repeating: 1, count: count))
            #expect(events(frame, frame) == [.message(bytes: count), .message(bytes: count)])
        }
        #expect(
            events(ClientFrame(opcode: 2, payload: [UInt8](repeating: 1, count: limit + 1))) == [.violation(.tooLarge)])
        let half = ClientFrame(opcode: 2, payload: [UInt8](repeating: 1, count: limit / 2), isFinal: false)
        let rest = ClientFrame(opcode: 0, payload: half.payload)
        #expect(events(half, rest) == [.message(bytes: limit)])
        #expect(events(half, rest, half, rest) == [.message(bytes: limit), .message(bytes: limit)])
        var longer = rest
        longer.payload.append(1)
        #expect(events(half, longer) == [.violation(.tooLarge)])
    }

    @Test("The reader refuses a length that is too large as soon as it has read it")
    func namedLength() {
        for second: [UInt8] in [
            [0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 0, 0, 0, 0],
        ] {
            #expect(ClientFrameReader.events(in: [[0x82, 0xFF] + second]) == [.violation(.tooLarge)])
        }
    }

    @Test("The reader refuses what the protocol forbids at the first byte that shows it, and reads nothing after it")
    func violations() {
        let ping = ClientFrame.ping([1]).bytes
        let forbidden: [[UInt8]] =
            // Reserved bits, and opcodes without a meaning.
            [0x90, 0xA0, 0xC0, 0xF0].map { [$0 | 0x1] } + [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map { [0x80 | $0] }
            // Parts of a control frame, and a part without a message.
            + [[0x08], [0x09], [0x0A], [0x00], [0x80]]
            // Frames without a mask.
            + [0x81, 0x82, 0x88, 0x89, 0x8A, 0x01].map { [$0, 0x05] } + [[0x81, 0x7F], [0x89, 0x00]]
            // Too long for a control frame.
            + [0x88, 0x89, 0x8A].flatMap { [[$0, 0xFE], [$0, 0xFF]] }
            // More bytes for the length than it needs, and a length of 64 bits.
            + [
                [0x82, 0xFE, 0, 125], [0x82, 0xFE, 0, 0], [0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                [0x82, 0xFF, 0x80],
            ]
            // A message within another one.
            + [
                ClientFrame.text("a", isFinal: false).bytes + [0x81],
                ClientFrame.text("", isFinal: false).bytes + [0x02],
            ]
        for bytes in forbidden {
            let expected: [Event] = [.violation(.protocolError)]
            #expect(ClientFrameReader.events(in: [bytes]) == expected, "\(bytes)")
            #expect(ClientFrameReader.events(in: [bytes, ping]) == expected, "\(bytes)")
            #expect(ClientFrameReader.events(in: [bytes.dropLast(), []]).allSatisfy { $0 != expected[0] }, "\(bytes)")
        }
    }

    @Test("The reader reads the code with which the client ends the connection")
    func close() {
        #expect(events(.close(nil)) == [.close(nil)])
        for code: UInt16 in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4000, 4999] {
            #expect(events(.close(code)) == [.close(code)])
            #expect(events(.close(code, Array("grüße".utf8)), .ping()) == [.close(code)])
        }
        for code: UInt16 in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            #expect(events(.close(code)) == [.violation(.protocolError)], "\(code)")
        }
        #expect(events(ClientFrame(opcode: 8, payload: [3])) == [.violation(.protocolError)])
        for reason: [UInt8] in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xC0, 0x80], [0x61, 0xF4, 0x90, 0x80, 0x80]] {
            #expect(events(.close(1000, reason)) == [.violation(.invalidText)], "\(reason)")
        }
        #expect(events(.close(1000, [UInt8](repeating: 0x61, count: 123))) == [.close(1000)])
    }
}
