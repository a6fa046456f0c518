import Foundation
import Glibc
import SecretFiles
import Synchronization
import TestSupport
import Testing

@Suite("Files with secrets", .deadline)
struct SecretFileTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tb-secrets-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try body(folder.path(percentEncoded: false))
    }

    private func mode(_ path: String) throws -> mode_t {
        var status = stat()
        try #require(lstat(path, &status) == 0)
        return status.st_mode & 0o7777
    }

    @Test("A new file has mode 0600 and the whole secret")
    func create() throws {
        try withFolder { folder in
            let path = "\(folder)/secret"
            try SecretFile.create(path, contents: "a secret".utf8)
            #expect(try mode(path) == 0o600)
            #expect(try SecretFile.read(path, limit: 100) == Array("a secret".utf8))
        }
    }

    @Test("The mode is 0600 from the first moment: another thread never sees another one")
    func firstMoment() throws {
        try withFolder { folder in
            let path = "\(folder)/secret"
            let (stop, seen) = (Atomic(false), Atomic(false))
            let watcher = Thread {
                var status = stat()
                while !stop.value {
                    if lstat(path, &status) == 0, status.st_mode & 0o077 != 0 { seen.value = true }
                }
            }
            watcher.start()
            for _ in 0..<500 {
                try SecretFile.create(path, contents: [UInt8](repeating: 1, count: 10_000))
                try #require(unlink(path) == 0)
            }
            stop.value = true
            #expect(!seen.value)
        }
    }

    @Test("An existing file or link is left as it is")
    func exists() throws {
        try withFolder { folder in
            let path = "\(folder)/secret"
            try Data("older".utf8).write(to: URL(filePath: path))
            try #require(symlink("target", "\(folder)/link") == 0)
            for name in ["secret", "link"] {
                let error = #expect(throws: SecretFileError.self) {
                    try SecretFile.create("\(folder)/\(name)", contents: [1])
                }
                #expect(error?.code == .exists)
            }
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "older")
            #expect(access("\(folder)/target", F_OK) != 0)
        }
    }

    @Test("A file that others may read, a folder, a device, a long or a missing file is refused")
    func refused() throws {
        try withFolder { folder in
            let path = "\(folder)/secret"
            try SecretFile.create(path, contents: [UInt8](repeating: 1, count: 100))
            for shared in [0o640, 0o604, 0o620, 0o601] {
                try #require(chmod(path, mode_t(shared)) == 0)
                #expect(throws: SecretFileError.self) { try SecretFile.read(path, limit: 100) }
            }
            try #require(chmod(path, 0o400) == 0)
            #expect(try SecretFile.read(path, limit: 100).count == 100)
            try #require(mkfifo("\(folder)/pipe", 0o600) == 0)
            for (name, limit, code) in [
                (path, 99, .tooLong), (folder, 100, .notRegular), ("/dev/null", 100, .notRegular),
                ("\(folder)/pipe", 100, .notRegular), ("\(folder)/none", 100, .unreadable),
            ] as [(String, Int, SecretFileError.Code)] {
                let error = #expect(throws: SecretFileError.self) { try SecretFile.read(name, limit: limit) }
                #expect(error?.code == code, "\(name)")
            }
        }
    }
}

/// A value that two threads share.
private final class Atomic: Sendable {
    private let state: Mutex<Bool>

    init(_ value: Bool) { state = Mutex(value) }

    var value: Bool {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
}
