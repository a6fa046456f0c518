import FoundationEssentials
import Glibc
public import SystemPackage

/// Removes what a stage has left in its directory, whatever that is.
///
/// A stage can leave trees that are deeper than any path can name, names that are not UTF-8, folders without rights, and
/// links to other files. Everything here works on descriptors and bytes: openat(2), unlinkat(2). It follows no link, enters
/// no other file system, and has at most four descriptors open, however deep a tree is.
public struct TreeRemoval: Sendable {
    /// What could not be removed.
    public struct Remains: Sendable, Equatable {
        /// The number of files and folders that stay.
        ///
        /// What lies in a folder that cannot be opened is not counted.
        public private(set) var count = 0
        /// The first error, or nil if nothing stays.
        public private(set) var error: Errno?

        /// Nothing.
        public init() {}

        /// Adds a file or folder.
        ///
        /// - Parameter error: Why it stays.
        public mutating func add(_ error: Errno) {
            count += 1
            self.error = self.error ?? error
        }
    }

    /// A folder, as stat(2) tells it from any other.
    private struct Identity: Equatable {
        let device: dev_t
        let number: ino_t
    }

    /// A folder on the way from the root of the tree to the present one.
    private struct Level {
        /// The name of the folder in the one above it.
        let name: [CChar]
        let identity: Identity
        /// Folders in this one that were found and not yet entered.
        var folders: [[CChar]] = []
        /// True until the folder was read once.
        var isNew = true
        /// True if something was removed since the folder was last read.
        var hasRemoved = false
    }

    /// The number of folders that one reading of a folder collects.
    ///
    /// More are found by the next one.
    private static let batch = 1_000

    private var remains = Remains()

    private init() {}

    /// Removes everything in a directory, but not the directory itself.
    ///
    /// - Parameter directory: The directory, open for reading.
    /// - Returns: What could not be removed.
    public static func empty(_ directory: FileDescriptor) -> Remains {
        var removal = TreeRemoval()
        removal.run(directory)
        return removal.remains
    }

    private mutating func run(_ root: FileDescriptor) {
        _ = fchmod(root.rawValue, 0o700)
        guard var present = open([0x2E, 0], in: root), let identity = identity(of: present) else { return }
        defer { try? present.close() }
        var levels = [Level(name: [], identity: identity)]
        while var level = levels.popLast() {
            if let name = level.folders.popLast() {
                levels.append(level)
                guard let (folder, identity) = enter(name, in: present, of: level.identity) else { continue }
                try? present.close()
                present = folder
                levels.append(Level(name: name, identity: identity))
            } else if level.isNew || level.hasRemoved && remains.count == 0 {
                // A file system need not tell every name while names are removed. The last reading therefore finds nothing.
                read(present, into: &level)
                levels.append(level)
            } else if let above = levels.last {
                // The way up is the folder that it was on the way down. Otherwise someone has moved the tree, and the rest of
                // the work would be elsewhere.
                guard let parent = open([0x2E, 0x2E, 0], in: present), self.identity(of: parent) == above.identity
                else {
                    remains.add(.staleNFSFileHandle)
                    return
                }
                try? present.close()
                present = parent
                levels[levels.count - 1].hasRemoved =
                    remove(level.name, in: present, isFolder: true) || above.hasRemoved
            }
        }
    }

    /// Reads a folder: removes its files, and collects its folders.
    private mutating func read(_ folder: FileDescriptor, into level: inout Level) {
        level.isNew = false
        level.hasRemoved = false
        // The stream closes its descriptor.
        guard let copy = open([0x2E, 0], in: folder), let stream = unsafe fdopendir(copy.rawValue) else { return }
        defer { unsafe closedir(stream) }
        while level.folders.count < Self.batch, let entry = unsafe readdir(stream) {
            let name = unsafe Self.name(of: entry)
            if name == [0x2E, 0] || name == [0x2E, 0x2E, 0] { continue }
            if unsafe isFolder(name, in: folder, type: Int32(entry.pointee.d_type)) {
                level.folders.append(name)
            } else if remove(name, in: folder, isFolder: false) {
                level.hasRemoved = true
            }
        }
    }

    private static func name(of entry: UnsafeMutablePointer<dirent>) -> [CChar] {
        unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            unsafe bytes.prefix { $0 != 0 }.map { CChar(bitPattern: $0) } + [0]
        }
    }

    private func isFolder(_ name: [CChar], in folder: FileDescriptor, type: Int32) -> Bool {
        if type != DT_UNKNOWN { return type == DT_DIR }
        var status = stat()
        return unsafe fstatat(folder.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) == 0
            && status.st_mode & S_IFMT == S_IFDIR
    }

    private mutating func remove(_ name: [CChar], in folder: FileDescriptor, isFolder: Bool) -> Bool {
        if unsafe unlinkat(folder.rawValue, name, isFolder ? AT_REMOVEDIR : 0) == 0 { return true }
        if errno != ENOENT { remains.add(Errno(rawValue: errno)) }
        return false
    }

    /// Opens a folder of the tree, and lets its owner change it.
    private mutating func enter(
        _ name: [CChar], in folder: FileDescriptor, of parent: Identity
    ) -> (FileDescriptor, Identity)? {
        var found = open(name, in: folder)
        if found == nil, errno == EACCES {
            _ = unsafe fchmodat(folder.rawValue, name, 0o700, AT_SYMLINK_NOFOLLOW)
            found = open(name, in: folder)
        }
        guard let found, let identity = identity(of: found) else {
            if errno != ENOENT { remains.add(Errno(rawValue: errno)) }
            return nil
        }
        guard identity.device == parent.device else {
            try? found.close()
            remains.add(.improperLink)
            return nil
        }
        _ = fchmod(found.rawValue, 0o700)
        return (found, identity)
    }

    private func open(_ name: [CChar], in folder: FileDescriptor) -> FileDescriptor? {
        let number = unsafe openat(folder.rawValue, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        return number < 0 ? nil : FileDescriptor(rawValue: number)
    }

    private func identity(of folder: FileDescriptor) -> Identity? {
        var status = stat()
        guard unsafe fstat(folder.rawValue, &status) == 0 else { return nil }
        return Identity(device: status.st_dev, number: status.st_ino)
    }
}
