import Crypto
public import NIOCore
import NIOFileSystem

/// Writes one recording: counts and hashes its bytes, and seals them if the site has keys.
///
/// Memory holds no more than a few buffers.
public struct RecordingWriter: Sendable {
    /// How many bytes are written at once: whole chunks of ``RecordingSeal``.
    private static let pieceSize = 3 * RecordingSeal.chunkSize
    /// The capacity of a buffer: room for one more read of the network, without a copy of the buffer.
    private static let bufferSize = 4 * RecordingSeal.chunkSize

    private let handle: WriteFileHandle
    private let seal: RecordingSeal?
    private var buffer = ByteBuffer()
    private var offset: Int64 = 0
    /// The hash of the bytes before the write under way.
    private var hasher = SHA256()
    /// The write under way, with the hash of all bytes up to its end.
    ///
    /// While one buffer is hashed, sealed and written, the next one fills.
    private var underWay: Task<SHA256, any Error>?

    init(handle: WriteFileHandle, seal: RecordingSeal?) {
        self.handle = handle
        self.seal = seal
        buffer.reserveCapacity(Self.bufferSize)
    }

    /// The number of bytes so far, before sealing.
    public var byteCount: Int64 { offset + Int64(buffer.readableBytes) }

    /// Appends bytes.
    ///
    /// - Throws: `FileSystemError` of these bytes or of earlier ones, for example when the disk is full.
    public mutating func write(_ bytes: ByteBuffer) async throws {
        buffer.writeImmutableBuffer(bytes)
        // Keeps the last bytes in the buffer: they may be the last chunk of the recording, which is sealed in another
        // way.
        while buffer.readableBytes > Self.pieceSize, let full = buffer.readSlice(length: Self.pieceSize) {
            try await flush(full, isEnd: false)
        }
    }

    /// The SHA-256 of the bytes so far, before sealing.
    ///
    /// - Throws: `FileSystemError` of earlier bytes.
    public mutating func digest() async throws -> [UInt8] {
        try await settle()
        var whole = hasher
        buffer.withUnsafeReadableBytes { whole.update(bufferPointer: $0) }
        return Array(whole.finalize())
    }

    /// Writes as many bytes as can be written before the end, and waits for all writes.
    ///
    /// A sealed file gets whole chunks alone, and keeps at least one byte back: the last chunk is sealed in another way.
    ///
    /// - Returns: The number of bytes that are written. They are durable once the file is flushed.
    mutating func writeWholeChunks() async throws -> Int64 {
        let size = RecordingSeal.chunkSize
        let count = seal == nil ? buffer.readableBytes : max(buffer.readableBytes - 1, 0) / size * size
        if count > 0, let ready = buffer.readSlice(length: count) { try await flush(ready, isEnd: false) }
        try await settle()
        return offset
    }

    /// Writes the remaining bytes, and waits for all writes.
    mutating func finish() async throws {
        try await flush(buffer, isEnd: true)
        try await settle()
    }

    /// Waits for the write under way, and ignores its error.
    func abandon() async { _ = try? await underWay?.value }

    /// Waits for the write under way.
    private mutating func settle() async throws {
        guard let write = underWay else { return }
        hasher = try await write.value
        underWay = nil
    }

    /// Starts to write a buffer, and begins the next one with the bytes after it.
    private mutating func flush(_ full: ByteBuffer, isEnd: Bool) async throws {
        try await settle()
        let start = offset
        underWay = Task { [handle, seal, hasher] in
            // The write waits for the disk, and the hash for the processor.
            async let written: Void = Self.write(full, at: start, isEnd: isEnd, to: handle, seal)
            var hasher = hasher
            full.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
            try await written
            return hasher
        }
        offset += Int64(full.readableBytes)
        var next = ByteBuffer()
        if !isEnd {
            next.reserveCapacity(Self.bufferSize)
            next.writeImmutableBuffer(buffer)
        }
        buffer = next
    }

    private static func write(
        _ full: ByteBuffer, at start: Int64, isEnd: Bool, to handle: WriteFileHandle, _ seal: RecordingSeal?
    ) async throws {
        guard let seal else {
            try await handle.write(contentsOf: full, toAbsoluteOffset: start)
            return
        }
        if start == 0 { try await handle.write(contentsOf: seal.header, toAbsoluteOffset: 0) }
        let first = start / Int64(RecordingSeal.chunkSize)
        try await handle.write(
            contentsOf: seal.seal(full, from: first, isEnd: isEnd),
            toAbsoluteOffset: RecordingSeal.offset(ofChunk: first))
    }
}
