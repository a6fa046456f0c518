import Crypto
public import NIOCore
import NIOFileSystem

/// Writes one recording: counts and hashes what goes through, seals it where that is set up, and holds no more than a few
/// buffers of it.
public struct RecordingWriter {
    /// How many bytes are gathered before they go to the disk: whole chunks of ``RecordingSeal``.
    private static let bufferSize = 16 * RecordingSeal.chunkSize

    private let handle: WriteFileHandle
    private let seal: RecordingSeal?
    private var buffer = ByteBuffer()
    private var offset: Int64 = 0
    private var hasher = SHA256()
    /// The write under way: while one buffer is sealed and the disk takes it, the next is filled.
    private var underWay: Task<Void, any Error>?

    init(handle: WriteFileHandle, seal: RecordingSeal?) {
        self.handle = handle
        self.seal = seal
        buffer.reserveCapacity(Self.bufferSize)
    }

    /// How many bytes have been written, before sealing.
    public var byteCount: Int64 { offset + Int64(buffer.readableBytes) }

    /// Appends bytes.
    ///
    /// - Throws: `FileSystemError`, as when the disk is full; of these bytes, or of earlier ones.
    public mutating func write(_ bytes: ByteBuffer) async throws {
        bytes.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
        buffer.writeImmutableBuffer(bytes)
        // More than a buffer: its last chunk is sealed otherwise when nothing follows.
        while buffer.readableBytes > Self.bufferSize, let full = buffer.readSlice(length: Self.bufferSize) {
            try await flush(full, isEnd: false)
        }
    }

    /// The SHA-256 of what was written, before sealing.
    public func digest() -> [UInt8] { Array(hasher.finalize()) }

    /// Writes what is left, and waits until everything is written.
    mutating func finish() async throws {
        try await flush(buffer, isEnd: true)
        try await underWay?.value
    }

    /// Waits for the write under way, whatever becomes of it.
    func abandon() async { _ = try? await underWay?.value }

    /// Has bytes written, and makes a new buffer of what is behind them.
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
