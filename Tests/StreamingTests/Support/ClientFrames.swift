@testable import Streaming

/// A frame of a client, valid or not.
struct ClientFrame {
    var opcode: UInt8
    var payload: [UInt8] = []
    var isFinal = true
    /// The three reserved bits, at their position in the first byte.
    var reserved: UInt8 = 0
    /// The masking key; nil for a frame without a mask.
    var mask: [UInt8]? = [0x37, 0xFA, 0x21, 0x3D]
    /// How many bytes the length takes after the second byte: 0, 2 or 8; nil for the fewest.
    var lengthWidth: Int?

    static func text(_ text: String, isFinal: Bool = true) -> ClientFrame {
        ClientFrame(opcode: 1, payload: Array(text.utf8), isFinal: isFinal)
    }

    static func ping(_ payload: [UInt8] = []) -> ClientFrame { ClientFrame(opcode: 9, payload: payload) }

    static func close(_ code: UInt16?, _ reason: [UInt8] = []) -> ClientFrame {
        ClientFrame(opcode: 8, payload: (code.map { [UInt8($0 >> 8), UInt8($0 & 0xFF)] } ?? []) + reason)
    }

    var bytes: [UInt8] {
        var bytes = [(isFinal ? 0x80 : 0) | reserved | opcode]
        let width = lengthWidth ?? (payload.count < 126 ? 0 : payload.count < 65_536 ? 2 : 8)
        let inSecond = width == 0 ? UInt8(payload.count) : width == 2 ? 126 : 127
        bytes.append((mask == nil ? 0 : 0x80) | inSecond)
        for index in 0..<width { bytes.append(UInt8(payload.count >> (8 * (width - 1 - index)) & 0xFF)) }
        bytes += mask ?? []
        let key = mask ?? [0, 0, 0, 0]
        return bytes + payload.enumerated().map { $1 ^ key[$0 % 4] }
    }
}

extension ClientFrameReader {
    /// The events of bytes that come in pieces.
    static func events(in pieces: [[UInt8]]) -> [Event] {
        var reader = ClientFrameReader()
        return pieces.flatMap { reader.read($0.span) }
    }
}
