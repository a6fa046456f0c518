public import NIOCore
public import NIOFileSystem

/// A stored recording, to be read: as it came, wherever the file is sealed.
public struct RecordingFile: Sendable {
    /// How much of a file that is not sealed is read at once.
    private static let piece = ByteCount.kibibytes(128)

    /// How many bytes the recording has.
    public let byteCount: Int64
    /// The extension of its format, without a dot.
    public let fileExtension: String
    private let path: FilePath
    private let seal: RecordingSeal?

    /// The file, when it holds the recording as it came; nil when it is sealed.
    public var plainPath: FilePath? { seal == nil ? path : nil }

    /// A file that holds a recording as it came.
    init(plain path: FilePath, name: String, byteCount: Int64) {
        self.path = path
        fileExtension = Self.fileExtension(of: name)
        self.byteCount = byteCount
        seal = nil
    }

    /// Opens a sealed file, and looks at its last chunk: without that, nobody sees whether its end was cut off.
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

    /// Reads a part of the recording, piece by piece.
    ///
    /// Nothing of a chunk that is damaged gets to `body`.
    ///
    /// - Throws: ``RecordingError``, `FileSystemError`, and what `body` throws.
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

    /// Sees that a part of the recording begins well, so that it can still be refused in a proper way.
    ///
    /// - Throws: ``RecordingError``, `FileSystemError`.
    public func check(from offset: Int64) async throws {
        guard seal != nil, offset < byteCount else { return }
        try await read(offset..<offset + 1) { _ in }
    }

    /// Writes the recording as it came into a new file, for this account alone.
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
