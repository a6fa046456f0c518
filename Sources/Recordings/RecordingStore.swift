import Crypto
import Foundation
public import NIOCore
public import NIOFileSystem

/// Where recordings are kept: one folder of files, each under a key that is random and says nothing.
///
/// A recording is written under a temporary name, brought to the disk, and then renamed: under its key there is either
/// nothing or the whole of it. Files are for the server's account alone (mode 0600), the folder likewise (0700).
public struct RecordingStore: Sendable {
    /// The folder (`UPLOAD_DIR`).
    public let directory: FilePath

    /// The end of the name of a recording that is still being written.
    static let temporarySuffix = ".partial"

    public init(directory: String) {
        self.directory = FilePath(directory)
    }

    /// Makes the folder if it is not there.
    ///
    /// - Throws: `FileSystemError` when it can be neither made nor used.
    public func prepare() async throws {
        try await FileSystem.shared.createDirectory(
            at: directory, withIntermediateDirectories: true, permissions: .ownerReadWriteExecute)
    }

    /// The file of a recording.
    ///
    /// - Parameter key: A key of this store's making, as the database holds it.
    /// - Returns: Nil for what cannot be a key: a name with a separator could leave the folder.
    public func path(of key: String) -> FilePath? {
        guard !key.isEmpty, key.utf8.allSatisfy(Self.isKeyByte), !key.hasPrefix(".") else { return nil }
        return directory.appending(key)
    }

    /// Writes a recording.
    ///
    /// Whatever goes wrong, in `body` or here, nothing is left behind.
    ///
    /// - Parameters:
    ///   - key: A key for the new recording: a UUID and the format's extension.
    ///   - body: Writes the bytes. When it returns they are made durable and take their name.
    /// - Returns: What `body` returned.
    public func write<Result: Sendable>(
        key: String, _ body: (inout RecordingWriter) async throws -> Result
    ) async throws -> Result {
        guard let path = path(of: key) else { preconditionFailure("a key of our own making is no key") }
        let temporary = directory.appending(key + Self.temporarySuffix)
        do {
            let result = try await FileSystem.shared.withFileHandle(
                forWritingAt: temporary,
                options: .newFile(replaceExisting: false, permissions: .ownerReadWrite)
            ) { handle in
                var writer = RecordingWriter(handle: handle)
                do {
                    let result = try await body(&writer)
                    try await writer.finish()
                    try await handle.synchronize()
                    return result
                } catch {
                    // The file must not be closed under a write.
                    await writer.abandon()
                    throw error
                }
            }
            try await FileSystem.shared.moveItem(at: temporary, to: path)
            // The rename is durable once the folder is.
            try await FileSystem.shared.withDirectoryHandle(atPath: directory) { try await $0.synchronize() }
            return result
        } catch {
            await remove(temporary)
            throw error
        }
    }

    /// Removes a recording; one that is not there is as good as removed.
    ///
    /// - Throws: `FileSystemError` when it is there and stays.
    public func remove(key: String) async throws {
        guard let path = path(of: key) else { return }
        _ = try await FileSystem.shared.removeItem(at: path, strategy: .sequential)
    }

    /// Removes what writers left behind that were killed: files that are still temporary and have not grown for an hour.
    ///
    /// - Returns: How many were removed.
    public func removeAbandoned(olderThan age: Duration = .seconds(3600)) async throws -> Int {
        var removed = 0
        let now = Int(Date().timeIntervalSince1970)
        try await FileSystem.shared.withDirectoryHandle(atPath: directory) { directory in
            for try await entry in directory.listContents() where entry.name.string.hasSuffix(Self.temporarySuffix) {
                guard let info = try await FileSystem.shared.info(forFileAt: entry.path),
                    now - info.lastDataModificationTime.seconds > Int(age.components.seconds)
                else { continue }
                await remove(entry.path)
                removed += 1
            }
        }
        return removed
    }

    private func remove(_ path: FilePath) async {
        // In a task of its own: the file system does nothing for one that is cancelled. There is nobody to tell of an error:
        // what stays is found by `removeAbandoned`.
        await Task { _ = try? await FileSystem.shared.removeItem(at: path, strategy: .sequential) }.value
    }

    private static func isKeyByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }
}

/// Writes one recording: counts and hashes what goes through, and holds no more than two buffers of it.
public struct RecordingWriter {
    /// How many bytes are gathered before they go to the disk.
    private static let bufferSize = 1 << 20

    private let handle: WriteFileHandle
    private var buffer = ByteBuffer()
    private var offset: Int64 = 0
    private var hasher = SHA256()
    /// The write under way: while the disk takes one buffer, the next is filled.
    private var underWay: Task<Void, any Error>?

    init(handle: WriteFileHandle) {
        self.handle = handle
        buffer.reserveCapacity(Self.bufferSize)
    }

    /// How many bytes have been written.
    public var byteCount: Int64 { offset + Int64(buffer.readableBytes) }

    /// Appends bytes.
    ///
    /// - Throws: `FileSystemError`, as when the disk is full; of these bytes, or of earlier ones.
    public mutating func write(_ bytes: ByteBuffer) async throws {
        bytes.withUnsafeReadableBytes { hasher.update(bufferPointer: $0) }
        buffer.writeImmutableBuffer(bytes)
        if buffer.readableBytes >= Self.bufferSize { try await flush() }
    }

    /// The SHA-256 of what was written.
    public func digest() -> [UInt8] { Array(hasher.finalize()) }

    /// Writes what is left, and waits until everything is written.
    mutating func finish() async throws {
        try await flush()
        try await underWay?.value
    }

    /// Waits for the write under way, whatever becomes of it.
    func abandon() async { _ = try? await underWay?.value }

    private mutating func flush() async throws {
        guard buffer.readableBytes > 0 else { return }
        try await underWay?.value
        let (full, start) = (buffer, offset)
        underWay = Task { [handle] in try await handle.write(contentsOf: full, toAbsoluteOffset: start) }
        offset += Int64(full.readableBytes)
        buffer = ByteBuffer()
        buffer.reserveCapacity(Self.bufferSize)
    }
}
