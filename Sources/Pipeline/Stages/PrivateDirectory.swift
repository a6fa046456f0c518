import Cage
import FoundationEssentials
import Glibc
import SystemPackage

/// A temporary directory that only this user may enter, removed after its use.
///
/// A killed process removes nothing. Each directory is therefore locked while it is in use, with flock(2), and the
/// kernel drops the lock with the process. ``sweep(in:)`` removes the directories without a lock.
enum PrivateDirectory {
    /// The first part of every name.
    private static let family = "therapybridge-"

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
        let (directory, path) = try make(purpose: purpose, in: parent)
        // A sweep finds, and reports, what stays.
        defer {
            _ = remove(directory, at: path)
            try? directory.close()
        }
        if let owner, fchown(directory.rawValue, owner.user, owner.group) != 0 { throw Errno(rawValue: errno) }
        return try await body(path)
    }

    /// Makes a directory with a new name, and locks it.
    ///
    /// A sweep of another process may find the directory before its lock, and remove it. This method then makes another one.
    private static func make(purpose: String, in parent: String) throws -> (FileDescriptor, path: String) {
        while true {
            let path = "\(parent)/\(family)\(purpose)-\(UUID().uuidString.lowercased())"
            // The directory gets its mode in the same step. mkdir(2) fails if the name exists. An attacker therefore cannot
            // prepare the directory.
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700]
            )
            let directory: FileDescriptor
            do {
                directory = try open(path)
            } catch Errno.noSuchFileOrDirectory {
                continue
            } catch {
                rmdir(path)
                throw error
            }
            if lock(directory) {
                if isPresent(directory, at: path) { return (directory, path) }
                try? directory.close()
                continue
            }
            let fault = Errno(rawValue: errno)
            try? directory.close()
            // Only a sweep holds the lock of a new directory.
            if fault == .wouldBlock { continue }
            rmdir(path)
            throw fault
        }
    }

    /// True if the path still names the directory.
    private static func isPresent(_ directory: FileDescriptor, at path: String) -> Bool {
        var (mine, named) = (stat(), stat())
        return fstat(directory.rawValue, &mine) == 0 && lstat(path, &named) == 0 && mine.st_dev == named.st_dev
            && mine.st_ino == named.st_ino
    }

    /// Removes the directories that killed processes left behind: those that nobody has locked.
    ///
    /// - Parameters:
    ///   - parent: The folder of the directories.
    ///   - owner: The Unix user that gets directories, or nil.
    /// - Returns: What was removed, and what could not be.
    static func sweep(in parent: String, owner: CageAccount? = nil) -> Swept {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        var swept = Swept()
        for name in names where name.hasPrefix(family) && UUID(uuidString: String(name.suffix(36))) != nil {
            let path = "\(parent)/\(name)"
            guard let directory = openLeftOver(path) else { continue }
            defer { try? directory.close() }
            // Its maker may have removed it in between.
            guard isOurs(directory, owner: owner), lock(directory), isPresent(directory, at: path) else { continue }
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

    /// True if a directory belongs to this account or to its stages.
    ///
    /// In a folder for all users, another user may make such names.
    private static func isOurs(_ directory: FileDescriptor, owner: CageAccount?) -> Bool {
        var status = stat()
        return fstat(directory.rawValue, &status) == 0 && [geteuid(), owner?.user].contains(status.st_uid)
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
