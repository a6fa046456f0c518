import Crypto
public import NIOCore
import NIOFileSystem

/// Writes one recording: counts and hashes its bytes, and seals them if the site has keys.
///
/// While one buffer is hashed, sealed and written, the other one fills. Memory holds these two.
public struct RecordingWriter: Sendable {
    /// How many bytes are written at once: whole chunks of ``RecordingSeal``.
    private static let pieceSize = 3 * RecordingSeal.chunkSize

    /// What the write of a buffer leaves: the hash of the bytes up to its end, and the buffer, to be filled again.
    ///
    /// The allocator maps each new buffer by itself, and each mapping costs page faults.
    private struct Written: Sendable {
        var hasher: SHA256
        var buffer: ByteBuffer
    }

    private let handle: WriteFileHandle
    private let seal: RecordingSeal?
    /// The buffer that fills.
    private var buffer = Self.newBuffer
    /// The other buffer, if no write is under way.
    private var spare: ByteBuffer?
    /// The number of bytes before the buffer that fills.
    private var offset: Int64 = 0
    /// The hash of the bytes before the write under way.
    private var hasher = SHA256()
    private var underWay: Task<Written, any Error>?

    private static var newBuffer: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(pieceSize)
        return buffer
    }

    init(handle: WriteFileHandle, seal: RecordingSeal?) {
        self.handle = handle
        self.seal = seal
    }

    /// The number of bytes so far, before sealing.
    public var byteCount: Int64 { offset + Int64(buffer.readableBytes) }

    /// Appends bytes.
    ///
    /// - Throws: `FileSystemError` of these bytes or of earlier ones, for example when the disk is full.
    public mutating func write(_ bytes: ByteBuffer) async throws {
        var bytes = bytes
        while bytes.readableBytes > 0 {
            // A full buffer waits for further bytes: its last chunk may be that of the recording, which is sealed in
            // another way.
            if buffer.readableBytes == Self.pieceSize { try await flush(Self.pieceSize, isEnd: false) }
            let room = Self.pieceSize - buffer.readableBytes
            if let part = bytes.readSlice(length: min(room, bytes.readableBytes)) { buffer.writeImmutableBuffer(part) }
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
        if count > 0 { try await flush(count, isEnd: false) }
        try await settle()
        return offset
    }

    /// Writes the remaining bytes, and waits for all writes.
    mutating func finish() async throws {
        try await flush(buffer.readableBytes, isEnd: true)
        try await settle()
    }

    /// Waits for the write under way, and ignores its error.
    func abandon() async { _ = try? await underWay?.value }

    /// Waits for the write under way.
    private mutating func settle() async throws {
        guard let written = try await underWay?.value else { return }
        underWay = nil
        hasher = written.hasher
        spare = written.buffer
    }

    /// Starts to hash and write the first bytes of the buffer, and begins the other buffer with those after them.
    private mutating func flush(_ count: Int, isEnd: Bool) async throws {
        try await settle()
        var next = spare ?? Self.newBuffer
        spare = nil
        next.clear(minimumCapacity: Self.pieceSize)
        guard let full = buffer.readSlice(length: count) else { preconditionFailure("more bytes than there are") }
        next.writeImmutableBuffer(buffer)
        buffer = next
        let start = offset
        offset += Int64(count)
        underWay = Task { [handle, seal, hasher] in
            // The write waits for the disk, and the hash for the processor.
            async let written: Void = Self.write(full, at: start, isEnd: isEnd, to: handle, seal)
            var hasher = hasher
            full.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
            try await written
            return Written(hasher: hasher, buffer: full)
        }
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
