public import Foundation
public import Testing

/// A small file that was made to cost much memory or time.
///
/// Each stands for a kind. The sizes of the short form keep a test quick; `make bombs` uses the long form.
public struct Bomb: Sendable, CustomTestStringConvertible {
    /// What the file announces or holds.
    public var name: String
    /// Makes the file.
    public var make: @Sendable () -> Data

    /// The name.
    public var testDescription: String { name }

    /// True for the long form.
    public static let isLong = ProcessInfo.processInfo.environment["BOMBS"] == "long"

    /// The greater size in the long form.
    private static func size(_ short: Int, _ long: Int) -> Int { isLong ? long : short }

    /// A bomb of each known kind.
    public static let all: [Bomb] = [
        Bomb(name: "an MP4 whose 20 tracks announce 85 million samples each") {
            fragments(tracks: 20, samples: 85_000_000)
        },
        Bomb(name: "an MP4 whose 16 tracks announce a million samples each, which 16 decoders read") {
            fragments(tracks: 16, samples: 1_000_000)
        },
        Bomb(name: "an MP4 whose one track announces 1,000 million samples") {
            fragments(tracks: 1, samples: 1_000_000_000)
        },
        Bomb(name: "an MP4 of boxes in boxes") { deepBoxes(size(10_000, 200_000)) },
        Bomb(name: "an MP4 whose table announces 4,000 million samples of no length") { table(samples: 0xFFFF_FFF0) },
        Bomb(name: "a WAV with one sample a second") { wave(rate: 1, channels: 1, bytes: size(1_200, 4 << 20)) },
        Bomb(name: "a WAV with 20 samples a second") { wave(rate: 20, channels: 1, bytes: size(1_200, 4 << 20)) },
        Bomb(name: "a WAV with 65,535 channels") {
            wave(rate: 48_000, channels: 65_535, bytes: size(1 << 20, 64 << 20))
        },
        Bomb(name: "a WAV with 4,000 million samples a second") {
            wave(rate: 0xFFFF_FFFF, channels: 1, bytes: size(1 << 20, 64 << 20))
        },
        Bomb(name: "a Matroska file with 10,000 tracks") { tracks(size(10_000, 100_000)) },
        Bomb(name: "a Matroska file of elements in elements") { deepElements(size(2_000, 20_000)) },
        Bomb(name: "an Ogg file of endlessly many chained streams") { chain(size(2_000, 100_000)) },
        Bomb(name: "an Ogg file of 10,000 streams at once") { streams(size(10_000, 50_000)) },
        Bomb(name: "a FLAC file with days of silence") { silence(frames: size(4_000, 400_000)) },
        Bomb(name: "an MP3 whose header announces 4,000 million frames") { mpeg(frames: size(50, 5_000)) },
        Bomb(name: "a CAF file that announces 2^62 packets") { coreAudio() },
        Bomb(name: "an AIFF file that announces 4,000 million frames") { aiff() },
    ]

    // MARK: - MP4

    private static func header(_ file: inout Bytes) {
        file.box("ftyp") {
            $0.add("M4A "); $0.big(0, 4); $0.add("M4A mp42isom")
        }
    }

    private static func track(_ number: Int, _ movie: inout Bytes, samples: (inout Bytes) -> Void) {
        movie.box("trak") { track in
            track.box("tkhd") {
                $0.big(7, 4); $0.zeros(8); $0.big(number, 4); $0.zeros(68)
            }
            track.box("mdia") { media in
                media.box("mdhd") {
                    $0.zeros(12); $0.big(16_000, 4); $0.zeros(8)
                }
                media.box("hdlr") {
                    $0.zeros(8); $0.add("soun"); $0.zeros(13)
                }
                media.box("minf") { information in
                    information.box("smhd") { $0.zeros(8) }
                    information.box("stbl") { table in
                        table.box("stsd") { description in
                            description.big(0, 4)
                            description.big(1, 4)
                            description.box("mp4a") { entry in
                                entry.zeros(6)
                                entry.big(1, 2)
                                entry.zeros(8)
                                entry.big(1, 2)
                                entry.big(16, 2)
                                entry.zeros(4)
                                entry.big(16_000 << 16, 4)
                            }
                        }
                        samples(&table)
                    }
                }
            }
        }
    }

    private static func emptyTable(_ table: inout Bytes) {
        for name in ["stts", "stsc", "stco"] { table.box(name) { $0.zeros(8) } }
        table.box("stsz") { $0.zeros(12) }
    }

