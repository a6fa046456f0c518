/// The beginning of a box of an ISO base media file (ISO 14496-12, 4.2).
struct Box {
    /// The number of bytes that ``init(_:)`` reads: size, type, and the first words of the content.
    static let headerLength = 16

    /// What a box says about its file.
    enum Content {
        case format(AudioFormat)
        case other(FileKind)
        /// The next box decides.
        case nothing
    }

    /// The number of bytes up to the next box.
    let length: UInt64
    let content: Content
    /// True if a file may begin with this box.
    let isFirst: Bool

    /// Reads the box at the beginning of some bytes; nil if there are too few.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 8 else { return nil }
        let shortLength = Self.number(bytes[..<4])
        let type = Self.text(bytes[4..<8])
        switch shortLength {
        // The box reaches to the end of the file.
        case 0: length = .max
        case 1: length = bytes.count >= 16 ? max(Self.number(bytes[8..<16]), 16) : .max
        default: length = shortLength
        }
        let isBox = shortLength < 2 || shortLength >= 8
        switch type {
        case "ftyp":
            let brand = Self.text(bytes.dropFirst(8).prefix(4))
            content = FileKind(brand: brand).map { .other($0) } ?? .format(Self.format(brand: brand))
            isFirst = isBox
        // QuickTime files from before `ftyp` begin with their samples, or with the index of them.
        case "mdat":
            content = .format(.quickTime)
            isFirst = isBox
        case "moov":
            content = .format(.quickTime)
            isFirst = isBox && Self.firstOfMovie.contains(Self.text(bytes.dropFirst(12).prefix(4)))
        case "wide", "free", "skip", "pnot":
            content = isBox ? .nothing : .other(.unknown)
            isFirst = isBox && shortLength != 0
        default:
            content = .other(.unknown)
            isFirst = false
        }
    }

    /// The boxes that a `moov` begins with.
    private static let firstOfMovie: Set<String> = [
        "mvhd", "cmov", "trak", "udta", "iods", "meta", "rmra", "free", "clip",
    ]

    private static func format(brand: String) -> AudioFormat {
        if brand == "qt  " { return .quickTime }
        // 3GPP TS 26.244, 5.3.4; 3GPP2 C.S0050.
        return brand.hasPrefix("3g") ? .threeGPP : .mp4
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
}
