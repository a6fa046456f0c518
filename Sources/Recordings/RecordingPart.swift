import Crypto
import Glibc
public import NIOCore
import NIOFileSystem
import NIOPosix

/// A file with some of the bytes of an unfinished recording.
public struct RecordingPart: Sendable, Hashable {
    /// The name of the file in the folder of its upload.
    public let name: String
    /// The number of its bytes that are durable.
    ///
    /// The file may hold more, of a request that was cut off: those do not count.
    public let byteCount: Int64

    /// A part with its durable bytes.
    public init(name: String, byteCount: Int64) {
        self.name = name
        self.byteCount = byteCount
    }
}

/// Writes one part of an unfinished recording.
///
/// A part is a file of its own, with a random name and, if it is sealed, a salt of its own. Only one request ever writes to it, and
/// writes each byte once. No key and nonce can therefore seal two plaintexts, whatever a request leaves behind: after a wrong
/// checksum, a broken connection or a kill, the next request begins another file. A server that has lost the upload to another one
/// without noticing cannot damage the bytes of its successor either.
public struct RecordingPartWriter: Sendable {
    /// The name of the file.
    public let name: String
    private let path: FilePath
    /// The folder of the recordings.
    private let folder: FilePath
    private let handle: WriteFileHandle
    private var writer: RecordingWriter
    /// True once a checkpoint has told of durable bytes: the database may name the part.
    private var hasCheckpoint = false

    fileprivate init(
        name: String, at path: FilePath, in folder: FilePath, handle: WriteFileHandle, seal: RecordingSeal?
    ) {
        self.name = name
        self.path = path
        self.folder = folder
        self.handle = handle
        writer = RecordingWriter(handle: handle, seal: seal)
    }

    /// The number of bytes so far.
    public var byteCount: Int64 { writer.byteCount }

    /// Appends bytes.
    ///
    /// - Throws: ``StorageFault`` or `FileSystemError` of these bytes or of earlier ones, for example when the disk is full.
    public mutating func write(_ bytes: ByteBuffer) async throws {
        do { try await writer.write(bytes) } catch { throw await StorageFault.explaining(error, in: folder) }
    }

    /// Makes as many bytes durable as a file that goes on can have.
    ///
    /// - Returns: The part with its durable bytes: all of a plain file, the whole chunks of a sealed one.
    /// - Throws: ``StorageFault``, `FileSystemError`.
    public mutating func checkpoint() async throws -> RecordingPart {
        do {
            let count = try await writer.writeWholeChunks()
            if count > 0 {
                try await handle.synchronize()
                hasCheckpoint = true
            }
            return RecordingPart(name: name, byteCount: count)
        } catch {
            throw await StorageFault.explaining(error, in: folder)
        }
    }

    /// Ends the file, and makes all its bytes durable.
    ///
    /// - Returns: The part with all its bytes.
    /// - Throws: ``StorageFault``, `FileSystemError`. The file is closed also then.
    public mutating func finish() async throws -> RecordingPart {
        do {
            try await writer.finish()
            try await handle.synchronize()
        } catch {
            await writer.abandon()
            try? await handle.close()
            throw await StorageFault.explaining(error, in: folder)
        }
        try await handle.close()
        return RecordingPart(name: name, byteCount: writer.byteCount)
    }

    /// The SHA-256 of the bytes so far.
    ///
    /// - Throws: `FileSystemError` of earlier bytes.
    public mutating func digest() async throws -> [UInt8] { try await writer.digest() }

    /// Closes the file, without the bytes since the last checkpoint.
    ///
    /// A file without a checkpoint is removed: nothing of it counts. Any other one stays, because the database may name the
    /// bytes that a checkpoint has told of, also if its answer was lost. It goes with the folder of the upload.
    public mutating func discard() async {
        await writer.abandon()
        try? await handle.close()
        if hasCheckpoint { return }
        _ = try? await FileSystem.shared.removeItem(at: path, strategy: .sequential)
    }
}

// The files of an upload that is not complete: a folder of its own in UPLOAD_DIR.
extension RecordingStore {
    /// The key of the folder of an upload.
    ///
    /// The store removes it like a recording, by ``remove(key:)``.
    ///
    /// - Parameter upload: A unique name, of lower-case letters, digits and `-`.
    /// - Returns: The key.
    public func partsKey(of upload: String) -> String { upload + ".parts" }