    private static func movie(_ file: inout Bytes, _ write: (inout Bytes) -> Void) {
        file.box("moov") { movie in
            movie.box("mvhd") {
                $0.zeros(12); $0.big(1_000, 4); $0.zeros(80); $0.big(2, 4)
            }
            write(&movie)
        }
    }

    private static func fragments(tracks: Int, samples: Int) -> Data {
        var file = Bytes()
        header(&file)
        movie(&file) { movie in
            for number in 1...tracks { track(number, &movie, samples: emptyTable) }
            movie.box("mvex") { extends in
                for number in 1...tracks {
                    extends.box("trex") {
                        // ffmpeg stops at a sample without a size.
                        $0.big(0, 4); $0.big(number, 4); $0.big(1, 4); $0.big(1, 4); $0.big(1, 4); $0.zeros(4)
                    }
                }
            }
        }
        file.box("moof") { fragment in
            fragment.box("mfhd") {
                $0.big(0, 4); $0.big(1, 4)
            }
            for number in 1...tracks {
                fragment.box("traf") { track in
                    track.box("tfhd") {
                        $0.big(0x020000, 4); $0.big(number, 4)
                    }
                    // Without flags, a sample has no bytes in the table: the number alone costs memory.
                    track.box("trun") {
                        $0.big(0, 4); $0.big(samples, 4)
                    }
                }
            }
        }
        file.box("mdat") { $0.zeros(64) }
        return file.data
    }

    private static func table(samples: Int) -> Data {
        var file = Bytes()
        header(&file)
        movie(&file) { movie in
            track(1, &movie) { table in
                table.box("stts") {
                    $0.big(0, 4); $0.big(1, 4); $0.big(samples, 4); $0.big(1, 4)
                }
                table.box("stsc") {
                    $0.big(0, 4); $0.big(1, 4); $0.big(1, 4); $0.big(samples, 4); $0.big(1, 4)
                }
                table.box("stsz") {
                    $0.big(0, 4); $0.big(1, 4); $0.big(samples, 4)
                }
                table.box("stco") {
                    $0.big(0, 4); $0.big(1, 4); $0.big(0, 4)
                }
            }
        }
        file.box("mdat") { $0.zeros(64) }
        return file.data
    }

    private static func deepBoxes(_ depth: Int) -> Data {
        var file = Bytes()
        header(&file)
        for level in 0..<depth {
            file.big(8 * (depth - level), 4)
            file.add("moov")
        }
        file.box("mdat") { $0.zeros(64) }
        return file.data
    }

    // MARK: - WAV, AIFF, CAF

    private static func wave(rate: Int, channels: Int, bytes: Int) -> Data {
        var file = Bytes("RIFF")
        file.little(36 + bytes, 4)
        file.add("WAVEfmt ")
        file.little(16, 4)
        file.little(1, 2)
        file.little(channels, 2)
        file.little(rate, 4)
        file.little(rate * channels * 2, 4)
        file.little(channels * 2, 2)
        file.little(16, 2)
        file.add("data")
        file.little(bytes, 4)
        file.zeros(bytes)
        return file.data
    }

    private static func aiff() -> Data {
        var file = Bytes("FORM")
        file.big(0x7FFF_FFFF, 4)
        file.add("AIFFCOMM")
        file.big(18, 4)
        file.big(1, 2)
        file.big(0xFFFF_FFFF, 4)
        file.big(16, 2)
        // One sample a second, as an extended number of 80 bits.
        file.add([0x3F, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0])
        file.add("SSND")
        file.big(0x7FFF_FF00, 4)
        file.zeros(4_096)
        return file.data
    }

    private static func coreAudio() -> Data {
        var file = Bytes("caff")
        file.big(1 << 16, 4)
        file.add("desc")
        file.big(32, 8)
        file.big(Int(Double(8_000).bitPattern), 8)
        file.add("aac ")
        for value in [0, 0, 1_024, 1, 0] { file.big(value, 4) }
        file.add("pakt")
        file.big(24, 8)
        file.big(1 << 62, 8)
        file.big(1 << 62, 8)
        file.zeros(8)
        file.add("data")
        file.big(-1, 8)
        file.zeros(4_096)
        return file.data
    }

    // MARK: - Matroska

    private static func matroska(_ write: (inout Bytes) -> Void) -> Data {
        var file = Bytes()
        file.element(0x1A45_DFA3, 4) { $0.element(0x4282, 2) { $0.add("matroska") } }
        file.element(0x1853_8067, 4, write)
        return file.data
    }

