import Cage
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import Pipeline

/// What a hostile stage leaves in its directory, and that nothing of it stays.
@Suite("The directory of a stage", .deadline) struct PrivateDirectoryTests {
    /// A folder with files that must survive.
    private static func withFolder(_ body: (String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.path + "/tb-private-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder + "/outside", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data("kept".utf8).write(to: URL(filePath: folder + "/outside/file"))
        try await body(folder)
        #expect(try String(contentsOfFile: folder + "/outside/file", encoding: .utf8) == "kept")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["outside"])
    }

    /// What a stage leaves.
    enum Litter: CaseIterable, Sendable {
        case deepTree, foreignNames, foldersWithoutRights, links, manyFolders, pipes

        func leave(in directory: String) throws {
            switch self {
            case .deepTree:
                // 1,500 levels: more descriptors than most processes may have, and 90 times the longest path.
                var level = open(directory, O_RDONLY | O_DIRECTORY)
                for _ in 0..<1_500 {
                    let name = String(repeating: "d", count: 250)
                    try #require(mkdirat(level, name, 0o700) == 0)
                    let next = openat(level, name, O_RDONLY | O_DIRECTORY)
                    try #require(next >= 0)
                    let file = openat(level, "file", O_WRONLY | O_CREAT, 0o600)
                    close(file)
                    close(level)
                    level = next
                }
                close(level)
            case .foreignNames:
                let level = open(directory, O_RDONLY | O_DIRECTORY)
                defer { close(level) }
                for name in [[0xFF, 0xFE], [0x0A], [0xC3], [0x2E, 0x2E, 0x2E]] as [[UInt8]] {
                    let bytes = name.map { CChar(bitPattern: $0) } + [0]
                    try #require(mkdirat(level, bytes, 0o700) == 0)
                    let folder = openat(level, bytes, O_RDONLY | O_DIRECTORY)
                    let file = openat(folder, bytes, O_WRONLY | O_CREAT, 0o600)
                    try #require(folder >= 0)
                    try #require(file >= 0)
                    close(file)
                    close(folder)
                }
            case .foldersWithoutRights:
                try FileManager.default.createDirectory(
                    atPath: directory + "/a/b/c", withIntermediateDirectories: true)
                for path in ["/a/b/c", "/a/b", "/a", ""] { try #require(chmod(directory + path, 0) == 0) }
            case .links:
                let outside = URL(filePath: directory).deletingLastPathComponent().path + "/outside"
                try FileManager.default.createSymbolicLink(
                    atPath: directory + "/folder", withDestinationPath: outside)
                try FileManager.default.createSymbolicLink(
                    atPath: directory + "/file", withDestinationPath: outside + "/file")
                try FileManager.default.createSymbolicLink(
                    atPath: directory + "/up", withDestinationPath: "..")
                try #require(link(outside + "/file", directory + "/hard") == 0)
            case .manyFolders:
                for number in 0..<2_500 {
                    try #require(mkdir("\(directory)/\(number)", 0o700) == 0)
                }
            case .pipes:
                try #require(mkfifo(directory + "/pipe", 0o600) == 0)
            }
        }
    }

    @Test("Nothing of what a stage leaves stays", arguments: Litter.allCases)
    func removesEverything(litter: Litter) async throws {
        try await Self.withFolder { folder in
            try await PrivateDirectory.with(purpose: "stage", in: folder) { try litter.leave(in: $0) }
        }
    }

    @Test("A sweep removes what a killed worker left", arguments: Litter.allCases)
    func sweepsEverything(litter: Litter) async throws {
        try await Self.withFolder { folder in
            let path = "\(folder)/therapybridge-stage-\(UUID().uuidString.lowercased())"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            try litter.leave(in: path)
            #expect(PrivateDirectory.sweep(in: folder) == .init(removed: 1))
        }
    }

    /// A stage can set the time of the last modification of its directory.
    @Test("A directory that claims to be from the future is swept")
    func sweepsTheFuture() async throws {
        try await Self.withFolder { folder in
            let path = "\(folder)/therapybridge-stage-\(UUID().uuidString.lowercased())"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            try FileManager.default.setAttributes(
                [.modificationDate: Date(timeIntervalSinceNow: 1e9)], ofItemAtPath: path)
            #expect(PrivateDirectory.sweep(in: folder).removed == 1)
        }
    }

    @Test("A sweep spares a directory in use, and names of others")
    func sparesOthers() async throws {
        try await Self.withFolder { folder in
            let other = folder + "/therapybridge-notes"
            try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: false)
            try await PrivateDirectory.with(purpose: "stage", in: folder) { path in
                #expect(PrivateDirectory.sweep(in: folder) == .init())
                #expect(FileManager.default.fileExists(atPath: path))
            }
            #expect(rmdir(other) == 0)
        }
    }

    @Test("A sweep that finds a new directory before its lock does not take it from its maker")
    func sweepsWhileOthersAreMade() async throws {
        try await Self.withFolder { folder in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    while !Task.isCancelled { _ = PrivateDirectory.sweep(in: folder) }
                }
                group.addTask {
                    for _ in 0..<2_000 {
                        try await PrivateDirectory.with(purpose: "stage", in: folder) { path in
                            try #require(FileManager.default.fileExists(atPath: path))
                        }
                    }
                }
                // The makers end, the sweep does not.
                try await group.next()
                group.cancelAll()
            }
        }
    }

    /// Another file system can hold anything, such as the recordings.
    @Test("Nothing on another file system is removed, and what stays is told", .enabled(if: geteuid() == 0))
    func entersNoMount() async throws {
        try await Self.withFolder { folder in
            let path = "\(folder)/therapybridge-stage-\(UUID().uuidString.lowercased())"
            let mounted = path + "/mounted"
            try FileManager.default.createDirectory(atPath: mounted, withIntermediateDirectories: true)
            try #require(mount("none", mounted, "tmpfs", 0, nil) == 0)
            try Data("kept".utf8).write(to: URL(filePath: mounted + "/file"))
            let swept = PrivateDirectory.sweep(in: folder)
            #expect(FileManager.default.fileExists(atPath: mounted + "/file"))
            try #require(umount2(mounted, 0) == 0)
            #expect(swept.removed == 0)
            let remains = try #require(swept.remains[URL(filePath: path).lastPathComponent])
            #expect(remains.count == 2)
            #expect(remains.error == .improperLink)
            #expect(PrivateDirectory.sweep(in: folder).removed == 1)
        }
    }
}
