import DequeModule
import Domain
import NIOCore

/// Searches an arriving recording for the marks of another kind of file.
///
/// The server does not store bytes that one program plays and another unpacks or shows.
///
/// It stores the first KiB, and at least as much of the end as can follow the directory of a ZIP archive.
struct PolyglotDetector {
    /// How much of the beginning is searched, in bytes.
    ///
    /// See ``FileKind/init(marking:)``.
    static let beginningLength = 1024
    /// The end of a ZIP archive's directory has 22 bytes.
    ///
    /// A comment of at most 65,535 bytes follows it (APPNOTE.TXT, 4.3.16).
    private static let archiveEndLength = 22
    private static let endLength = archiveEndLength + 65_535
    /// From this length on, bytes are kept in the buffer in which they arrived, and not copied.
    ///
    /// Shorter ones are copied, since each would keep a whole buffer of the connection in memory.
    private static let sharedLength = 16_384

    private var beginning: [UInt8] = []
    private var isBeginningChecked = false
    /// The end of the file so far, in order: at least ``endLength`` bytes of it, if there are as many.
    private var end: Deque<ByteBuffer> = []
    /// The number of bytes in ``end``.
    private var endCount = 0
    /// True if the last buffer of ``end`` holds copies and may take more.
    private var copiesIntoLast = false
    private var byteCount = 0

    /// Takes the next bytes.
    ///
    /// - Parameter bytes: The next bytes of the file.
    /// - Returns: The other kind of file that they show; nil if none.
    mutating func take(_ bytes: ByteBuffer) -> FileKind? {
        byteCount += bytes.readableBytes
        keepEnd(bytes)
        guard !isBeginningChecked else { return nil }
        beginning += bytes.readableBytesView.prefix(Self.beginningLength - beginning.count)
        return beginning.count == Self.beginningLength ? checkBeginning() : nil
    }

    /// Ends the file.
    ///
    /// - Returns: The other kind of file that its end shows; nil if none.
    mutating func finish() -> FileKind? {
        if !isBeginningChecked, let kind = checkBeginning() { return kind }
        return endsAsArchive ? .zip : nil
    }

    private mutating func keepEnd(_ bytes: ByteBuffer) {
        endCount += bytes.readableBytes
        if bytes.readableBytes >= Self.sharedLength {
            end.append(bytes)
            copiesIntoLast = false
        } else {
            if !copiesIntoLast { end.append(ByteBuffer()) }
            end[end.count - 1].writeImmutableBuffer(bytes)
            copiesIntoLast = end[end.count - 1].readableBytes < Self.sharedLength
        }
        while let first = end.first, endCount - first.readableBytes >= Self.endLength {
            end.removeFirst()
            endCount -= first.readableBytes
        }
    }

    private mutating func checkBeginning() -> FileKind? {
        isBeginningChecked = true
        defer { beginning = [] }
        return FileKind(marking: beginning)
    }

    /// True if a program that unpacks archives may find one here: the end of a directory of entries.
    ///
    /// Programs differ in which numbers of the directory they trust. The check therefore trusts none, and needs two
    /// marks together: one recording in 60,000 has the four bytes of the signature by chance. The second mark is the
    /// signature of an entry, a directory that begins before the stored bytes, or an empty directory.
    private var endsAsArchive: Bool {
        var whole = ByteBuffer()
        for buffer in end { whole.writeImmutableBuffer(buffer) }
        let bytes = whole.readableBytesView.suffix(Self.endLength)
        let hasEntries = bytes.firstRange(of: Self.entrySignature) != nil
        var rest = bytes[...]
        while let found = rest.firstRange(of: Self.endSignature) {
            let directory = bytes[found.lowerBound...]
            if directory.count >= Self.archiveEndLength {
                // APPNOTE.TXT, 4.3.16: the size of the directory is its fifth number.
                let size = directory.dropFirst(12).prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
                let seen = bytes.distance(from: bytes.startIndex, to: found.lowerBound)
                if hasEntries || size == 0 || size > seen && size <= byteCount { return true }
            }
            rest = rest[found.upperBound...]
        }
        return false
    }

    private static let endSignature: [UInt8] = [0x50, 0x4B, 0x05, 0x06]
    private static let entrySignature: [UInt8] = [0x50, 0x4B, 0x01, 0x02]
}
