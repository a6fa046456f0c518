import Foundation
import PropertySupport

// Ogg: pages of streams that follow each other or run side by side.
extension BombGenerator {
    private struct Page {
        var serial: Int
        var number: Int
        /// 1: continues a packet; 2: the first of its stream; 4: the last.
        var flags: Int
        /// The time of its end, in the granules of its codec.
        var position: Int
        var packet: [UInt8]

        var data: Data {
            var page = Bytes("OggS")
            page.little(0, 1)
            page.little(flags, 1)
            page.little(position, 8)
            page.little(serial, 4)
            page.little(number, 4)
            page.little(0, 4)
            page.little(packet.count / 255 + 1, 1)
            page.add([UInt8](repeating: 255, count: packet.count / 255))
            page.little(packet.count % 255, 1)
            page.add(packet)
            let checksum = Checksum.oggPage(page.data)
            var bytes = Bytes()
            bytes.little(checksum, 4)
            page.data.replaceSubrange(22..<26, with: bytes.data)
            return page.data
        }
    }

    /// The first packet of a stream.
    private mutating func head() -> [UInt8] {
        var packet = Bytes()
        switch Int.random(in: 0..<5, using: &random) {
        case 0:
            packet.add([1])
            packet.add("vorbis")
            packet.little(0, 4); packet.little(claim(1, 1), 1); packet.little(rate(), 4); packet.zeros(12)
            packet.add([0xB8, 1])
        case 1:
            packet.add("Speex   1.2")
            packet.zeros(17)
            packet.little(1, 4); packet.little(80, 4); packet.little(rate(), 4)
            for value in [claim(1, 4), 4, claim(1, 4), -1, claim(320, 4), 0, claim(1, 4), 0, 0, 0] {
                packet.little(value, 4)
            }
        case 2:
            packet.add([0x7F])
            packet.add("FLAC\u{1}\0\0\u{1}fLaC")
            packet.big(0x22, 4); packet.big(4_096, 2); packet.big(4_096, 2); packet.zeros(6)
            packet.big(min(rate(), 0xF_FFFF) << 44 | 15 << 36, 8)
            packet.zeros(16)
        default:
            packet.add("OpusHead")
            packet.little(1, 1); packet.little(claim(1, 1), 1); packet.little(claim(312, 2), 2)
            packet.little(rate(), 4); packet.zeros(3)
        }
        return [UInt8](packet.data)
    }

    private mutating func rest(_ serial: Int) -> Data {
        var pages = Page(
            serial: serial, number: 1, flags: 0, position: 0,
            packet: Array("OpusTags".utf8) + [UInt8](repeating: 0, count: 8)
        ).data
        for number in 2...(1 + size(4)) {
            let flags = claim(0, 1) == 0 ? random.pick([0, 4]) : 1
            let position = claim(0, 1) == 0 ? number * 960 : random.pick([-1, 1 << 62, 1 << 40])
            pages +=
                Page(serial: serial, number: number, flags: flags, position: position, packet: [0xF8, 0xFF, 0xFE]).data
        }
        return pages
    }

    mutating func oggChain() -> Data {
        let isNew = random.happens(oneIn: 3)
        var file = Data()
        var first = head()
        for serial in 1...size(parts) {
            if isNew { first = head() }
            let number = claim(serial, 4)
            file += Page(serial: number, number: 0, flags: 2, position: 0, packet: first).data + rest(number)
        }
        return file
    }

    mutating func oggStreams() -> Data {
        let count = size(parts)
        var file = Data()
        for serial in 1...count {
            file += Page(serial: serial, number: 0, flags: 2, position: 0, packet: head()).data
        }
        for serial in 1...count { file += rest(serial) }
        return file
    }
}
