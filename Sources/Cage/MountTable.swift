import FoundationEssentials

/// The mounts of a process: which part of which file system lies at which path.
///
/// A folder can be mounted at several paths. Whatever hides one of them has to hide all.
struct MountTable: Sendable, Equatable {
    /// One line of `/proc/self/mountinfo`.
    struct Mount: Sendable, Equatable {
        /// The numbers of the device.
        var device: String
        /// The folder of the file system that is mounted.
        var root: String
        /// Where the folder is mounted.
        var point: String
        /// The type of the file system.
        var type: String
    }

    let mounts: [Mount]

    /// Reads the mounts of this process.
    static func ofThisProcess() -> MountTable {
        MountTable(FileManager.default.contents(atPath: "/proc/self/mountinfo") ?? Data())
    }

    /// Reads a table.
    ///
    /// - Parameter text: The text of `/proc/self/mountinfo`; see proc_pid_mountinfo(5).
    init(_ text: Data) {
        mounts = text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "))
            // Optional fields end with a hyphen, and the type comes after it.
            guard fields.count > 6, let end = fields.dropFirst(6).firstIndex(of: Data("-".utf8)[...]),
                end + 1 < fields.count
            else { return nil }
            return Mount(
                device: Self.text(of: fields[2]), root: Self.text(of: fields[3]), point: Self.text(of: fields[4]),
                type: Self.text(of: fields[end + 1]))
        }
    }

    /// Undoes the escapes of blanks, tabs, line ends and backslashes: a backslash and three octal digits.
    private static func text(of field: Data) -> String {
        var bytes: [UInt8] = []
        var rest = field[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// All paths that lead to a file or folder, or to a part of the folder, by another mount.
    ///
    /// - Parameter path: A path without symbolic links.
    /// - Returns: The other paths. They may not exist, for example below a mount that covers them.
    func otherPaths(to path: String) -> [String] {
        // The mount of a path is the last one with the longest point above it.
        guard
            let own = mounts.enumerated().filter({ CageView.lies(path, in: $0.element.point) })
                .max(by: { ($0.element.point.utf8.count, $0.offset) < ($1.element.point.utf8.count, $1.offset) })?
                .element
        else { return [] }
        let inner = Self.join(own.root, path.dropFirst(own.point == "/" ? 0 : own.point.count))
        // What is mounted below the path is a part of it.
        let parts =
            [(own.device, inner)]
            + mounts.filter { CageView.lies($0.point, in: path) }.map { ($0.device, $0.root) }
        let paths = parts.flatMap { device, part in
            mounts.filter { $0.device == device }.compactMap { mount -> String? in
                if CageView.lies(part, in: mount.root) {
                    return Self.join(mount.point, part.dropFirst(mount.root == "/" ? 0 : mount.root.count))
                }
                return CageView.lies(mount.root, in: part) ? mount.point : nil
            }
        }
        return Set(paths).filter { !CageView.lies($0, in: path) }.sorted()
    }

    /// Where each `/proc` is mounted.
    var processFolders: [String] { mounts.filter { $0.type == "proc" }.map(\.point) }

    private static func join(_ folder: String, _ rest: Substring) -> String {
        let rest = rest.drop { $0 == "/" }
        if rest.isEmpty { return folder }
        return folder.hasSuffix("/") ? "\(folder)\(rest)" : "\(folder)/\(rest)"
    }
}
