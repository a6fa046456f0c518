import Foundation

/// The folder of one run: the database, the uploads, the logs.
///
/// It lies where temporary files lie; set `TMPDIR` to measure on another disk.
struct ScratchDirectory: Sendable {
    let folder: URL

    /// The beginning of the folders' names; the number of the process follows.
    private static let prefix = "tb-bench-"

    /// Makes the folder, lends it and removes it.
    static func lend<Result>(_ body: (ScratchDirectory) async throws -> Result) async throws -> Result {
        removeLeftovers()
        let name = prefix + "\(ProcessInfo.processInfo.processIdentifier)"
        let folder = FileManager.default.temporaryDirectory.appending(path: name, directoryHint: .isDirectory)
        // Others have to pass through: PostgreSQL and nginx give up root.
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(at: folder) }
        return try await body(ScratchDirectory(folder: folder))
    }

    /// Removes the folders of runs that were killed.
    private static func removeLeftovers() {
        let place = FileManager.default.temporaryDirectory
        for name in (try? FileManager.default.contentsOfDirectory(atPath: place.path)) ?? []
        where name.hasPrefix(prefix) && !FileManager.default.fileExists(atPath: "/proc/\(name.dropFirst(prefix.count))")
        {
            try? FileManager.default.removeItem(at: place.appending(path: name))
        }
    }

    /// The path of a file of that name.
    func path(_ name: String) -> String { folder.appending(path: name).path(percentEncoded: false) }

    /// Makes a folder of that name, empty.
    func makeFolder(_ name: String) throws -> String {
        let url = folder.appending(path: name, directoryHint: .isDirectory)
        try? FileManager.default.removeItem(at: url)
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        return path(name)
    }

    /// Writes a file of that name.
    ///
    /// - Returns: Its path.
    func write(_ contents: Data, to name: String) throws -> String {
        try contents.write(to: folder.appending(path: name))
        return path(name)
    }
}
