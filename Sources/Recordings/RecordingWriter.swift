import Crypto
public import NIOCore
import NIOFileSystem

/// Writes one recording: counts and hashes its bytes, and seals them if the site has keys.
///
/// Memory holds no more than a few buffers.
public struct RecordingWriter: Sendable {
    /// The size of a buffer in bytes: whole chunks of ``RecordingSeal``.
    private static let bufferSize = 16 * RecordingSeal.chunkSize

    private let handle: WriteFileHandle
    private let seal: RecordingSeal?
    private var buffer = ByteBuffer()
    private var offset: Int64 = 0
    private var hasher = SHA256()
    /// The write under way.
    ///
    /// While one buffer is sealed and written, the next one fills.
    private var underWay: Task<Void, any Error>?

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
        bytes.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
        buffer.writeImmutableBuffer(bytes)
        // Keeps the last bytes in the buffer: they may be the last chunk of the recording, which is sealed in another
        // way.
        while buffer.readableBytes > Self.bufferSize, let full = buffer.readSlice(length: Self.bufferSize) {
            try await flush(full, isEnd: false)
        }
    }

    /// The SHA-256 of the bytes so far, before sealing.
    public func digest() -> [UInt8] { Array(hasher.finalize()) }

    /// Writes as many bytes as can be written before the end, and waits for all writes.
    ///
    /// A sealed file gets whole chunks alone, and keeps at least one byte back: the last chunk is sealed in another way.
    ///
    /// - Returns: The number of bytes that are written. They are durable once the file is flushed.
    mutating func writeWholeChunks() async throws -> Int64 {
        let size = RecordingSeal.chunkSize
        let count = seal == nil ? buffer.readableBytes : max(buffer.readableBytes - 1, 0) / size * size
        if count > 0, let ready = buffer.readSlice(length: count) { try await flush(ready, isEnd: false) }
        try await underWay?.value
        return offset
    }

    /// Writes the remaining bytes, and waits for all writes.
    mutating func finish() async throws {
        try await flush(buffer, isEnd: true)
        try await underWay?.value
    }

    /// Waits for the write under way, and ignores its error.
    func abandon() async { _ = try? await underWay?.value }

    /// Starts to write a buffer, and begins the next one with the bytes after it.
    private mutating func flush(_ full: ByteBuffer, isEnd: Bool) async throws {
        try await underWay?.value
        let start = offset
        underWay = Task { [handle, seal] in
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
        offset += Int64(full.readableBytes)
        var next = ByteBuffer()
        next.reserveCapacity(Self.bufferSize)
        if !isEnd { next.writeImmutableBuffer(buffer) }
        buffer = next
    }
}
