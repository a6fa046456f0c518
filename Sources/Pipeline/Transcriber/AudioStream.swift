/// Reads the AU file that ffmpeg writes to a pipe: a header with the number of channels, then 16-bit samples, big endian.
///
/// ffmpeg decides the number of channels when it decodes the first frame, and the header of a recording may name
/// another number. The samples alone could therefore not be told apart.
///
/// The header has six 32-bit words: the magic `.snd`, the offset of the samples, their size, their encoding, the sample
/// rate and the number of channels. Source: "Audio File Formats: .au", `audio(4)` of SunOS.
struct AudioStream {
    /// Why the bytes are not such a file.
    struct Malformed: Error {}

    private static let headerLength = 24
    private static let longestHeader = 4_096

    /// The number of channels, or nil before the header.
    private(set) var channels: Int?
    private var pending: [UInt8] = []

    /// Takes the next bytes.
    ///
    /// - Returns: The interleaved samples in them.
    /// - Throws: ``Malformed`` when the header is not as ffmpeg writes it.
    mutating func take(_ bytes: [UInt8]) throws(Malformed) -> [Int16] {
        pending += bytes
        if channels == nil { try readHeader() }
        guard channels != nil else { return [] }
        let count = pending.count / 2
        let samples = (0..<count).map { Int16(bitPattern: UInt16(pending[2 * $0]) << 8 | UInt16(pending[2 * $0 + 1])) }
        pending.removeFirst(2 * count)
        return samples
    }

    private mutating func readHeader() throws(Malformed) {
        guard pending.count >= Self.headerLength else { return }
        func word(_ index: Int) -> Int { pending[(4 * index)..<(4 * index + 4)].reduce(0) { $0 << 8 | Int($1) } }
        let length = word(1)
        guard pending.starts(with: ".snd".utf8), (Self.headerLength...Self.longestHeader).contains(length),
            word(4) == AudioDecoder.framesPerSecond, (1...AudioLimits.channels).contains(word(5))
        else { throw Malformed() }
        guard pending.count >= length else { return }
        channels = word(5)
        pending.removeFirst(length)
    }
}
