import FoundationEssentials
public import NIOFileSystem

/// The stored recordings: one folder of files, each with a random key as its name.
///
/// A recording is written under a temporary name, flushed to the disk, and then renamed. Under its key is therefore
/// either nothing or the whole recording. Only the server's Unix user may read the files (mode 0600) and the folder
/// (0700).
///
/// If the site has keys, new recordings are sealed, and their names end in ``sealedSuffix``. The content of a file
/// cannot decide whether it is sealed: an attacker who replaces a file could replace it by a plain one.
public struct RecordingStore: Sendable {
    /// The folder (`UPLOAD_DIR`).
    public let directory: FilePath
    /// The keys that seal recordings (`UPLOAD_KEY_FILE`), or nil if new recordings are stored plain.
    let keys: RecordingKeys?

    /// The suffix of a recording that is being written.
    static let temporarySuffix = ".partial"
    /// The suffix of a sealed recording.
    static let sealedSuffix = ".enc"

    /// Makes the store of a folder.
    ///
    /// - Parameters:
    ///   - directory: The folder.
    ///   - keys: The site's keys, or nil to store recordings plain.
    public init(directory: String, keys: RecordingKeys? = nil) {
        self.directory = FilePath(directory)
        self.keys = keys
    }

    /// Makes the folder if it is missing.
    ///
    /// - Throws: `FileSystemError` when it can be neither made nor used.
    public func prepare() async throws {
        try await FileSystem.shared.createDirectory(
            at: directory, withIntermediateDirectories: true, permissions: .ownerReadWriteExecute)
    }

    /// The key of a new recording.
    ///
    /// - Parameter name: A unique name without an extension. It has lower-case letters, digits and `-`.
    /// - Returns: The key. It is the name of the file, and says whether the file is sealed.
    public func key(for name: String) -> String { keys == nil ? name : name + Self.sealedSuffix }

    /// Opens a recording.
    ///
    /// A link in the place of a file is not followed: it could lead to any file that the server may read.
    ///
    /// - Parameter key: A key of this store, as in the database.
    /// - Returns: The recording, or nil if it alone is missing.
    /// - Throws: ``StorageFault``, also if the whole folder is missing; ``RecordingError``; `Errno`.
    public func open(key: String) async throws -> RecordingFile? {
        guard let path = path(of: key), let file = try await descriptor(of: path) else { return nil }
        guard key.hasSuffix(Self.sealedSuffix) else { return RecordingFile(plain: file, at: path) }
        return try await RecordingFile(sealed: file, at: path, name: key, keys: keys)
    }

    /// Opens a file; nil if it alone is missing.
    func descriptor(of path: FilePath) async throws -> RecordingDescriptor? {
        do {
            if let file = try await RecordingDescriptor(path: path) { return file }
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
        try await StorageFault.check(directory)
        return nil
    }

    /// The path of a recording; nil if the text cannot be a key.
    ///
    /// A name with a separator could leave the folder.
    func path(of key: String) -> FilePath? {
        guard !key.isEmpty, key.utf8.allSatisfy(Self.isKeyByte), !key.hasPrefix(".") else { return nil }
        return directory.appending(key)
    }

    /// The seal of a new file, with a salt of its own; nil if new recordings are stored plain.
    func seal(for name: String) -> RecordingSeal? { keys.map { RecordingSeal(key: $0.current, name: name) } }

    /// Writes a recording.
    ///
    /// If `body` or this method fails, no file stays behind.
    ///
    /// - Parameters:
    ///   - key: The key of the new recording, from ``key(for:)``.
    ///   - body: Writes the bytes. When it returns, they are flushed and the file is renamed.
    /// - Returns: The value of `body`.
    /// - Throws: ``StorageFault`` when the folder cannot be used; `FileSystemError`; the error of `body`.
    public func write<Result: Sendable>(
        key: String, _ body: (inout RecordingWriter) async throws -> Result
    ) async throws -> Result {
        guard let path = path(of: key) else { preconditionFailure("invalid key") }
        let temporary = directory.appending(key + Self.temporarySuffix)
        let seal = seal(for: key)
        precondition((seal != nil) == key.hasSuffix(Self.sealedSuffix), "the key must say whether the file is sealed")
        do {
            let result = try await FileSystem.shared.withFileHandle(
                forWritingAt: temporary,
                // The file has this name from the start. If this process is killed, the file can still be found and
                // removed.
                options: .init(
                    existingFile: .none,
                    newFile: .init(permissions: .ownerReadWrite, transactionalCreation: false))
            ) { handle in
                var writer = RecordingWriter(handle: handle, seal: seal)
                do {
                    let result = try await body(&writer)
                    try await writer.finish()
                    try await handle.synchronize()
                    return result
                } catch {
                    // The file must not be closed during a write.
                    await writer.abandon()
                    throw error
                }
            }
            try await FileSystem.shared.moveItem(at: temporary, to: path)
            // Flushing the folder makes the rename durable.
            try await FileSystem.shared.withDirectoryHandle(atPath: directory) { try await $0.synchronize() }
            return result
        } catch {
            // Another task: `FileSystem` does nothing in a cancelled task, and this one may be cancelled.
            await Task { _ = try? await remove(key: key) }.value
            throw await StorageFault.explaining(error, in: directory)
        }
    }

    /// Removes a recording, and the rest of one that was not completed.
    ///
    /// A missing file is not an error, but a missing folder is one: the file may come back with it.
    ///
    /// - Throws: ``StorageFault`` when the folder cannot be used; `FileSystemError` when a file cannot be removed.
    public func remove(key: String) async throws {
        guard let path = path(of: key) else { return }
        var count = 0
        do {
            for path in [directory.appending(key + Self.temporarySuffix), path] {
                count += try await FileSystem.shared.removeItem(at: path, strategy: .sequential)
            }
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
        if count == 0 { try await StorageFault.check(directory) }
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
