/// Finds the format of a file by its bytes, as they arrive.
///
/// It skips ID3 tags of any length, and up to 64 KiB of junk before two MPEG frames in a row. It stores no more than
/// that junk, however long the file is. The signatures are those of the WHATWG MIME Sniffing Standard, section 6.2,
/// and of the formats themselves.
public struct FormatRecognizer: Sendable {
    /// What a file is.
    public enum Finding: Hashable, Sendable {
        /// A recording that the server accepts.
        case recording(AudioFormat)
        /// Another kind of file.
        case other(FileKind)
    }

    /// The maximum number of bytes before the first MPEG frame, after a tag.
    ///
    /// ffmpeg searches as far (`mp3_read_header`).
    static let junkLimit = 65_536
    /// The minimum number of bytes of a recording.
    private static let shortest = 12
    /// The number of bytes that decide between all formats with a signature.
    private static let signatureLength = 64
    /// The number of bytes that are searched for the kind of a file that is no recording.
    private static let kindLength = 4096

    private enum Phase {
        /// At the beginning of the file, or after an ID3 tag.
        case beginning
        /// In front of a box of an ISO base media file, after boxes without meaning.
        case boxes
        /// In what may be junk before MPEG frames.
        case junk(searched: Int)
    }

    /// What the file is; nil while the bytes do not decide it.
    public private(set) var finding: Finding?

    private var phase = Phase.beginning
    /// The bytes from the present position on.
    private var bytes: [UInt8] = []
    /// How many bytes to skip.
    private var skip: UInt64 = 0
    /// True after an ID3 tag.
    private var hasTag = false
    private var byteCount = 0

    /// A recognizer that has no bytes yet.
    public init() {}

    /// Finds the format of the whole beginning of a file.
    ///
    /// - Parameter bytes: The first bytes, or all of them.
    /// - Returns: What they show, as if no more bytes followed.
    public static func finding(for bytes: some Collection<UInt8>) -> Finding {
        var recognizer = FormatRecognizer()
        recognizer.take(bytes)
        return recognizer.finish()
    }

    /// Takes the next bytes.
    ///
    /// - Parameter next: The next bytes of the file.
    /// - Returns: What the file is; nil while the bytes do not decide it.
    @discardableResult
    public mutating func take(_ next: some Collection<UInt8>) -> Finding? {
        guard finding == nil, !next.isEmpty else { return finding }
        byteCount += next.count
        var rest = next[...]
        while !rest.isEmpty, finding == nil {
            let skipped = Int(min(skip, UInt64(rest.count)))
            rest = rest.dropFirst(skipped)
            skip -= UInt64(skipped)
            // A piece at a time: one call may bring the whole file.
            let piece = rest.prefix(Self.kindLength)
            bytes += piece
            rest = rest.dropFirst(piece.count)
            examine(isEnd: false)
        }
        return finding
    }

    /// Ends the file.
    ///
    /// - Returns: What the file is.
    public mutating func finish() -> Finding {
        if finding == nil, byteCount < Self.shortest { finding = .other(byteCount == 0 ? .empty : .short) }
        examine(isEnd: true)
        let finding = finding ?? .other(.unknown)
        self.finding = finding
        return finding
    }

    private mutating func examine(isEnd: Bool) {
        while finding == nil, skip == 0, step(isEnd: isEnd) {}
        if finding != nil { bytes = [] }
    }

    /// Takes one step; returns false if that needs more bytes.
    private mutating func step(isEnd: Bool) -> Bool {
        switch phase {
        case .beginning:
            guard bytes.count >= Self.signatureLength || isEnd else { return false }
            readBeginning()
            return true
        case .boxes:
            guard bytes.count >= Box.headerLength || isEnd else { return false }
            return readBox()
        case .junk(let searched):
            return search(from: searched, isEnd: isEnd)
        }
    }

    private mutating func readBeginning() {
        if let length = ID3Tag.length(bytes) {
            hasTag = true
            drop(UInt64(length))
        } else if let format = AudioFormat(signature: bytes) {
            finding = .recording(format)
        } else if Box(bytes)?.isFirst == true {
            phase = .boxes
        } else {
            // A broken tag: its length is not one.
            hasTag = hasTag || bytes.starts(with: ID3Tag.signature)
            phase = .junk(searched: 0)
        }
    }

    // MARK: - ISO base media files

    private mutating func readBox() -> Bool {
        guard let box = Box(bytes) else { return false }
        switch box.content {
        case .format(let format): finding = .recording(format)
        case .other(let kind): finding = .other(kind)
        case .nothing: drop(box.length)
        }
        return true
    }

    // MARK: - MPEG frames

