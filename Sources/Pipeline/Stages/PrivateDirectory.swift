import Foundation
import SystemPackage

/// A temporary directory that only this user may enter, removed after its use.
///
/// A killed process removes nothing. Each directory is therefore locked while it is in use, with flock(2), and the
/// kernel drops the lock with the process. ``sweep(in:)`` removes the directories without a lock.
enum PrivateDirectory {
    /// The first part of every name.
    private static let family = "therapybridge-"
    /// The age in seconds at which a directory without a lock is removed.
    ///
    /// A new directory is locked a moment after it is made.
    private static let sweepAge: TimeInterval = 60

    /// Lends a new directory.
    ///
    /// - Parameters:
    ///   - purpose: A part of the directory's name.
    ///   - parent: The folder of the directory. The default is `TMPDIR`, or `/tmp`.
    ///   - body: Receives the path of the directory. The path is valid until `body` returns.
    /// - Returns: The value of `body`.
    /// - Throws: The error of `body`, or of making the directory.
    static func with<T: Sendable>(
        purpose: String,
        in parent: String = FileManager.default.temporaryDirectory.path,
        _ body: (String) async throws -> T
    ) async throws -> T {
        let path = "\(parent)/\(family)\(purpose)-\(UUID().uuidString.lowercased())"
        // The directory gets its mode in the same step. mkdir(2) fails if the name exists. An attacker therefore cannot
        // prepare the directory.
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700]
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try open(path)
        defer { try? directory.close() }
        guard lock(directory) else { throw Errno(rawValue: errno) }
        return try await body(path)
    }

    /// Removes the directories that killed processes left behind.
    ///
    /// - Parameter parent: The folder of the directories.
    /// - Returns: The number of removed directories.
    static func sweep(in parent: String) -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        return names.count { name in
            guard name.hasPrefix(family), UUID(uuidString: String(name.suffix(36))) != nil else { return false }
            let path = "\(parent)/\(name)"
            // In a folder for all users, another user may make such names. Only a directory of this account is removed.
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
                attributes[.type] as? FileAttributeType == .typeDirectory,
                (attributes[.ownerAccountID] as? NSNumber)?.uint32Value == geteuid(),
                let changed = attributes[.modificationDate] as? Date, -changed.timeIntervalSinceNow > sweepAge,
                let directory = try? open(path)
            else { return false }
            defer { try? directory.close() }
            guard lock(directory) else { return false }
            return (try? FileManager.default.removeItem(atPath: path)) != nil
        }
    }

    private static func open(_ path: String) throws -> FileDescriptor {
        try FileDescriptor.open(FilePath(path), .readOnly, options: [.directory, .noFollow, .closeOnExec])
    }

    /// Locks a directory until it is closed.
    ///
    /// - Returns: False if another process holds the lock.
    private static func lock(_ directory: FileDescriptor) -> Bool {
        flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0
    }
}
