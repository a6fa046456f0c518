import FoundationEssentials
import Glibc

/// The files that a cage shows.
///
/// Everything else does not exist for the program, or cannot be opened.
public struct CageView: Sendable, Equatable {
    /// Files and folders that the program may read and execute, with all below them.
    public var readable: [String] = []
    /// Folders that the program may also write to.
    public var writable: [String] = []
    /// Devices that the program may use.
    public var devices: [String] = []

    /// A view without files.
    public init() {}

    /// The greatest number of paths in a view.
    ///
    /// Each path costs a mount and a rule of Landlock, and a folder beside a hidden one may have any number of entries. A
    /// program does not start with a larger view: a part of it would look like missing files.
    static let limit = 20_000

    // MARK: - Views

    /// The files that the bundled programs need: the system's programs and libraries, and the programs themselves.
    ///
    /// - Parameter programs: Paths of programs and models that may lie elsewhere.
    /// - Returns: The view, without any recording.
    public static func system(programs: [String]) -> CageView {
        var view = CageView()
        view.readable = [
            "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/opt", "/nix/store", "/gnu/store",
            "/etc/alternatives", "/etc/group", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime",
            "/etc/nsswitch.conf", "/etc/passwd", "/etc/timezone", "/sys/devices/system/cpu", "/dev/fd", "/dev/stdin",
            "/dev/stdout", "/dev/stderr",
        ]
        for program in programs {
            let path = resolved(program)
            view.readable += path == program ? [program] : [program, path]
        }
        view.devices = basicDevices
        return view
    }

    /// All files of the host, except some.
    ///
    /// A rule of Landlock only grants. Therefore each folder above a hidden path is not shown as a whole: its other entries
    /// are shown one by one, and a file that someone adds to it later is not shown. A hidden path is hidden wherever else its
    /// file system is mounted.
    ///
    /// - Parameter hidden: Absolute paths of files and folders. A missing one hides nothing.
    /// - Returns: The view. A view that is too large does not start: ``CageFault``.
    public static func host(hiding hidden: [String]) -> CageView {
        var view = CageView()
        // The kernel's files about processes are never shown as a whole. The launcher brings a /proc of the cage.
        let hidden = Set(places(of: hidden + ["/proc", "/dev"]) + MountTable.ofThisProcess().processFolders)
        let above = Set(hidden.flatMap(ancestors))
        view.show("/", hiding: hidden, above: above)
        view.readable += ["/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"]
        view.devices = basicDevices + computingDevices()
        return view
    }

    private mutating func show(_ folder: String, hiding hidden: Set<String>, above: Set<String>) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names.sorted() where readable.count <= Self.limit {
            let path = folder == "/" ? "/\(name)" : "\(folder)/\(name)"
            if hidden.contains(path) { continue }
            if above.contains(path) {
                show(path, hiding: hidden, above: above)
            } else {
                readable.append(path)
            }
        }
    }

    /// Every path of this host that leads to a file or folder: without symbolic links, and by each mount.
    ///
    /// - Parameter paths: Absolute paths of files and folders.
    /// - Returns: The paths. For a folder, they may lead to a part of it.
    public static func places(of paths: [String]) -> [String] {
        let mounts = MountTable.ofThisProcess()
        return paths.map(resolved).flatMap { [$0] + mounts.otherPaths(to: $0) }
    }

    private static func ancestors(of path: String) -> [String] {
        var ancestors: [String] = []
        var rest = path[...]
        while let slash = rest.lastIndex(of: "/") {
            rest = rest[..<slash]
            ancestors.append(rest.isEmpty ? "/" : String(rest))
        }
        return ancestors
    }

    // MARK: - Devices

    private static let basicDevices = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]

    /// The devices for computing that this host has, such as graphics processors.
    private static func computingDevices() -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/dev")) ?? []
        return names.sorted().filter { name in
            name.hasPrefix("nvidia") || ["dri", "kfd", "accel", "dxg"].contains(name)
        }.map { "/dev/\($0)" }
    }

    // MARK: - Limit

    /// Checks that the view is small enough for a cage.
    ///
    /// - Throws: ``CageFault`` that names the folder with the most paths.
    func check() throws(CageFault) {
        let paths = readable + writable + devices
        guard paths.count > Self.limit else { return }
        let folders = Dictionary(grouping: paths) { path in
            path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex)
        }
        let largest = folders.max { $0.value.count < $1.value.count }?.key ?? ""
        throw CageFault(
            .viewTooLarge,
            "a stage would see more than \(Self.limit) files and folders one by one, most of them in \"\(largest)/\"; move "
                + "what is hidden there (UPLOAD_DIR, PIPELINE_WORK_DIR, files of secrets) to a folder with fewer entries"
        )
    }

    // MARK: - Paths

    /// The path without symbolic links and `..`.
    ///
    /// The part of the path that does not exist stays as it is.
    public static func resolved(_ path: String) -> String {
        guard let real = unsafe realpath(path, nil) else {
            let url = URL(filePath: path).standardizedFileURL
            let parent = url.deletingLastPathComponent().path(percentEncoded: false)
            guard parent != path, parent != "/" else { return url.path(percentEncoded: false) }
            let folder = resolved(parent.hasSuffix("/") ? String(parent.dropLast()) : parent)
            return "\(folder)/\(url.lastPathComponent)"
        }
        defer { unsafe free(real) }
        return unsafe String(cString: real)
    }

    /// True if a path is the other one, or lies below it.
    ///
    /// - Parameters:
    ///   - path: A path without symbolic links.
    ///   - folder: Another one.
    /// - Returns: True if the folder is or holds the path.
    public static func lies(_ path: String, in folder: String) -> Bool {
        path == folder || path.hasPrefix(folder.hasSuffix("/") ? folder : folder + "/")
    }
}
