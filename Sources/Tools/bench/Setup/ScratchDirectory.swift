import Foundation

/// The folder of one run, for the database, the uploads and the logs.
///
/// It is in the folder for temporary files. Set `TMPDIR` to measure another disk.
struct ScratchDirectory: Sendable {
    let folder: URL

    /// The first part of the folder's name.
    ///
    /// The number of the process follows.
    private static let prefix = "tb-bench-"

    /// Makes the folder, lends it and removes it.
    static func lend<Result>(_ body: (ScratchDirectory) async throws -> Result) async throws -> Result {
        removeLeftovers()
        let name = prefix + "\(ProcessInfo.processInfo.processIdentifier)"
        let folder = FileManager.default.temporaryDirectory.appending(path: name, directoryHint: .isDirectory)
        // PostgreSQL and nginx drop root, and must still be able to traverse the folder.
        try FileManager.default.createDirectory(
            at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(at: folder) }
        return try await body(ScratchDirectory(folder: folder))
    }

    /// Removes the folders of killed runs.
    private static func removeLeftovers() {
        let parent = FileManager.default.temporaryDirectory
        for name in (try? FileManager.default.contentsOfDirectory(atPath: parent.path)) ?? []
        where name.hasPrefix(prefix) && !FileManager.default.fileExists(atPath: "/proc/\(name.dropFirst(prefix.count))")
        {
            try? FileManager.default.removeItem(at: parent.appending(path: name))
        }
    }

    /// The path of a file.
    func path(_ name: String) -> String { folder.appending(path: name).path(percentEncoded: false) }

    /// Makes an empty folder.
    func makeFolder(_ name: String) throws -> String {
        let url = folder.appending(path: name, directoryHint: .isDirectory)
        try? FileManager.default.removeItem(at: url)
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        return path(name)
    }

    /// Writes a file.
    ///
    /// - Returns: The path of the file.
    func write(_ contents: Data, to name: String) throws -> String {
        try contents.write(to: folder.appending(path: name))
        return path(name)
    }
}
