import Foundation
public import NIOFileSystem

/// Where recordings are kept: one folder of files, each under a key that is random and says nothing.
///
/// A recording is written under a temporary name, brought to the disk, and then renamed: under its key there is either
/// nothing or the whole of it. Files are for the server's account alone (mode 0600), the folder likewise (0700).
///
/// Where there are keys, new recordings are sealed. Their keys say so, by ``sealedSuffix``: the word of the file itself would not
/// do, since whoever can put a file in the place of another could say that it is not.
public struct RecordingStore: Sendable {
    /// The folder (`UPLOAD_DIR`).
    public let directory: FilePath
    /// What recordings are sealed with (`UPLOAD_KEY_FILE`); nil for none, and then new ones are stored as they come.
    private let keys: RecordingKeys?

    /// The end of the name of a recording that is still being written.
    static let temporarySuffix = ".partial"
    /// The end of the name of a recording that is sealed.
    static let sealedSuffix = ".enc"

    /// The recordings of a folder, sealed with the present key where there are keys.
    public init(directory: String, keys: RecordingKeys? = nil) {
        self.directory = FilePath(directory)
        self.keys = keys
    }

    /// Makes the folder if it is not there.
    ///
    /// - Throws: `FileSystemError` when it can be neither made nor used.
    public func prepare() async throws {
        try await FileSystem.shared.createDirectory(
            at: directory, withIntermediateDirectories: true, permissions: .ownerReadWriteExecute)
    }

    /// The key of a new recording.
    ///
    /// - Parameter name: A name that no other has, with the format's extension: lower-case letters, digits, `-` and `.`.
    /// - Returns: The key, which names the file and says whether it is sealed.
    public func key(for name: String) -> String { keys == nil ? name : name + Self.sealedSuffix }

    /// Opens a recording.
    ///
    /// - Parameter key: A key of this store's making, as the database holds it.
    /// - Returns: Nil when it is not there.
    /// - Throws: ``RecordingError``; `FileSystemError`.
    public func open(key: String) async throws -> RecordingFile? {
        guard let path = path(of: key), let info = try await FileSystem.shared.info(forFileAt: path) else { return nil }
        guard key.hasSuffix(Self.sealedSuffix) else {
            return RecordingFile(plain: path, name: key, byteCount: info.size)
        }
        return try await RecordingFile(sealed: path, name: key, keys: keys)
    }

    /// The file of a recording; nil for what cannot be a key: a name with a separator could leave the folder.
    private func path(of key: String) -> FilePath? {
        guard !key.isEmpty, key.utf8.allSatisfy(Self.isKeyByte), !key.hasPrefix(".") else { return nil }
        return directory.appending(key)
    }

    /// Writes a recording.
    ///
    /// Whatever goes wrong, in `body` or here, nothing is left behind.
    ///
    /// - Parameters:
    ///   - key: A key for the new recording, from ``key(for:)``.
    ///   - body: Writes the bytes. When it returns they are made durable and take their name.
    /// - Returns: What `body` returned.
    /// - Throws: `FileSystemError` when the bytes cannot be stored; what `body` throws.
    public func write<Result: Sendable>(
        key: String, _ body: (inout RecordingWriter) async throws -> Result
    ) async throws -> Result {
        guard let path = path(of: key) else { preconditionFailure("a key of our own making is no key") }
        let temporary = directory.appending(key + Self.temporarySuffix)
        let seal = keys.map { RecordingSeal(key: $0.current, name: key) }
        precondition((seal != nil) == key.hasSuffix(Self.sealedSuffix), "a key that says of its file what is not so")
        do {
            let result = try await FileSystem.shared.withFileHandle(
                forWritingAt: temporary,
                // With its name from the start, by which it is found when this process is killed.
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
            // In a task of its own: the file system does nothing for one that is cancelled.
            await Task { _ = try? await remove(key: key) }.value
            throw error
        }
    }

    /// Removes a recording, and what is there of one that was not written to its end; nothing there is as good as removed.
    ///
    /// - Throws: `FileSystemError` when it is there and stays.
    public func remove(key: String) async throws {
        guard let path = path(of: key) else { return }
        for path in [directory.appending(key + Self.temporarySuffix), path] {
            _ = try await FileSystem.shared.removeItem(at: path, strategy: .sequential)
        }
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