    /// Searches for two frames in a row.
    ///
    /// - Parameters:
    ///   - start: Where to begin. No frame is before it.
    ///   - isEnd: True if no more bytes follow.
    /// - Returns: False if the search needs more bytes.
    private mutating func search(from start: Int, isEnd: Bool) -> Bool {
        guard bytes.count >= Self.kindLength || isEnd else { return false }
        if start == 0, let kind = FileKind(beginning: Array(bytes.prefix(Self.kindLength))) {
            finding = .other(kind)
            return true
        }
        var index = start
        // A pair of frames has to be there as a whole, unless the file ends.
        let reach = isEnd ? 0 : MPEGFrame.longest + MPEGFrame.headerLength
        while index <= Self.junkLimit, index + reach < bytes.count {
            if let frame = MPEGFrame(bytes, at: index), isFollowed(frame, at: index, isEnd: isEnd) {
                finding = FileKind(inJunk: bytes[..<index]).map { .other($0) } ?? .recording(frame.format)
                return true
            }
            index += 1
        }
        guard index > Self.junkLimit || isEnd else {
            phase = .junk(searched: index)
            return false
        }
        finding = unrecognized
        return isEnd
    }

    /// True if another frame of the stream, or the end of the file, comes right after this one.
    private func isFollowed(_ frame: MPEGFrame, at index: Int, isEnd: Bool) -> Bool {
        if isEnd, index == 0, index + frame.length == bytes.count { return true }
        return MPEGFrame(bytes, at: index + frame.length)?.isOfOneStream(with: frame) ?? false
    }

    /// What a file without MPEG frames is.
    private var unrecognized: Finding {
        let junk = bytes.prefix(Self.junkLimit)
        if let kind = FileKind(inJunk: junk) { return .other(kind) }
        // The length of a tag may be wrong. ffmpeg then finds the frames after it, however far they are.
        if junk.isEmpty { return .other(.unknown) }
        if hasTag { return .recording(.mp3) }
        return .other(junk.allSatisfy { $0 == 0 } ? .zeros : .unknown)
    }

    /// Goes on after the next bytes.
    private mutating func drop(_ count: UInt64) {
        let dropped = Int(min(count, UInt64(bytes.count)))
        bytes.removeFirst(dropped)
        skip = count - UInt64(dropped)
    }
}

/// The header of an ID3 tag of version 2 (https://id3.org/id3v2.4.0-structure, 3.1).
private enum ID3Tag {
    static let signature = Array("ID3".utf8)

    /// The number of bytes of the tag at the beginning of some bytes; nil if there is none.
    static func length(_ bytes: [UInt8]) -> Int? {
        guard bytes.count >= 10, bytes.starts(with: signature), bytes[3] < 0xFF, bytes[4] < 0xFF,
            bytes[6..<10].allSatisfy({ $0 < 0x80 })
        else { return nil }
        let size = bytes[6..<10].reduce(0) { $0 << 7 | Int($1) }
        let hasFooter = bytes[3] >= 4 && bytes[5] & 0x10 != 0
        return 10 + size + (hasFooter ? 10 : 0)
    }
}

extension AudioFormat {
    /// The format of a file with a signature at its beginning; nil if there is none.
    ///
    /// An MP3 without a tag begins with a frame.
    fileprivate init?(signature bytes: [UInt8]) {
        func shows(_ signature: String, at offset: Int = 0) -> Bool {
            bytes.dropFirst(offset).starts(with: signature.utf8)
        }
        if shows("RIFF") || shows("RF64") || shows("BW64"), shows("WAVE", at: 8) {
            self = .wav
        } else if shows("OggS") {
            self = .ogg
        } else if shows("fLaC") {
            self = .flac
        } else if shows("FORM"), shows("AIFF", at: 8) || shows("AIFC", at: 8) {
            self = .aiff
        } else if shows("caff\0\u{1}") {
            self = .caf
        } else if shows("#!AMR\n") {
            self = .amr
        } else if shows("#!AMR-WB\n") {
            self = .amrWideband
        } else if bytes.starts(with: [0x1A, 0x45, 0xDF, 0xA3]) {
            self = Self.isMatroska(bytes) ? .matroska : .webm
        } else if MPEGFrame(bytes, at: 0)?.format == .mp3 {
            self = .mp3
        } else {
            return nil
        }
    }

    /// True if the `DocType` in the header of an EBML file (RFC 8794, 11.2.4) is that of Matroska.
    private static func isMatroska(_ bytes: [UInt8]) -> Bool {
        let docType: [UInt8] = [0x42, 0x82, 0x88] + Array("matroska".utf8)
        return bytes.prefix(64).firstRange(of: docType) != nil
    }
}

/// The beginning of a box of an ISO base media file (ISO 14496-12, 4.2).
private struct Box {
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
