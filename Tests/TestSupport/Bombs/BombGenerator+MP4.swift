import Foundation
import PropertySupport

// ISO base media files: fragments, tables of samples, and boxes in boxes.
extension BombGenerator {
    private static let codecs = [
        "mp4a", "mp4a", "alac", "lpcm", "sowt", "raw ", "ulaw", "samr", "Opus", "fLaC", "ac-3",
    ]

    private func begin() -> Bytes {
        var file = Bytes()
        file.box("ftyp") {
            $0.add("M4A "); $0.big(0, 4); $0.add("M4A mp42isom")
        }
        return file
    }

    /// Adds a track.
    private mutating func addTrack(_ number: Int, to movie: inout Bytes, tables: Data) {
        let (codec, rate, channels) = (random.pick(Self.codecs), rate(), channels())
        let (scale, length) = (claim(16_000, 4), claim(48_000, 4))
        movie.box("trak") { track in
            track.box("tkhd") {
                $0.big(7, 4); $0.zeros(8); $0.big(number, 4); $0.zeros(68)
            }
            track.box("mdia") { media in
                media.box("mdhd") {
                    $0.zeros(12); $0.big(scale, 4); $0.big(length, 4); $0.zeros(4)
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
                            description.box(codec) { entry in
                                entry.zeros(6); entry.big(1, 2); entry.zeros(8)
                                entry.big(channels, 2); entry.big(16, 2); entry.zeros(4)
                                entry.big(rate << 16, 4)
                            }
                        }
                        table.add(tables)
                    }
                }
            }
        }
    }

    private static let emptyTables: Data = {
        var tables = Bytes()
        for name in ["stts", "stsc", "stco"] { tables.box(name) { $0.zeros(8) } }
        tables.box("stsz") { $0.zeros(12) }
        return tables.data
    }()

    /// A movie whose runs announce samples.
    ///
    /// Without flags, a sample has no bytes in the table of a run: the number alone costs memory.
    mutating func fragments() -> Data {
        let tracks = size(80)
        var file = begin()
        file.box("moov") { movie in
            movie.box("mvhd") {
                $0.zeros(12); $0.big(1_000, 4); $0.zeros(80); $0.big(2, 4)
            }
            for number in 1...tracks { addTrack(number, to: &movie, tables: Self.emptyTables) }
            movie.box("mvex") { extends in
                for number in 1...tracks {
                    extends.box("trex") {
                        // ffmpeg stops at samples without a size.
                        $0.big(0, 4); $0.big(number, 4); $0.big(1, 4); $0.big(1, 4); $0.big(1, 4); $0.big(0, 4)
                    }
                }
            }
        }
        for fragment in 1...size(20) {
            file.box("moof") { moof in
                moof.box("mfhd") {
                    $0.big(0, 4); $0.big(fragment, 4)
                }
                for number in 1...tracks where tracks == 1 || random.happens(oneIn: 2) { addRuns(number, to: &moof) }
            }
        }
        file.box("mdat") { $0.zeros(64) }
        return file.data
    }

    private mutating func addRuns(_ track: Int, to fragment: inout Bytes) {
        fragment.box("traf") { runs in
            runs.box("tfhd") {
                $0.big(0x020000, 4); $0.big(track, 4)
            }
            for _ in 1...size(16) {
                // The bits stand for the fields that each sample has.
                let flags = claim(0, 1) == 0 ? 0 : random.pick([0x1, 0x4, 0x100, 0x200, 0x400, 0x800])
                let samples = random.happens(oneIn: 4) ? size(0xFFFF_FFFF) : size(10_000_000)
                runs.box("trun") {
                    $0.big(flags, 4); $0.big(samples, 4); $0.zeros(random.pick([0, 8, 64]))
                }
            }
        }
    }

    /// A movie whose tables lie about their lengths and the samples.
    mutating func tables() -> Data {
        var file = begin()
        file.box("moov") { movie in
            movie.box("mvhd") {
                $0.zeros(12); $0.big(claim(1_000, 4), 4); $0.big(claim(3_000, 4), 4); $0.zeros(76); $0.big(2, 4)
            }
            for number in 1...size(20) {
                let tables = sampleTables()
                addTrack(number, to: &movie, tables: tables)
            }
        }
        file.box("mdat") { $0.zeros(64) }
        return file.data
    }

    private mutating func sampleTables() -> Data {
        var tables = Bytes()
        let samples = size(0xFFFF_FFFF)
        for (name, row) in [
            ("stts", [samples, 1]), ("stsc", [1, samples, 1]), ("stco", [0]), ("ctts", [samples, 1]),
        ] {
            guard name != "ctts" || random.happens(oneIn: 3) else { continue }
            let isTime = name == "stts" || name == "ctts"
            let rows = isTime && random.happens(oneIn: 3) ? size(parts) : 1
            tables.box(name) {
                $0.big(0, 4); $0.big(claim(rows, 4), 4)
                for _ in 0..<rows { for value in row { $0.big(claim(value, 4), 4) } }
            }
        }
        tables.box("stsz") {
            $0.big(0, 4); $0.big(claim(1, 4), 4); $0.big(claim(samples, 4), 4)
        }
        return tables.data
    }

    /// Boxes in boxes, whose sizes are right, zero, of 64 bits or beyond the end.
    mutating func boxes() -> Data {
        let names = [
            "moov", "trak", "mdia", "minf", "stbl", "udta", "meta", "dinf", "edts", "moof", "traf", "ilst", "wave",
        ]
        var file = begin()
        let (depth, name) = (size(parts * 10), random.happens(oneIn: 2) ? random.pick(names) : nil)
        for level in 0..<depth {
            switch claim(2, 1) {
            case 0: file.big(0, 4)
            case 1: file.big(0x7FFF_FFFF, 4)
            case 3...:
                file.big(1, 4)
                file.add(name ?? random.pick(names))
                file.big(random.pick([16 * (depth - level), 1 << 62, -1]), 8)
                continue
            default: file.big(16 * (depth - level), 4)
            }
            file.add(name ?? random.pick(names))
        }
        return file.data
    }
}
