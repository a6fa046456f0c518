import PropertySupport
import Testing

@testable import Streaming

/// Random frames and random bytes of a WebSocket's client.
@Suite("Frames of a client, as properties") struct ClientFramePropertyTests {
    typealias Event = ClientFrameReader.Event

    @Test("The reader returns the same events however the bytes are divided")
    func pieces() {
        holds(forCases: 100) { random in
            var (bytes, expected): ([UInt8], [Event]) = ([], [])
            for _ in 0..<Int.random(in: 1...12, using: &random) {
                let payload = random.bytes(0...125)
                let mask = random.bytes(4...4)
                switch Int.random(in: 0..<4, using: &random) {
                case 0:
                    bytes += ClientFrame(opcode: 9, payload: payload, mask: mask).bytes
                    expected.append(.ping(payload))
                case 1:
                    bytes += ClientFrame(opcode: 10, payload: payload, mask: mask).bytes
                    expected.append(.pong)
                case 2:
                    let long = payload + payload + payload
                    bytes += ClientFrame(opcode: 2, payload: long, mask: mask).bytes
                    expected.append(.message(bytes: long.count))
                default:
                    // The frames may part a character.
                    let text = Array(random.text(of: ["a", "ä", "€", "😀", "\0"], count: 0...40).utf8)
                    let end = Int.random(in: 0...text.count, using: &random)
                    bytes += ClientFrame(opcode: 1, payload: Array(text[..<end]), isFinal: false, mask: mask).bytes
                    bytes += ClientFrame(opcode: 0, payload: Array(text[end...]), mask: mask).bytes
                    expected.append(.message(bytes: text.count))
                }
            }
            let read = [
                ClientFrameReader.events(in: [bytes]), ClientFrameReader.events(in: bytes.map { [$0] }),
                ClientFrameReader.events(in: random.pieces(of: bytes, longest: 9).map(Array.init)),
            ]
            return read.allSatisfy { $0 == expected } ? nil : "\(bytes): \(read)"
        }
    }

    @Test("The reader accepts any bytes, and returns the same events however they are divided")
    func garbage() {
        var kinds: Set<String> = []
        holds(forCases: 2000) { random in
            // The more of the beginning is valid, the further the reader comes.
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                bytes.append((random.happens(oneIn: 2) ? 0x80 : 0) | random.pick([0, 1, 2, 8, 9, 10]))
                bytes.append(0x80 | UInt8.random(in: 0...127, using: &random))
                bytes += random.bytes(0...40)
            }
            let whole = ClientFrameReader.events(in: [bytes])
            guard ClientFrameReader.events(in: bytes.map { [$0] }) == whole,
                ClientFrameReader.events(in: random.pieces(of: bytes, longest: 9).map(Array.init)) == whole
            else { return "\(bytes)" }
            for event in whole {
                switch event {
                case .ping(let payload):
                    kinds.insert("ping")
                    if payload.count > 125 { return "\(bytes): \(event)" }
                case .message(let length):
                    kinds.insert("message")
                    if length > ClientFrameReader.messageLimit { return "\(bytes): \(event)" }
                default: kinds.insert("\(event)")
                }
            }
            return nil
        }
        // Otherwise the reader has not come far.
        #expect(kinds.isSuperset(of: ["ping", "message", "pong", "close(nil)"]))
        #expect(kinds.contains { $0.contains("1009") })
        #expect(kinds.contains { $0.contains("1002") })
    }
}
