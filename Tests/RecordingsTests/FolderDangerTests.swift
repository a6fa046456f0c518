import Foundation
import Glibc
import SettingsReading
import TestSupport
import Testing

@testable import Recordings

/// A folder of recordings that another Unix user may write to or replace.
@Suite("Folders that others may change", .deadline)
struct FolderDangerTests {
    /// Lends a new folder `a/b/c` that only this account may write to.
    private func withFolder(_ body: (URL) throws -> Void) throws {
        let root = FileManager.default.temporaryDirectory.appending(path: "tb-folder-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: root) }
        try FileManager.default.createDirectory(
            at: root.appending(path: "a/b/c"), withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
        try body(root.resolvingSymlinksInPath())
    }

    private func path(_ url: URL, _ below: String = "") -> String {
        let path = (below.isEmpty ? url : url.appending(path: below)).path(percentEncoded: false)
        return path.hasSuffix("/") ? String(path.dropLast()) : path
    }

    @Test("A private folder is safe, by any spelling of its path")
    func safe() throws {
        try withFolder { root in
            for below in ["a/b/c", "a//b/./c/", "a/b/../b/c"] {
                #expect(FolderDanger(of: "\(path(root))/\(below)") == nil, "\(below)")
            }
            try #require(chmod(path(root, "a/b/c"), 0o755) == 0)
            #expect(FolderDanger(of: path(root, "a/b/c")) == nil, "others may read it")
        }
    }

    @Test("A folder that others may write to is a danger, also with the sticky bit", arguments: [0o777, 0o1777, 0o707])
    func writable(mode: Int) throws {
        try withFolder { root in
            let folder = path(root, "a/b/c")
            try #require(chmod(folder, mode_t(mode)) == 0)
            let danger = try #require(FolderDanger(of: folder))
            #expect(danger.path == folder)
            #expect(danger.isFolder)
            #expect(danger.way == .mode(mode_t(mode)))
            #expect(danger.description.contains("chmod go-w \(folder)"))
        }
    }

    @Test("A folder on the path that others may write to is a danger, unless it is sticky")
    func parents() throws {
        try withFolder { root in
            for below in ["a", "a/b"] {
                let parent = path(root, below)
                try #require(chmod(parent, 0o777) == 0)
                let danger = try #require(FolderDanger(of: path(root, "a/b/c")))
                #expect(danger.path == parent)
                #expect(!danger.isFolder)
                try #require(chmod(parent, 0o1777) == 0)
                #expect(FolderDanger(of: path(root, "a/b/c")) == nil)
                try #require(chmod(parent, 0o700) == 0)
            }
        }
    }

    @Test("A link leads the search to its target, and its own folder counts, too")
    func links() throws {
        try withFolder { root in
            let open = path(root, "open")
            try #require(mkdir(open, 0o700) == 0)
            for target in ["../a/b/c", path(root, "a/b/c")] {
                try #require(symlink(target, "\(open)/link") == 0)
                #expect(FolderDanger(of: "\(open)/link") == nil)
                try #require(chmod(open, 0o777) == 0)
                #expect(FolderDanger(of: "\(open)/link")?.path == open)
                try #require(chmod(open, 0o700) == 0)
                try #require(chmod(path(root, "a"), 0o777) == 0)
                #expect(FolderDanger(of: "\(open)/link")?.path == path(root, "a"))
                try #require(chmod(path(root, "a"), 0o700) == 0)
                try #require(unlink("\(open)/link") == 0)
            }
        }
    }

    @Test("A folder of another user is a danger", .enabled(if: geteuid() == 0, "needs root"))
    func owners() throws {
        try withFolder { root in
            for below in ["a", "a/b", "a/b/c"] {
                try #require(chown(path(root, below), 12_345, 0) == 0)
                let danger = try #require(FolderDanger(of: path(root, "a/b/c")))
                #expect(danger.path == path(root, below))
                #expect(danger.way == .owner(12_345))
                try #require(chown(path(root, below), 0, 0) == 0)
            }
            // In a sticky folder, the owner of an entry may replace it.
            try #require(chmod(path(root, "a"), 0o1777) == 0)
            try #require(chown(path(root, "a/b"), 12_345, 0) == 0)
            #expect(FolderDanger(of: path(root, "a/b/c"))?.path == path(root, "a/b"))
        }
    }

    @Test("A group that may write is a danger, unless it is the owner's private group")
    func groups() throws {
        try withFolder { root in
            let folder = path(root, "a/b/c")
            try #require(chmod(folder, 0o770) == 0)
            let account = try #require(getpwuid(geteuid()))
            let group = try #require(getgrgid(account.pointee.pw_gid))
            let isPrivate =
                String(cString: group.pointee.gr_name) == String(cString: account.pointee.pw_name)
                && group.pointee.gr_mem.pointee == nil
            try #require(chown(folder, geteuid(), account.pointee.pw_gid) == 0)
            #expect((FolderDanger(of: folder) == nil) == isPrivate)
            guard geteuid() == 0 else { return }
            try #require(chown(folder, 0, 12_345) == 0)
            #expect(FolderDanger(of: folder)?.way == .mode(0o770))
        }
    }

    @Test("The settings refuse such a folder")
    func setting() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-folder-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.path(percentEncoded: false)
        try #require(chmod(path, 0o777) == 0)
        var settings = try RecordingSettings(SettingsReader(environment: ["UPLOAD_DIR": path]))
        let error = await #expect(throws: SettingError.self) { _ = try await settings.store() }
        #expect(error?.name == "UPLOAD_DIR")
        settings.checksFolder = false
        _ = try await settings.store()
    }
}
