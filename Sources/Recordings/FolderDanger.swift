import FoundationEssentials
import Glibc

/// Another Unix user may write to a folder, or replace it.
///
/// Such a user could place a link where the server expects a recording. Root and the user of this process do not count:
/// they can do that anyway.
struct FolderDanger: Equatable, CustomStringConvertible {
    /// How the other user gets in.
    enum Way: Equatable {
        /// The other user owns the folder, or an entry on the path to it.
        case owner(uid_t)
        /// The mode lets others write.
        case mode(mode_t)
    }

    /// The entry that lets others in: the folder itself, or one on the path to it.
    let path: String
    /// How they get in.
    let way: Way
    /// True if ``path`` is the folder itself.
    let isFolder: Bool

    /// What is wrong and what to do, as the end of a sentence that begins with the name of the setting.
    var description: String {
        let consequence = isFolder ? "others may write to it" : "others may replace it"
        switch way {
        case .owner(let user):
            return "\(consequence), because Unix user \(user) owns \(path); run: chown \(geteuid()) \(path), or name "
                + "another folder"
        case .mode(let mode):
            return
                "\(consequence), because \(path) has mode \(String(mode, radix: 8)); run: chmod go-w \(path), or name "
                + "another folder"
        }
    }

    /// Finds the first danger on the path to a folder; nil if there is none.
    ///
    /// The search follows symbolic links, and checks the folder of each link, too. An entry that it cannot read is no
    /// danger: the server cannot use the folder either.
    ///
    /// - Parameter folder: An existing folder.
    init?(of folder: String) {
        let start = folder.hasPrefix("/") ? folder : FileManager.default.currentDirectoryPath + "/" + folder
        var pending = start.split(separator: "/").map(String.init)
        var path = ""
        var links = 0
        guard var directory = Self.status(of: "/") else { return nil }
        while !pending.isEmpty {
            let name = pending.removeFirst()
            if name == "." { continue }
            if name == ".." {
                path = String(path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex))
                guard let parent = Self.status(of: path.isEmpty ? "/" : path) else { return nil }
                directory = parent
                continue
            }
            guard let entry = Self.status(of: "\(path)/\(name)") else { return nil }
            if let danger = Self.danger(in: directory, at: path.isEmpty ? "/" : path, to: entry, at: "\(path)/\(name)")
            {
                self = danger
                return
            }
            if entry.st_mode & S_IFMT == S_IFLNK {
                // The kernel's own limit: path_resolution(7).
                links += 1
                guard links <= 40, let target = Self.target(of: "\(path)/\(name)") else { return nil }
                pending = target.split(separator: "/").map(String.init) + pending
                guard target.hasPrefix("/") else { continue }
                path = ""
                guard let root = Self.status(of: "/") else { return nil }
                directory = root
            } else {
                path += "/\(name)"
                directory = entry
            }
        }
        let end = path.isEmpty ? "/" : path
        if !Self.isTrusted(directory.st_uid) {
            self.init(path: end, way: .owner(directory.st_uid), isFolder: true)
        } else if Self.letsOthersWrite(directory) {
            self.init(path: end, way: .mode(directory.st_mode & 0o7777), isFolder: true)
        } else {
            return nil
        }
    }

    private init(path: String, way: Way, isFolder: Bool) {
        self.path = path
        self.way = way
        self.isFolder = isFolder
    }

    /// Decides whether another user may replace an entry of a directory.
    ///
    /// The sticky bit protects an entry (unlink(2), EPERM): only the owner of the entry, the owner of the directory and
    /// root may then rename or remove it.
    private static func danger(
        in directory: stat, at path: String, to entry: stat, at entryPath: String
    ) -> FolderDanger? {
        guard isTrusted(directory.st_uid) else {
            return FolderDanger(path: path, way: .owner(directory.st_uid), isFolder: false)
        }
        guard letsOthersWrite(directory) else { return nil }
        guard directory.st_mode & stickyBit != 0 else {
            return FolderDanger(path: path, way: .mode(directory.st_mode & 0o7777), isFolder: false)
        }
        return isTrusted(entry.st_uid)
            ? nil : FolderDanger(path: entryPath, way: .owner(entry.st_uid), isFolder: false)
    }

    /// `S_ISVTX` of inode(7).
    private static let stickyBit: mode_t = 0o1000

    private static func isTrusted(_ user: uid_t) -> Bool { user == 0 || user == geteuid() || isUnmapped(user) }

    /// True if a user of this number lives outside the user namespace of this process.
    ///
    /// The kernel shows all such users under one number (user_namespaces(7), `overflowuid`). No process of the namespace
    /// can act as one of them.
    private static func isUnmapped(_ user: uid_t) -> Bool {
        func numbers(_ file: String) -> [UInt32] {
            ((try? String(contentsOfFile: file, encoding: .utf8)) ?? "").split(whereSeparator: \.isWhitespace)
                .compactMap { UInt32($0) }
        }
        return numbers("/proc/sys/kernel/overflowuid") == [user] && numbers("/proc/self/uid_map") != [0, 0, .max]
    }

    /// Reads the mode: true if a user other than the owner may write.
    ///
    /// A private group does not count. Many systems give each user one, and a umask that lets it write.
    private static func letsOthersWrite(_ status: stat) -> Bool {
        if status.st_mode & 0o002 != 0 { return true }
        return status.st_mode & 0o020 != 0 && !isPrivate(status.st_gid, of: status.st_uid)
    }

    /// True if a group is the primary group of a user, has the user's name, and has no other members.
    private static func isPrivate(_ group: gid_t, of user: uid_t) -> Bool {
        guard let account = account(user), account.group == group, let entry = entry(group) else { return false }
        return entry.name == account.name && entry.members.allSatisfy { $0 == account.name }
    }

    /// The largest entry of the databases of users and groups.
    private static let entrySize = 64 * 1024

    private static func account(_ user: uid_t) -> (name: String, group: gid_t)? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: entrySize) { room in
            var account = passwd()
            var found: UnsafeMutablePointer<passwd>?
            guard let start = room.baseAddress, getpwuid_r(user, &account, start, room.count, &found) == 0, found != nil
            else {
                return nil
            }
            return (String(cString: account.pw_name), account.pw_gid)
        }
    }

    private static func entry(_ number: gid_t) -> (name: String, members: [String])? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: entrySize) { room in
            var entry = group()
            var found: UnsafeMutablePointer<group>?
            guard getgrgid_r(number, &entry, room.baseAddress, room.count, &found) == 0, found != nil else {
                return nil
            }
            var members: [String] = []
            var member = entry.gr_mem
            while let name = member?.pointee {
                members.append(String(cString: name))
                member = member?.successor()
            }
            return (String(cString: entry.gr_name), members)
        }
    }

    private static func status(of path: String) -> stat? {
        var status = stat()
        return lstat(path, &status) == 0 ? status : nil
    }

    private static func target(of link: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: link)
    }
}
