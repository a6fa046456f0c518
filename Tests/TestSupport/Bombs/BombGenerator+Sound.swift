import Foundation
import PropertySupport

// Formats without a container to speak of: a header, and samples or frames.
extension BombGenerator {
    /// A WAV of any codec, RF64 and BW64 included.
    mutating func wave() -> Data {
        let signature = random.pick(["RIFF", "RIFF", "RF64", "BW64"])
        let bytes = size(parts * 200)
        let (rate, channels, bits) = (rate(), channels(), random.pick([8, 16, 16, 24, 32, claim(16, 1)]))
        var file = Bytes(signature)
        file.little(claim(36 + bytes, 4), 4)
        file.add("WAVE")
        if signature != "RIFF" {
            file.add("ds64")
            file.little(28, 4)
            for value in [bytes + 72, bytes, bytes / 2] { file.little(claim(value, 8), 8) }
            file.little(claim(0, 4), 4)
        }
        for _ in 0..<(random.happens(oneIn: 3) ? size(parts) : 0) {
            file.add("LIST")
            file.little(claim(4, 4), 4)
            file.add("INFO")
        }
        file.add("fmt ")
        file.little(16, 4)
        file.little(random.pick([1, 1, 1, 2, 3, 6, 7, 0x11, 0x31, 0x50, 0x55, 0xFFFE]), 2)
        file.little(channels, 2)
        file.little(rate, 4)
        file.little(claim(rate * channels * bits / 8, 4), 4)
        file.little(claim(channels * bits / 8, 2), 2)
        file.little(bits, 2)
        file.add("data")
        file.little(signature == "RIFF" ? claim(bytes, 4) : 0xFFFF_FFFF, 4)
        file.zeros(bytes)
        return file.data
    }

    mutating func aiff() -> Data {
        let (isCompressed, samples) = (random.happens(oneIn: 2), size(parts * 100))
        var file = Bytes("FORM")
        file.big(claim(samples + (isCompressed ? 52 : 46), 4), 4)
        file.add(isCompressed ? "AIFC" : "AIFF")
        file.add("COMM")
        file.big(isCompressed ? 24 : 18, 4)
        file.big(channels(), 2)
        file.big(claim(samples / 2, 4), 4)
        file.big(random.pick([8, 16, 16, 24, 32, claim(16, 1)]), 2)
        // The sample rate, as an extended number of 80 bits: 2 to the power of the exponent, less 16,383.
        file.big(16_383 + (hasOddSound ? random.pick([0, 4, 12, 19, 30]) : 13), 2)
        file.big(1 << 63, 8)
        if isCompressed {
            file.add(random.pick(["NONE", "twos", "ulaw", "alaw", "ima4", "fl32"]))
            file.zeros(2)
        }
        file.add("SSND")
        file.big(claim(samples + 8, 4), 4)
        file.zeros(8 + samples)
        return file.data
    }

    mutating func coreAudio() -> Data {
        var file = Bytes("caff")
        file.big(1 << 16, 4)
        file.add("desc")
        file.big(32, 8)
        let rate = claim(0, 1) == 0 ? Double(rate()) : random.pick([.nan, .infinity, -1, 1e-300, 1e300])
        file.big(Int(bitPattern: UInt(rate.bitPattern)), 8)
        file.add(random.pick(["aac ", "alac", "lpcm", "ima4", "opus", "ulaw"]))
        // No flags, packets of varying length, 1,024 frames in each.
        for value in [claim(0, 4), claim(0, 4), claim(1_024, 4), channels(), claim(16, 4)] { file.big(value, 4) }
        if random.happens(oneIn: 2) {
            file.add("kuki")
            file.big(claim(64, 8), 8)
            file.zeros(64)
        }
        file.add("pakt")
        let entries = size(parts)
        file.big(24 + entries, 8)
        for _ in 0..<2 { file.big(claim(entries, 8), 8) }
        file.zeros(8)
        file.add([UInt8](repeating: claim(0, 1) == 0 ? 1 : random.pick([0, 0x7F, 0x81, 0xFF]), count: entries))
        file.add("data")
        file.big(claim(-1, 8), 8)
        file.zeros(size(parts * 100))
        return file.data
    }