    private static func tracks(_ count: Int) -> Data {
        matroska { segment in
            segment.element(0x1654_AE6B, 4) { tracks in
                for number in 1...count {
                    tracks.element(0xAE, 1) { entry in
                        entry.element(0xD7, 1) { $0.big(number, 4) }
                        entry.element(0x73C5, 2) { $0.big(number, 4) }
                        entry.element(0x83, 1) { $0.big(2, 1) }
                        entry.element(0x86, 1) { $0.add("A_PCM/INT/LIT") }
                    }
                }
            }
        }
    }

    private static func deepElements(_ depth: Int) -> Data {
        var inner = Data()
        for _ in 0..<depth {
            var outer = Bytes()
            // SimpleTag may hold another SimpleTag.
            outer.big(0x67C8, 2)
            outer.big(1 << 56 | inner.count, 8)
            outer.add(inner)
            inner = outer.data
        }
        return matroska { segment in segment.element(0x1254_C367, 4) { $0.element(0x7373, 2) { $0.add(inner) } } }
    }

    // MARK: - Ogg

    private static func page(serial: Int, number: Int, flags: Int, position: Int, _ packet: [UInt8]) -> Data {
        var page = Bytes("OggS")
        page.little(0, 1)
        page.little(flags, 1)
        page.little(position, 8)
        page.little(serial, 4)
        page.little(number, 4)
        page.little(0, 4)
        page.little(1, 1)
        page.little(packet.count, 1)
        page.add(packet)
        let checksum = Checksum.oggPage(page.data)
        var bytes = Bytes()
        bytes.little(checksum, 4)
        page.data.replaceSubrange(22..<26, with: bytes.data)
        return page.data
    }

    private static func opus(serial: Int) -> (head: Data, rest: Data) {
        let head = Array("OpusHead".utf8) + [1, 1, 0, 0, 0x80, 0xBB, 0, 0, 0, 0, 0]
        let tags = Array("OpusTags".utf8) + [0, 0, 0, 0, 0, 0, 0, 0]
        return (
            page(serial: serial, number: 0, flags: 2, position: 0, head),
            page(serial: serial, number: 1, flags: 0, position: 0, tags)
                + page(serial: serial, number: 2, flags: 4, position: 960, [0xF8, 0xFF, 0xFE])
        )
    }

    private static func chain(_ count: Int) -> Data {
        (1...count).reduce(into: Data()) { file, serial in
            let stream = opus(serial: serial)
            file += stream.head + stream.rest
        }
    }

    private static func streams(_ count: Int) -> Data {
        let all = (1...count).map(opus(serial:))
        return all.reduce(into: Data()) { $0 += $1.head } + all.reduce(into: Data()) { $0 += $1.rest }
    }

    // MARK: - FLAC and MP3

    private static func silence(frames: Int) -> Data {
        var file = Bytes("fLaC")
        file.big(0x8000_0022, 4)
        file.big(65_535, 2)
        file.big(65_535, 2)
        file.zeros(6)
        // 8,000 samples a second, one channel, 16 bits, an unknown number of samples.
        file.big(8_000 << 44 | 15 << 36, 8)
        file.zeros(16)
        for number in 0..<frames {
            var frame = Bytes()
            // The size of the block follows in 16 bits; the rate is that of the file; one channel of 16 bits.
            frame.add([0xFF, 0xF8, 0x70, 0x08])
            frame.add(String(Unicode.Scalar(UInt32(number < 0xD800 ? number : number + 0x800)) ?? "a"))
            frame.big(65_534, 2)
            frame.big(Checksum.flacHeader(frame.data), 1)
            // A constant subframe, and its one value.
            frame.add([0, 0, 0])
            frame.big(Checksum.flacFrame(frame.data), 2)
            file.add(frame.data)
        }
        return file.data
    }

    private static func mpeg(frames: Int) -> Data {
        // MPEG-1 layer III, 32 kbit/s, 44.1 kHz, mono: 104 bytes a frame.
        let head: [UInt8] = [0xFF, 0xFB, 0x10, 0xC4]
        var file = Bytes()
        file.add(head)
        file.zeros(17)
        file.add("Xing")
        file.big(3, 4)
        file.big(0xFFFF_FFFF, 4)
        file.big(0xFFFF_FFFF, 4)
        file.zeros(104 - 37)
        for _ in 0..<frames {
            file.add(head)
            file.zeros(100)
        }
        return file.data
    }
}
