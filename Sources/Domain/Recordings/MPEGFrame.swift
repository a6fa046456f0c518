/// The header of one frame of MPEG audio: of MP3, or of AAC in ADTS.
///
/// Neither has a mark at the beginning of the file. A header is only some set bits, which occur in any file by chance.
/// Two headers of the same stream, the second one where the first one's frame ends, do not.
struct MPEGFrame: Equatable {
    /// The number of bytes that a header has at most.
    static let headerLength = 7
    /// The number of bytes that a frame has at most: the 13 bits of ADTS.
    static let longest = 8191

    /// ``AudioFormat/mp3`` or ``AudioFormat/aac``.
    let format: AudioFormat
    /// The number of bytes from this header to the next one.
    let length: Int
    /// The bits of the header that are the same in all frames of a stream.
    private let constantBits: UInt16

    /// Reads the header at an index.
    ///
    /// Nil if there is none, or fewer than ``headerLength`` bytes follow.
    init?(_ bytes: [UInt8], at index: Int) {
        guard bytes.count - index >= Self.headerLength, bytes[index] == 0xFF, bytes[index + 1] & 0xE0 == 0xE0 else {
            return nil
        }
        let header = bytes[index..<index + Self.headerLength]
        guard let frame = Self(layerThree: header) ?? Self(adts: header) else { return nil }
        self = frame
    }

    /// True if the other header may be of the same stream.
    func isOfOneStream(with other: MPEGFrame) -> Bool {
        format == other.format && constantBits == other.constantBits
    }

    /// A header of layer III (ISO 11172-3, 2.4.1.3; ISO 13818-3 for the lower sample rates, and MPEG 2.5).
    ///
    /// A frame of the free bit rate does not tell its length, and ffmpeg does not decode it.
    private init?(layerThree header: ArraySlice<UInt8>) {
        let (second, third, fourth) = Self.bytes(header)
        let version = second >> 3 & 0b11
        guard version != 0b01, second >> 1 & 0b11 == 0b01, fourth & 0b11 != 0b10 else { return nil }
        let (bitRateIndex, sampleRateIndex) = (Int(third >> 4), Int(third >> 2 & 0b11))
        guard (1...14).contains(bitRateIndex), sampleRateIndex < 3 else { return nil }
        let isFirstVersion = version == 0b11
        let bitRate = (isFirstVersion ? Self.bitRates : Self.lowBitRates)[bitRateIndex - 1] * 1000
        let sampleRate = Self.sampleRates[sampleRateIndex] >> (isFirstVersion ? 0 : version == 0b10 ? 1 : 2)
        format = .mp3
        length = (isFirstVersion ? 144 : 72) * bitRate / sampleRate + Int(third >> 1 & 1)
        constantBits = UInt16(second & 0x1E) << 8 | UInt16(third & 0x0C)
    }

    /// A header of ADTS (ISO 13818-7, 6.2).
    private init?(adts header: ArraySlice<UInt8>) {
        let (second, third, fourth) = Self.bytes(header)
        guard second & 0xF6 == 0xF0, third >> 2 & 0xF < 13 else { return nil }
        let (fifth, sixth) = (header[header.startIndex + 4], header[header.startIndex + 5])
        format = .aac
        length = Int(fourth & 0b11) << 11 | Int(fifth) << 3 | Int(sixth >> 5)
        constantBits = UInt16(second & 0xFE) << 8 | UInt16(third & 0xFC)
        guard length >= Self.headerLength else { return nil }
    }

    private static func bytes(_ header: ArraySlice<UInt8>) -> (UInt8, UInt8, UInt8) {
        (header[header.startIndex + 1], header[header.startIndex + 2], header[header.startIndex + 3])
    }

    /// The bit rates of MPEG-1 layer III, in kbit/s.
    private static let bitRates = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    /// The bit rates of MPEG-2 and MPEG-2.5 layer III, in kbit/s.
    private static let lowBitRates = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    /// The sample rates of MPEG-1, in Hz; MPEG-2 has half of them, MPEG-2.5 a quarter.
    private static let sampleRates = [44_100, 48_000, 32_000]
}