    /// Frames of silence, after metadata that lies.
    mutating func flac() -> Data {
        var file = Bytes("fLaC")
        let blocks = random.happens(oneIn: 2) ? size(parts) : 0
        file.big((blocks == 0 ? 0x8000_0000 : 0) | 0x22, 4)
        file.big(claim(65_535, 2), 2)
        file.big(65_535, 2)
        file.zeros(6)
        let samples = random.happens(oneIn: 2) ? size(0xF_FFFF_FFFF) : 0
        file.big(min(rate(), 0xF_FFFF) << 44 | Int.random(in: 0...7, using: &random) << 41 | 15 << 36 | samples, 8)
        file.zeros(16)
        for number in 0..<blocks {
            // Padding, application, seek table, comments, cue sheet and picture.
            let type = Int.random(in: 1...6, using: &random)
            file.big((number == blocks - 1 ? 0x80 : 0) | type, 1)
            file.big(claim(36, 3), 3)
            file.add(random.bytes(36...36))
        }
        for number in 0..<size(parts) {
            var frame = Bytes()
            frame.add([0xFF, 0xF8, 0x70, 0x08])
            frame.add(String(Unicode.Scalar(UInt32(number < 0xD800 ? number : number + 0x800)) ?? "a"))
            frame.big(65_534, 2)
            frame.big(Checksum.flacHeader(frame.data), 1)
            frame.add([0, 0, 0])
            frame.big(Checksum.flacFrame(frame.data), 2)
            file.add(frame.data)
        }
        return file.data
    }

    /// Frames of layer III, behind tags and a header that announces any number of them.
    mutating func mpeg() -> Data {
        var file = Bytes()
        for _ in 0..<(random.happens(oneIn: 3) ? size(parts) : 0) { file.add("ID3\u{4}\0\0\0\0\0\0") }
        // 32 kbit/s at 44.1 kHz, 8 kbit/s at 24 kHz, 8 kbit/s at 8 kHz: mono.
        let heads: [(head: [UInt8], length: Int)] = [
            ([0xFF, 0xFB, 0x10, 0xC4], 104), ([0xFF, 0xF3, 0x14, 0xC4], 24), ([0xFF, 0xE3, 0x18, 0xC4], 72),
        ]
        file.add(heads[0].head)
        file.zeros(17)
        file.add(random.pick(["Xing", "Info", "VBRI"]))
        for value in [3, claim(50, 4), claim(5_000, 4)] { file.big(value, 4) }
        file.zeros(heads[0].length - 37)
        let (usual, changes) = (random.pick(heads), random.happens(oneIn: 3))
        for _ in 0..<size(parts) {
            let frame = changes ? random.pick(heads) : usual
            file.add(frame.head)
            file.zeros(frame.length - 4)
        }
        return file.data
    }

    /// Frames of AAC whose rate and channels change.
    mutating func adts() -> Data {
        var file = Bytes()
        let changes = random.happens(oneIn: 2)
        var (rate, channels) = (4, random.pick([1, 2]))
        // Silence, by the encoder of FFmpeg.
        let silence: [Int: [UInt8]] = [
            1: [0x00, 0xC8, 0x00, 0x80, 0x23, 0x80], 2: [0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80],
        ]
        for _ in 0..<(2 + size(parts)) {
            if changes {
                rate = Int.random(in: 0...12, using: &random)
                channels = random.pick([1, 2])
            }
            let payload = claim(0, 1) == 0 ? silence[channels] ?? [] : random.bytes(2...24)
            let length = 7 + payload.count
            file.big(0xFFF1, 2)
            file.big(0x40 | rate << 2 | channels >> 2, 1)
            file.big((channels & 3) << 6 | length >> 11, 1)
            file.big(length >> 3, 1)
            file.big((length & 7) << 5 | 0x1F, 1)
            file.big(0xFC, 1)
            file.add(payload)
        }
        return file.data
    }

    /// Frames without data: one byte is 20 ms.
    mutating func amr() -> Data {
        let isWide = random.happens(oneIn: 2)
        var file = Bytes(isWide ? "#!AMR-WB\n" : "#!AMR\n")
        let frame = random.happens(oneIn: 2) ? 0x7C : random.pick([0x3C, 0x04, 0x44, 0x4C, 0x54]) as UInt8
        file.add([UInt8](repeating: frame, count: size(parts * 200)))
        return file.data
    }
}