    /// Begins a part of a recording.
    ///
    /// - Parameters:
    ///   - upload: The upload.
    ///   - stem: A name that no other part has, of lower-case letters, digits and `-`.
    /// - Returns: The writer. The caller ends it, by `finish()` or `discard()`.
    /// - Throws: ``StorageFault``, `FileSystemError`.
    public func beginPart(of upload: String, stem: String) async throws -> RecordingPartWriter {
        do {
            return try await newPart(of: upload, stem: stem)
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
    }

    private func newPart(of upload: String, stem: String) async throws -> RecordingPartWriter {
        let folder = directory.appending(partsKey(of: upload))
        do {
            try await FileSystem.shared.createDirectory(
                at: folder, withIntermediateDirectories: false, permissions: .ownerReadWriteExecute)
            // Flushing the folders makes the new names durable.
            try await flush(directory)
        } catch let error as FileSystemError where error.code == .fileAlreadyExists {}
        let name = key(for: stem)
        let path = folder.appending(name)
        let handle = try await FileSystem.shared.openFile(
            forWritingAt: path,
            options: .init(
                existingFile: .none, newFile: .init(permissions: .ownerReadWrite, transactionalCreation: false)))
        let part = RecordingPartWriter(
            name: name, at: path, in: directory, handle: handle, seal: seal(for: name))
        do {
            try await flush(folder)
        } catch {
            var part = part
            await part.discard()
            throw error
        }
        return part
    }

    /// Reads the durable bytes of a part, piece by piece.
    ///
    /// - Throws: ``StorageFault``; ``RecordingError`` if the file is missing, too short or damaged; `Errno`; the error of `body`.
    public func read(
        _ part: RecordingPart, of upload: String, isolation: isolated (any Actor)? = #isolation,
        _ body: (ByteBuffer) async throws -> Void
    ) async throws {
        let path = directory.appending(partsKey(of: upload)).appending(part.name)
        guard let file = try await descriptor(of: path) else { throw RecordingError(.damaged) }
        let seal: RecordingSeal?
        if part.name.hasSuffix(Self.sealedSuffix) {
            let header = try await file.read(RecordingSeal.headerSize, at: 0)
            seal = try RecordingSeal(header: Array(header.readableBytesView), keys: keys, name: part.name)
        } else {
            seal = nil
        }
        var position: Int64 = 0
        while position < part.byteCount {
            let bytes = try await Self.piece(at: position, of: part, from: file, seal)
            guard bytes.readableBytes > 0 else { throw RecordingError(.damaged) }
            position += Int64(bytes.readableBytes)
            try await body(bytes)
        }
    }

    /// The size of a piece of a plain part, in bytes.
    private static let plainPiece: Int64 = 256 * 1024

    private static func piece(
        at position: Int64, of part: RecordingPart, from file: RecordingDescriptor, _ seal: RecordingSeal?
    ) async throws -> ByteBuffer {
        let rest = part.byteCount - position
        guard let seal else { return try await file.read(Int(min(rest, plainPiece)), at: position) }
        let size = Int64(RecordingSeal.chunkSize)
        let index = position / size
        let sealed = try await file.read(
            RecordingSeal.chunkSize + RecordingSeal.tagSize, at: RecordingSeal.offset(ofChunk: index))
        // A part that was cut off after a checkpoint has no last chunk, and its durable bytes are whole chunks.
        let inner = try? seal.open(sealed, index: index, isLast: false)
        if inner == nil, rest > size { throw RecordingError(.damaged) }
        var chunk = try inner ?? seal.open(sealed, index: index, isLast: true)
        return chunk.readSlice(length: Int(min(rest, Int64(chunk.readableBytes)))) ?? ByteBuffer()
    }

    /// Makes a part that holds a whole recording the recording of a key, unless it is already.
    ///
    /// The part keeps its own name, too: until the database has the recording, the upload may have to go on from the part.
    ///
    /// - Parameters:
    ///   - part: A part that was finished.
    ///   - upload: Its upload.
    ///   - key: The key, from ``key(for:)``: the stem of the part, and an extension.
    /// - Throws: ``StorageFault``, `Errno`, `FileSystemError`.
    public func publish(_ part: RecordingPart, of upload: String, as key: String) async throws {
        guard let target = path(of: key) else { preconditionFailure("invalid key") }
        let source = directory.appending(partsKey(of: upload)).appending(part.name)
        do {
            try await NIOThreadPool.singleton.runIfActive {
                guard link(source.string, target.string) == 0 || errno == EEXIST else { throw Errno(rawValue: errno) }
            }
            try await flush(directory)
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
    }

    /// Moves a part that no row of the database names to the key of a recording.
    ///
    /// - Throws: ``StorageFault``, `FileSystemError`.
    public func move(_ part: RecordingPart, of upload: String, to key: String) async throws {
        guard let target = path(of: key) else { preconditionFailure("invalid key") }
        let source = directory.appending(partsKey(of: upload)).appending(part.name)
        do {
            try await FileSystem.shared.moveItem(at: source, to: target)
            try await flush(directory)
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
    }

    private func flush(_ folder: FilePath) async throws {
        try await FileSystem.shared.withDirectoryHandle(atPath: folder) { try await $0.synchronize() }
    }
}
