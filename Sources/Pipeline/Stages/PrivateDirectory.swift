import Cage
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
    ///   - owner: The Unix user that gets the directory, or nil for the user of this process.
    ///   - body: Receives the path of the directory. The path is valid until `body` returns.
    /// - Returns: The value of `body`.
    /// - Throws: The error of `body`, or of making the directory.
    static func with<T: Sendable>(
        purpose: String,
        in parent: String = FileManager.default.temporaryDirectory.path,
        owner: CageAccount? = nil,
        _ body: (String) async throws -> T
    ) async throws -> T {
        let path = "\(parent)/\(family)\(purpose)-\(UUID().uuidString.lowercased())"
        // The directory gets its mode in the same step. mkdir(2) fails if the name exists. An attacker therefore cannot
        // prepare the directory.
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700]
        )
        defer { remove(path) }
        let directory = try open(path)
        defer { try? directory.close() }
        guard lock(directory) else { throw Errno(rawValue: errno) }
        if let owner, fchown(directory.rawValue, owner.user, owner.group) != 0 { throw Errno(rawValue: errno) }
        return try await body(path)
    }

    /// Removes the directories that killed processes left behind.
    ///
    /// - Parameters:
    ///   - parent: The folder of the directories.
    ///   - owner: The Unix user that gets directories, or nil.
    /// - Returns: The number of removed directories.
    static func sweep(in parent: String, owner: CageAccount? = nil) -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        return names.count { name in
            guard name.hasPrefix(family), UUID(uuidString: String(name.suffix(36))) != nil else { return false }
            let path = "\(parent)/\(name)"
            // In a folder for all users, another user may make such names. Only a directory of this account, or of its
            // stages, is removed.
            let owners = [geteuid(), owner?.user]
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
                attributes[.type] as? FileAttributeType == .typeDirectory,
                owners.contains((attributes[.ownerAccountID] as? NSNumber)?.uint32Value),
                let changed = attributes[.modificationDate] as? Date, -changed.timeIntervalSinceNow > sweepAge,
                let directory = try? open(path)
            else { return false }
            defer { try? directory.close() }
            guard lock(directory) else { return false }
            return remove(path)
        }
    }

    /// Removes a directory with all that is in it.
    ///
    /// A stage may leave folders that their owner may not read. They get another mode first.
    ///
    /// - Returns: False if something is left.
    @discardableResult
    private static func remove(_ path: String) -> Bool {
        if (try? FileManager.default.removeItem(atPath: path)) != nil { return true }
        open(tree: path)
        return (try? FileManager.default.removeItem(atPath: path)) != nil
    }

    /// Lets the owner read, enter and change the folders of a tree.
    ///
    /// It follows no link.
    private static func open(tree path: String) {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
            attributes[.type] as? FileAttributeType == .typeDirectory
        else { return }
        chmod(path, 0o700)
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] { open(tree: "\(path)/\(name)") }
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
