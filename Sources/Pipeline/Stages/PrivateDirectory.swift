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
    /// The age at which a directory without a lock is removed.
    ///
    /// A new directory is locked a moment after it is made.
    private static let sweepAge = Duration.seconds(60)

    /// What a sweep has done.
    struct Swept: Sendable, Equatable {
        /// The number of directories that are gone.
        var removed = 0
        /// What stays of the other ones, by the names of the directories.
        var remains: [String: TreeRemoval.Remains] = [:]
    }

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
        let directory: FileDescriptor
        do {
            directory = try open(path)
        } catch {
            rmdir(path)
            throw error
        }
        // A sweep finds, and reports, what stays.
        defer {
            _ = remove(directory, at: path)
            try? directory.close()
        }
        guard lock(directory) else { throw Errno(rawValue: errno) }
        if let owner, fchown(directory.rawValue, owner.user, owner.group) != 0 { throw Errno(rawValue: errno) }
        return try await body(path)
    }

    /// Removes the directories that killed processes left behind.
    ///
    /// - Parameters:
    ///   - parent: The folder of the directories.
    ///   - owner: The Unix user that gets directories, or nil.
    ///   - age: The age at which a directory without a lock is removed.
    /// - Returns: What was removed, and what could not be.
    static func sweep(in parent: String, owner: CageAccount? = nil, age: Duration = sweepAge) -> Swept {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        var swept = Swept()
        for name in names where name.hasPrefix(family) && UUID(uuidString: String(name.suffix(36))) != nil {
            let path = "\(parent)/\(name)"
            guard let directory = openLeftOver(path) else { continue }
            defer { try? directory.close() }
            guard isLeftOver(directory, owner: owner, age: age), lock(directory) else { continue }
            let remains = remove(directory, at: path)
            if remains.count == 0 { swept.removed += 1 } else { swept.remains[name] = remains }
        }
        return swept
    }

    /// Opens a directory, also one whose owner has taken the right to read it from itself.
    private static func openLeftOver(_ path: String) -> FileDescriptor? {
        if let directory = try? open(path) { return directory }
        guard errno == EACCES, fchmodat(AT_FDCWD, path, 0o700, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
        return try? open(path)
    }

    /// True if a directory is old enough, and belongs to this account or to its stages.
    ///
    /// In a folder for all users, another user may make such names.
    private static func isLeftOver(_ directory: FileDescriptor, owner: CageAccount?, age: Duration) -> Bool {
        var status = stat()
        guard fstat(directory.rawValue, &status) == 0, [geteuid(), owner?.user].contains(status.st_uid) else {
            return false
        }
        // A new directory has both times of now. A stage can set the time of the last modification to any value, also one in
        // the future, but not the time of the last change of the inode. A time in the future counts like one as far in the
        // past: it comes from a stage, or from a clock that was set back.
        let now = Date().timeIntervalSince1970
        return [status.st_ctim, status.st_mtim].contains { time in
            abs(now - Double(time.tv_sec) - Double(time.tv_nsec) / 1e9) > age / .seconds(1)
        }
    }

    /// Removes a directory with all that is in it.
    ///
    /// - Returns: What stays. The directory itself is one of it.
    private static func remove(_ directory: FileDescriptor, at path: String) -> TreeRemoval.Remains {
        var remains = TreeRemoval.empty(directory)
        if rmdir(path) != 0, errno != ENOENT { remains.add(Errno(rawValue: errno)) }
        return remains
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
