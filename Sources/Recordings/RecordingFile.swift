public import NIOCore
public import NIOFileSystem

/// A stored recording that can be read.
///
/// Reading decrypts a sealed file.
public struct RecordingFile: Sendable {
    /// How many bytes of a plain file are read at once.
    private static let piece = ByteCount.kibibytes(128)

    /// The size of the recording in bytes.
    public let byteCount: Int64
    /// The extension of its format, without the dot.
    public let fileExtension: String
    private let path: FilePath
    private let seal: RecordingSeal?

    /// The path of a plain file; nil if the file is sealed.
    public var plainPath: FilePath? { seal == nil ? path : nil }

    /// Makes the reader of a plain file.
    init(plain path: FilePath, name: String, byteCount: Int64) {
        self.path = path
        fileExtension = Self.fileExtension(of: name)
        self.byteCount = byteCount
        seal = nil
    }

    /// Opens a sealed file and checks its last chunk.
    ///
    /// Only the last chunk shows whether the end was cut off.
    ///
    /// - Throws: ``RecordingError``; `FileSystemError`.
    init(sealed path: FilePath, name: String, keys: RecordingKeys?) async throws {
        (seal, byteCount) = try await FileSystem.shared.withFileHandle(forReadingAt: path) { handle in
            let header = try await handle.readChunk(
                fromAbsoluteOffset: 0, length: .bytes(Int64(RecordingSeal.headerSize)))
            let seal = try RecordingSeal(header: Array(header.readableBytesView), keys: keys, name: name)
            guard let byteCount = RecordingSeal.plainSize(ofSealed: try await handle.info().size) else {
                throw RecordingError(.damaged)
            }
            let last = RecordingSeal.lastChunk(of: byteCount)
            _ = try await Self.chunk(last, of: byteCount, from: handle, seal)
            return (seal, byteCount)
        }
        self.path = path
        fileExtension = Self.fileExtension(of: name)
    }

    /// Reads a part of the recording piece by piece.
    ///
    /// `body` never receives bytes of a damaged chunk.
    ///
    /// - Throws: ``RecordingError``; `FileSystemError`; the error of `body`.
    public func read(_ range: Range<Int64>, _ body: (ByteBuffer) async throws -> Void) async throws {
        try await FileSystem.shared.withFileHandle(forReadingAt: path) { handle in
            guard let seal else {
                for try await bytes in handle.readChunks(in: range, chunkLength: Self.piece) { try await body(bytes) }
                return
            }
            let size = Int64(RecordingSeal.chunkSize)
            var position = range.lowerBound
            while position < range.upperBound {
                let index = position / size
                var chunk = try await Self.chunk(index, of: byteCount, from: handle, seal)
                chunk.moveReaderIndex(forwardBy: Int(position - index * size))
                let wanted = Int(min(range.upperBound - position, Int64(chunk.readableBytes)))
                guard let bytes = chunk.readSlice(length: wanted), wanted > 0 else { throw RecordingError(.damaged) }
                try await body(bytes)
                position += Int64(wanted)
            }
        }
    }

    /// Checks the first chunk of a part, while the caller can still answer with an error.
    ///
    /// - Throws: ``RecordingError``; `FileSystemError`.
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

    private static func fileExtension(of name: String) -> String {
        String(name.split(separator: ".").dropFirst().first ?? "")
    }

    private static func chunk(
        _ index: Int64, of byteCount: Int64, from handle: ReadFileHandle, _ seal: RecordingSeal
    ) async throws -> ByteBuffer {
        let sealed = try await handle.readChunk(
            fromAbsoluteOffset: RecordingSeal.offset(ofChunk: index),
            length: .bytes(Int64(RecordingSeal.chunkSize + RecordingSeal.tagSize)))
        return try seal.open(sealed, index: index, isLast: index == RecordingSeal.lastChunk(of: byteCount))
    }
}
