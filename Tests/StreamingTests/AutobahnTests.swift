import Testing

@testable import Streaming

/// A case of Autobahn: the frames of a client, and what the server reads.
struct AutobahnCase: Sendable, CustomTestStringConvertible {
    let number: String
    let frames: [ClientFrame]
    let events: [ClientFrameReader.Event]

    init(_ number: String, _ frames: ClientFrame..., gives events: ClientFrameReader.Event...) {
        (self.number, self.frames, self.events) = (number, frames, events)
    }

    var testDescription: String { number }
}

/// The cases of the Autobahn test suite for servers of WebSockets that are about what a client sends.
///
/// The server ignores messages: where Autobahn expects an echo, a message was read. Autobahn's cases that send the same bytes in
/// other pieces have the number of the case that sends them whole; each case here is read whole and byte by byte. A server
/// without extensions has no cases 12 and 13.
@Suite("The cases of Autobahn") struct AutobahnTests {
    @Test("The server reads a frame as the protocol asks", arguments: AutobahnCase.all)
    func reads(_ test: AutobahnCase) { check(test) }

    @Test("The server closes with 1007 at the first byte that makes a text invalid", arguments: AutobahnCase.texts)
    func invalidText(_ test: AutobahnCase) { check(test) }

    private func check(_ test: AutobahnCase) {
        let bytes = test.frames.map(\.bytes)
        #expect(ClientFrameReader.events(in: bytes) == test.events)
        #expect(ClientFrameReader.events(in: bytes.joined().map { [$0] }) == test.events)
    }
}

extension AutobahnCase {
    static var all: [AutobahnCase] { messages + pings + forbidden + parts + closes }

    // MARK: - 1: messages

    static let messages: [AutobahnCase] = [1, 2].flatMap { kind in
        [0, 125, 126, 127, 128, 65_535, 65_536].enumerated().map { index, count in
            AutobahnCase(
                "1.\(kind).\(index + 1)", frame(UInt8(kind), [UInt8](repeating: 0x2A, count: count)),
                gives: .message(bytes: count))
        }
    }

    // MARK: - 2: pings and pongs

    static let pings: [AutobahnCase] = [
        AutobahnCase("2.1", .ping(), gives: .ping([])),
        AutobahnCase("2.2", .ping(Array("Hello, world!".utf8)), gives: .ping(Array("Hello, world!".utf8))),
        AutobahnCase(
            "2.3", .ping([0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF]),
            gives: .ping([0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF])),
        AutobahnCase(
            "2.4", .ping([UInt8](repeating: 0xFE, count: 125)), gives: .ping([UInt8](repeating: 0xFE, count: 125))),
        AutobahnCase("2.5", .ping([UInt8](repeating: 0xFE, count: 126)), gives: .violation(.protocolError)),
        AutobahnCase("2.7", frame(10, []), gives: .pong),
        AutobahnCase("2.8", frame(10, Array("unsolicited".utf8)), gives: .pong),
        AutobahnCase("2.9", frame(10, Array("unsolicited".utf8)), .ping([1]), gives: .pong, .ping([1])),
        AutobahnCase("2.10", .ping([1]), .ping([2]), .ping([3]), gives: .ping([1]), .ping([2]), .ping([3])),
    ]

    // MARK: - 3 and 4: reserved bits and opcodes

