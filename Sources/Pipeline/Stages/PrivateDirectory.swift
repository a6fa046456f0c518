import Foundation
import SystemPackage

/// A temporary directory that only this user may enter, and that is gone afterwards.
///
/// A process that is killed removes nothing. So each directory is locked while it is in use, by a lock that goes with the
/// process (flock(2)), and ``sweep(in:)`` removes those that nobody holds.
enum PrivateDirectory {
    /// How all their names begin.
    private static let family = "therapybridge-"
    /// How old a directory has to be before its missing lock says something: it is made a moment before it is locked.
    private static let sweepAge: TimeInterval = 60

    /// Lends a new directory.
    ///
    /// - Parameters:
    ///   - purpose: part of its name.
    ///   - parent: where it is made; by default `TMPDIR`, or `/tmp`.
    ///   - body: gets the directory's path, valid until it returns.
    /// - Returns: what `body` returns.
    /// - Throws: what `body` throws, or the error of making the directory.
    static func with<T: Sendable>(
        purpose: String,
        in parent: String = FileManager.default.temporaryDirectory.path,
        _ body: (String) async throws -> T
    ) async throws -> T {
        let path = "\(parent)/\(family)\(purpose)-\(UUID().uuidString.lowercased())"
        // Made with its mode in one step: mkdir(2) fails when the name exists, so nobody can have put a directory there before.
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700]
        )
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try open(path)
        defer { try? directory.close() }
        guard lock(directory) else { throw Errno(rawValue: errno) }
        return try await body(path)
    }

    /// Removes the directories that killed processes have left behind.
    ///
    /// - Returns: how many were removed.
    static func sweep(in parent: String) -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        return names.count { name in
            guard name.hasPrefix(family), UUID(uuidString: String(name.suffix(36))) != nil else { return false }
            let path = "\(parent)/\(name)"
            // Others may make such names in a folder for all: what is no directory of this account's is not touched.
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

    /// Locks a directory until it is closed; false when somebody else has it.
    private static func lock(_ directory: FileDescriptor) -> Bool {
        flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0
    }
}
