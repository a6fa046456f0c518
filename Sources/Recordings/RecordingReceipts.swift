import FoundationEssentials
import NIOCore
import NIOFileSystem

// Receipts in a folder of their own in UPLOAD_DIR: what the database could not be told of a recording when it was complete.
//
// Every server that shares UPLOAD_DIR finds them, also after the one that wrote them has died.
extension RecordingStore {
    /// The name of the folder of the receipts.
    ///
    /// No recording has this name: a key does not begin with a dot.
    public static let receiptsFolder = ".receipts"
    /// The end of the name of every receipt.
    private static let receiptSuffix = ".receipt"
    /// The longest receipt that is read, in bytes.
    private static let longestReceipt = ByteCount.kibibytes(64)

    private var receipts: FilePath { directory.appending(Self.receiptsFolder) }

    /// Writes a receipt, unless there is one of this name.
    ///
    /// When this method returns, the receipt is on disk: it outlives a crash of the machine.
    ///
    /// - Parameters:
    ///   - name: A name of lower-case letters, digits, `-` and `.` that belongs to this content alone.
    ///   - contents: The receipt.
    /// - Throws: ``StorageFault`` or `FileSystemError` when it cannot be stored, for example because the disk is full.
    public func keepReceipt(_ name: String, _ contents: [UInt8]) async throws {
        do {
            try await write(contents, toReceipt: name)
        } catch {
            throw await StorageFault.explaining(error, in: directory)
        }
    }

    private func write(_ contents: [UInt8], toReceipt name: String) async throws {
        do {
            try await FileSystem.shared.createDirectory(
                at: receipts, withIntermediateDirectories: false, permissions: .ownerReadWriteExecute)
            try await FileSystem.shared.withDirectoryHandle(atPath: directory) { try await $0.synchronize() }
        } catch let error as FileSystemError where error.code == .fileAlreadyExists {}
        do {
            // The file gets its name when it is closed: a reader never finds half a receipt.
            try await FileSystem.shared.withFileHandle(
                forWritingAt: receipts.appending(name + Self.receiptSuffix),
                options: .newFile(replaceExisting: false, permissions: .ownerReadWrite)
            ) { handle in
                try await handle.write(contentsOf: contents, toAbsoluteOffset: 0)
                try await handle.synchronize()
            }
        } catch let error as FileSystemError where error.code == .fileAlreadyExists {}
        try await FileSystem.shared.withDirectoryHandle(atPath: receipts) { try await $0.synchronize() }
    }

    /// The names of all receipts.
    ///
    /// - Throws: `FileSystemError` when the folder cannot be read.
    public func receiptNames() async throws -> [String] {
        do {
            return try await FileSystem.shared.withDirectoryHandle(atPath: receipts) { folder in
                var names: [String] = []
                for try await entry in folder.listContents() {
                    let name = entry.name.string
                    if name.hasSuffix(Self.receiptSuffix) {
                        names.append(String(name.dropLast(Self.receiptSuffix.count)))
                    }
                }
                return names
            }
        } catch let error as FileSystemError where error.code == .notFound {
            return []
        }
    }

    /// Reads a receipt.
    ///
    /// - Returns: The receipt; nil if it is gone.
    /// - Throws: `FileSystemError` when it cannot be read.
    public func receipt(_ name: String) async throws -> [UInt8]? {
        do {
            let path = receipts.appending(name + Self.receiptSuffix)
            return try await FileSystem.shared.withFileHandle(forReadingAt: path) { file in
                Array(try await file.readToEnd(maximumSizeAllowed: Self.longestReceipt).readableBytesView)
            }
        } catch let error as FileSystemError where error.code == .notFound {
            return nil
        }
    }

    /// Removes a receipt.
    ///
    /// A missing receipt is not an error.
    ///
    /// - Throws: `FileSystemError` when it cannot be removed.
    public func removeReceipt(_ name: String) async throws {
        _ = try await FileSystem.shared.removeItem(
            at: receipts.appending(name + Self.receiptSuffix), strategy: .sequential)
    }
}