    static let forbidden: [AutobahnCase] =
        (1...7).map { bits in
            let opcode: UInt8 = bits < 5 ? 1 : bits == 5 ? 2 : bits == 6 ? 9 : 8
            var reserved = frame(opcode, opcode == 8 ? [3, 0xE8] : [0x2A])
            reserved.reserved = UInt8(bits) << 4
            return bits == 1
                ? AutobahnCase("3.1", reserved, gives: .violation(.protocolError))
                : AutobahnCase(
                    "3.\(bits)", .text("a"), reserved, .ping(), gives: .message(bytes: 1), .violation(.protocolError))
        }
        + [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map { opcode in
            let number = opcode < 8 ? "4.1.\(opcode - 2)" : "4.2.\(opcode - 10)"
            let payload: [UInt8] = opcode.isMultiple(of: 2) ? [0x2A] : []
            return opcode == 3 || opcode == 11
                ? AutobahnCase(number, frame(UInt8(opcode), payload), gives: .violation(.protocolError))
                : AutobahnCase(
                    number, .text("a"), frame(UInt8(opcode), payload), .ping(),
                    gives: .message(bytes: 1), .violation(.protocolError))
        }

    // MARK: - 5: fragments

    static let parts: [AutobahnCase] = [
        AutobahnCase("5.1", frame(9, [1], isFinal: false), frame(0, [2]), gives: .violation(.protocolError)),
        AutobahnCase("5.2", frame(10, [1], isFinal: false), frame(0, [2]), gives: .violation(.protocolError)),
        AutobahnCase("5.3", .text("one", isFinal: false), frame(0, [0x2A]), gives: .message(bytes: 4)),
        AutobahnCase(
            "5.6", .text("one", isFinal: false), .ping([1]), frame(0, [0x2A]), gives: .ping([1]), .message(bytes: 4)),
        AutobahnCase("5.9", frame(0, [0x2A]), .text("a"), gives: .violation(.protocolError)),
        AutobahnCase("5.12", frame(0, [0x2A], isFinal: false), .text("a"), gives: .violation(.protocolError)),
        AutobahnCase(
            "5.15", .text("one", isFinal: false), frame(0, [0x2A]), frame(0, [0x2A], isFinal: false), .text("a"),
            gives: .message(bytes: 4), .violation(.protocolError)),
        AutobahnCase(
            "5.16", frame(0, [0x2A], isFinal: false), .text("a", isFinal: false), frame(0, [0x2A]),
            gives: .violation(.protocolError)),
        AutobahnCase(
            "5.17", frame(0, [0x2A]), .text("a", isFinal: false), frame(0, [0x2A]), gives: .violation(.protocolError)),
        AutobahnCase("5.18", .text("one", isFinal: false), .text("two"), gives: .violation(.protocolError)),
        AutobahnCase(
            "5.19", .text("1", isFinal: false), frame(0, [0x32], isFinal: false), .ping([1]),
            frame(0, [0x33], isFinal: false), frame(0, [0x34], isFinal: false), .ping([2]), frame(0, [0x35]),
            gives: .ping([1]), .ping([2]), .message(bytes: 5)),
    ]

    // MARK: - 6: UTF-8

    static let texts: [AutobahnCase] =
        [
            AutobahnCase("6.1.1", .text(""), gives: .message(bytes: 0)),
            AutobahnCase(
                "6.1.2", .text("", isFinal: false), frame(0, [], isFinal: false), frame(0, []),
                gives: .message(bytes: 0)),
            AutobahnCase(
                "6.1.3", .text("", isFinal: false), frame(0, [0x2A], isFinal: false), frame(0, []),
                gives: .message(bytes: 1)),
            AutobahnCase("6.2.1", frame(1, greek), gives: .message(bytes: greek.count)),
            AutobahnCase(
                "6.2.2", frame(1, Array(greek[..<7]), isFinal: false), frame(0, Array(greek[7...])),
                gives: .message(bytes: greek.count)),
            AutobahnCase("6.3.1", frame(1, greek + [0xED, 0xA0, 0x80] + greek), gives: .violation(.invalidText)),
            AutobahnCase(
                "6.3.2", frame(1, greek + [0xED], isFinal: false), frame(0, [0xA0, 0x80]), .ping(),
                gives: .violation(.invalidText)),
            // The text is invalid before the message, and even the frame, is complete.
            AutobahnCase(
                "6.4.1", frame(1, greek, isFinal: false), frame(0, [0xF4, 0x90, 0x80, 0x80], isFinal: false), .ping(),
                gives: .violation(.invalidText)),
            AutobahnCase(
                "6.4.2", frame(1, greek + [0xF4], isFinal: false), frame(0, [0x90], isFinal: false), .ping(),
                gives: .violation(.invalidText)),
        ]
        + sequences.map { number, bytes, isValid in
            isValid
                ? AutobahnCase(number, frame(1, bytes), .ping(), gives: .message(bytes: bytes.count), .ping([]))
                : AutobahnCase(number, frame(1, bytes), .ping(), gives: .violation(.invalidText))
        }

    private static let greek = Array("κόσμε".utf8)

    /// Sequences of bytes, and whether they are a text.
    private static let sequences: [(String, [UInt8], Bool)] = [
        ("6.5.1", greek, true), ("6.5.2", Array(greek.dropLast()), false), ("6.5.3", Array(greek[..<1]), false),
        ("6.5.4", Array(greek[..<3]), false), ("6.5.5", Array(greek[..<8]), true),
        ("6.6.1", [0x00], true), ("6.6.2", [0xC2, 0x80], true), ("6.6.3", [0xE0, 0xA0, 0x80], true),
        ("6.6.4", [0xF0, 0x90, 0x80, 0x80], true), ("6.6.5", [0xF8, 0x88, 0x80, 0x80, 0x80], false),
        ("6.6.6", [0xFC, 0x84, 0x80, 0x80, 0x80, 0x80], false), ("6.7.1", [0x7F], true), ("6.7.2", [0xDF, 0xBF], true),
        ("6.7.3", [0xEF, 0xBF, 0xBF], true), ("6.7.4", [0xF4, 0x8F, 0xBF, 0xBF], true),
        ("6.8.1", [0xF7, 0xBF, 0xBF, 0xBF], false), ("6.8.2", [0xFB, 0xBF, 0xBF, 0xBF, 0xBF], false),
        ("6.9.1", [0xED, 0x9F, 0xBF], true), ("6.9.2", [0xEE, 0x80, 0x80], true), ("6.9.3", [0xEF, 0xBF, 0xBD], true),
        ("6.9.4", [0xF4, 0x8F, 0xBF, 0xBF], true), ("6.9.5", [0xF4, 0x90, 0x80, 0x80], false),
        ("6.10.1", [0x80], false), ("6.10.2", [0xBF], false), ("6.10.3", [0x80, 0xBF], false),
        ("6.11.1", [0xC0, 0x20], false), ("6.11.2", [0xE0, 0x20], false), ("6.11.3", [0xF0, 0x20], false),
        ("6.12.1", [0xC3], false), ("6.12.2", [0xE0, 0xA0], false), ("6.12.3", [0xF0, 0x90, 0x80], false),
        ("6.14.1", [0xFE], false), ("6.14.2", [0xFF], false), ("6.15.1", [0xC0, 0xAF], false),
        ("6.16.1", [0xE0, 0x80, 0xAF], false), ("6.16.2", [0xF0, 0x80, 0x80, 0xAF], false),
        ("6.17.1", [0xC1, 0xBF], false), ("6.17.2", [0xE0, 0x9F, 0xBF], false),
        ("6.17.3", [0xF0, 0x8F, 0xBF, 0xBF], false), ("6.18.1", [0xC0, 0x80], false),
        ("6.19.1", [0xED, 0xA0, 0x80], false), ("6.19.2", [0xED, 0xAD, 0xBF], false),
        ("6.19.3", [0xED, 0xAE, 0x80], false), ("6.19.4", [0xED, 0xBF, 0xBF], false),
        ("6.20.1", [0xED, 0xA0, 0x80, 0xED, 0xB0, 0x80], false), ("6.21.1", [0xEF, 0xBF, 0xBE], true),
        ("6.22.1", [0xEF, 0xBF, 0xBF], true), ("6.23.1", [0xEF, 0xBF, 0xBD], true),
    ]

    // MARK: - 7: the end

    static let closes: [AutobahnCase] =
        [
            AutobahnCase("7.1.1", .text("a"), .close(1000), gives: .message(bytes: 1), .close(1000)),
            AutobahnCase("7.1.2", .close(1000), .close(1000), gives: .close(1000)),
            AutobahnCase("7.1.3", .close(1000), .ping(), gives: .close(1000)),
            AutobahnCase("7.1.4", .close(1000), .text("a"), gives: .close(1000)),
            AutobahnCase("7.1.5", .text("a", isFinal: false), .close(1000), frame(0, [0x2A]), gives: .close(1000)),
            // Autobahn sends 256 KiB. The server takes 64 KiB at most, which RFC 6455, 10.4 lets it choose.
            AutobahnCase(
                "7.1.6", frame(2, [UInt8](repeating: 1, count: 262_144)), .close(1000), .ping(),
                gives: .violation(.tooLarge)),
            AutobahnCase("7.3.1", .close(nil), gives: .close(nil)),
            AutobahnCase("7.3.2", frame(8, [3]), gives: .violation(.protocolError)),
            AutobahnCase("7.3.3", .close(1000), gives: .close(1000)),
            AutobahnCase("7.3.4", .close(1000, Array("Hello World!".utf8)), gives: .close(1000)),
            AutobahnCase("7.3.5", .close(1000, [UInt8](repeating: 0x2A, count: 123)), gives: .close(1000)),
            AutobahnCase(
                "7.3.6", .close(1000, [UInt8](repeating: 0x2A, count: 124)), gives: .violation(.protocolError)),
            AutobahnCase("7.5.1", .close(1000, [0xCE, 0xBA, 0xED, 0xA0, 0x80]), gives: .violation(.invalidText)),
        ]
        + [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999].enumerated().map {
            index, code in
            AutobahnCase("7.7.\(index + 1)", .close(UInt16(code)), gives: .close(UInt16(code)))
        }
        + [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].enumerated().map { index, code in
            AutobahnCase("7.9.\(index + 1)", .close(UInt16(code)), gives: .violation(.protocolError))
        }

    private static func frame(_ opcode: UInt8, _ payload: [UInt8], isFinal: Bool = true) -> ClientFrame {
        ClientFrame(opcode: opcode, payload: payload, isFinal: isFinal)
    }
}
