public import NIOCore
public import NIOFileSystem

/// A stored recording that is open for reading.
///
/// Reading decrypts a sealed file. All reads use the file that was opened, also if another file replaces it.
public struct RecordingFile: Sendable {
    /// How many bytes of a plain file are read at once.
    private static let piece = 128 * 1024

    /// The size of the recording in bytes.
    public let byteCount: Int64
    private let path: FilePath
    private let file: RecordingDescriptor
    private let seal: RecordingSeal?

    /// The path of a plain file; nil if the file is sealed.
    public var plainPath: FilePath? { seal == nil ? path : nil }

    /// Makes the reader of a plain file.
    init(plain file: RecordingDescriptor, at path: FilePath) {
        self.path = path
        self.file = file
        byteCount = file.size
        seal = nil
    }

    /// Makes the reader of a sealed file, and checks its last chunk.
    ///
    /// Only the last chunk shows whether the end was cut off.
    ///
    /// - Throws: ``RecordingError``; `Errno`.
    init(sealed file: RecordingDescriptor, at path: FilePath, name: String, keys: RecordingKeys?) async throws {
        let header = try await file.read(RecordingSeal.headerSize, at: 0)
        let seal = try RecordingSeal(header: Array(header.readableBytesView), keys: keys, name: name)
        guard let byteCount = RecordingSeal.plainSize(ofSealed: file.size) else { throw RecordingError(.damaged) }
        _ = try await Self.chunk(RecordingSeal.lastChunk(of: byteCount), of: byteCount, from: file, seal)
        self.seal = seal
        self.byteCount = byteCount
        self.path = path
        self.file = file
    }

    /// Reads a part of the recording piece by piece.
    ///
    /// `body` never receives bytes of a damaged chunk.
    ///
    /// - Throws: ``RecordingError``, also if the file has become shorter; `Errno`; the error of `body`.
    public func read(_ range: Range<Int64>, _ body: (ByteBuffer) async throws -> Void) async throws {
        var position = range.lowerBound
        while position < range.upperBound {
            let bytes = try await bytes(from: position, upTo: range.upperBound)
            guard bytes.readableBytes > 0 else { throw RecordingError(.damaged) }
            position += Int64(bytes.readableBytes)
            try await body(bytes)
        }
    }

    /// Reads the next piece: some bytes of a plain file, or what is wanted of one chunk.
    private func bytes(from position: Int64, upTo end: Int64) async throws -> ByteBuffer {
        guard let seal else { return try await file.read(Int(min(end - position, Int64(Self.piece))), at: position) }
        let size = Int64(RecordingSeal.chunkSize)
        let index = position / size
        var chunk = try await Self.chunk(index, of: byteCount, from: file, seal)
        chunk.moveReaderIndex(forwardBy: Int(position - index * size))
        return chunk.readSlice(length: Int(min(end - position, Int64(chunk.readableBytes)))) ?? ByteBuffer()
    }

    /// Checks the first chunk of a part, while the caller can still answer with an error.
    ///
    /// - Throws: ``RecordingError``; `Errno`.
    public func check(from offset: Int64) async throws {
        guard seal != nil, offset < byteCount else { return }
        try await read(offset..<offset + 1) { _ in }
    }

    /// Writes the plain recording to a new file that only this account may read.
    public func copy(to target: FilePath) async throws {
        try await FileSystem.shared.withFileHandle(
            forWritingAt: target, options: .newFile(replaceExisting: false, permissions: .ownerReadWrite)
        ) { handle in
            var offset: Int64 = 0
            try await read(0..<byteCount) { bytes in
                offset += try await handle.write(contentsOf: bytes, toAbsoluteOffset: offset)
            }
        }
    }

    private static func chunk(
        _ index: Int64, of byteCount: Int64, from file: RecordingDescriptor, _ seal: RecordingSeal
    ) async throws -> ByteBuffer {
        let sealed = try await file.read(
            RecordingSeal.chunkSize + RecordingSeal.tagSize, at: RecordingSeal.offset(ofChunk: index))
        return try seal.open(sealed, index: index, isLast: index == RecordingSeal.lastChunk(of: byteCount))
    }
}
