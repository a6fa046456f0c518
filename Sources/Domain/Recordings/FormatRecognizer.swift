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
