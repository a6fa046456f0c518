import Foundation
import PropertySupport

// Matroska: an element has a number, a size and contents. A size of ones stands for an unknown one.
extension BombGenerator {
    private mutating func matroska(_ write: (inout BombGenerator, inout Bytes) -> Void) -> Data {
        var file = Bytes()
        let numberLimit = claim(4, 1)
        let type = random.pick(["matroska", "webm"])
        file.element(0x1A45_DFA3, 4) { header in
            header.element(0x42F2, 2) { $0.big(numberLimit, 1) }
            header.element(0x4282, 2) { $0.add(type) }
        }
        var generator = self
        var contents = Bytes()
        write(&generator, &contents)
        self = generator
        // ffmpeg reads up to the first cluster: one block of the first track.
        contents.element(0x1F43_B675, 4) { cluster in
            cluster.element(0xE7, 1) { $0.big(0, 1) }
            cluster.element(0xA3, 1) { $0.add([0x81, 0, 0, 0x80] + [UInt8](repeating: 0, count: 64)) }
        }
        file.big(0x1853_8067, 4)
        addSize(contents.data.count, to: &file)
        file.add(contents.data)
        return file.data
    }

    /// Adds a size of eight bytes: the right one, an unknown one, or any.
    private mutating func addSize(_ truth: Int, to bytes: inout Bytes) {
        bytes.big(1 << 56 | (claim(0, 1) == 0 ? truth : random.pick([1 << 56 - 1, 0, 1 << 55, truth * 2])), 8)
    }

    private mutating func addTrack(_ number: Int, to tracks: inout Bytes) {
        let codec = random.pick([
            "A_PCM/INT/LIT", "A_OPUS", "A_VORBIS", "A_FLAC", "A_AAC", "A_MPEG/L3", "A_MS/ACM", "A_DTS",
        ])
        let type = claim(2, 1)
        let (rate, channels, secret) = (Double(rate()), channels(), random.happens(oneIn: 3) ? size(4_096) : 0)
        tracks.element(0xAE, 1) { entry in
            entry.element(0xD7, 1) { $0.big(number, 4) }
            entry.element(0x73C5, 2) { $0.big(number, 4) }
            entry.element(0x83, 1) { $0.big(type, 1) }
            entry.element(0x86, 1) { $0.add(codec) }
            if secret > 0 { entry.element(0x63A2, 2) { $0.zeros(secret) } }
            entry.element(0xE1, 1) { audio in
                audio.element(0xB5, 1) { $0.big(Int(bitPattern: UInt(rate.bitPattern)), 8) }
                audio.element(0x9F, 1) { $0.big(channels, 4) }
                audio.element(0x6264, 2) { $0.big(16, 1) }
            }
        }
    }

    /// Many tracks, attachments or chapters: each of the first two is a stream.
    mutating func matroskaTracks() -> Data {
        matroska { generator, segment in
            let count = generator.size(generator.parts)
            switch Int.random(in: 0..<3, using: &generator.random) {
            case 0:
                segment.element(0x1941_A469, 4) { attachments in
                    for number in 1...count {
                        attachments.element(0x61A7, 2) { file in
                            file.element(0x466E, 2) { $0.add("a.ttf") }
                            file.element(0x4660, 2) { $0.add("font/ttf") }
                            file.element(0x46AE, 2) { $0.big(number, 4) }
                            file.element(0x465C, 2) { $0.zeros(4) }
                        }
                    }
                }
                segment.element(0x1654_AE6B, 4) { generator.addTrack(1, to: &$0) }
            case 1:
                segment.element(0x1043_A770, 4) { chapters in
                    chapters.element(0x45B9, 2) { edition in
                        for number in 1...count {
                            edition.element(0xB6, 1) { atom in
                                atom.element(0x73C4, 2) { $0.big(number, 4) }
                                atom.element(0x91, 1) { $0.big(number, 8) }
                            }
                        }
                    }
                }
                segment.element(0x1654_AE6B, 4) { generator.addTrack(1, to: &$0) }
            default:
                segment.element(0x1654_AE6B, 4) { for number in 1...count { generator.addTrack(number, to: &$0) } }
            }
        }
    }

    /// Elements in elements of their own kind.
    mutating func elements() -> Data {
        // SimpleTag, ChapterAtom, BlockGroup, Segment and Tracks.
        let (number, width) = random.pick([(0x67C8, 2), (0xB6, 1), (0xA0, 1), (0x1853_8067, 4), (0x1654_AE6B, 4)])
        let depth = size(min(parts, 3_000))
        var inner = Data()
        for _ in 0..<depth {
            var outer = Bytes()
            outer.big(number, width)
            addSize(inner.count, to: &outer)
            outer.add(inner)
            inner = outer.data
        }
        return matroska { generator, segment in
            segment.element(0x1654_AE6B, 4) { generator.addTrack(1, to: &$0) }
            segment.element(0x1254_C367, 4) { tags in tags.element(0x7373, 2) { $0.add(inner) } }
        }
    }

    /// Clusters of blocks, whose times leap and whose lacing announces frames.
    mutating func blocks() -> Data {
        matroska { generator, segment in
            let tracks = generator.size(16)
            segment.element(0x1549_A966, 4) { information in
                information.element(0x2A_D7B1, 3) { $0.big(generator.claim(1_000_000, 4), 4) }
                information.element(0x4489, 2) { $0.big(generator.claim(Int(3_000.0.bitPattern), 8), 8) }
            }
            segment.element(0x1654_AE6B, 4) { for number in 1...tracks { generator.addTrack(number, to: &$0) } }
            for cluster in 0..<generator.size(generator.parts) {
                segment.element(0x1F43_B675, 4) { blocks in
                    blocks.element(0xE7, 1) { $0.big(generator.claim(cluster * 1_000, 8), 8) }
                    blocks.element(0xA3, 1) {
                        $0.big(0x80 | generator.size(tracks), 1)
                        $0.big(generator.claim(0, 2), 2)
                        // The lacing: none, Xiph, fixed, EBML.
                        $0.big(generator.random.pick([0x80, 0x82, 0x84, 0x86]), 1)
                        $0.add(generator.random.bytes(1...40))
                    }
                }
            }
        }
    }
}
