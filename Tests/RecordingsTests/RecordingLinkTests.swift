import Foundation
import Glibc
import NIOCore
import TestSupport
import Testing

@testable import Recordings

/// Links and other entries in the place of a recording, which an attacker would put there.
@Suite("Links in the folder of recordings", .deadline)
struct RecordingLinkTests {
    /// Both kinds of store.
    private static let keys: [RecordingKeys?] = [nil, RecordingKeys(current: .sample)]

    @Test("A link is not followed, and neither is a folder, a pipe or a device read", arguments: [false, true])
    func entries(isSealed: Bool) async throws {
        try await Shelf.with(Self.keys[isSealed ? 1 : 0]) { shelf in
            let key = try await shelf.store("a.wav", sampleBytes(100))
            let path = shelf.url(key).path(percentEncoded: false)
            let other = shelf.url("other").path(percentEncoded: false)
            try #require(rename(path, other) == 0)
            for make in [
                { symlink(other, path) }, { symlink("other", path) }, { symlink("/dev/zero", path) },
                { mkdir(path, 0o700) }, { mkfifo(path, 0o600) },
            ] as [() -> CInt] {
                try #require(make() == 0)
                await #expect(throws: RecordingError(.damaged)) { _ = try await shelf.store.open(key: key) }
                try FileManager.default.removeItem(atPath: path)
            }
            try #require(symlink("/nowhere", path) == 0)
            await #expect(throws: RecordingError(.damaged)) { _ = try await shelf.store.open(key: key) }
            try #require(unlink(path) == 0)
            #expect(try await shelf.store.open(key: key) == nil)
        }
    }

    @Test(
        "An open recording stays the file that was checked, also when another takes its name", arguments: [false, true])
    func replaced(isSealed: Bool) async throws {
        try await Shelf.with(Self.keys[isSealed ? 1 : 0]) { shelf in
            let bytes = sampleBytes(200_000)
            let key = try await shelf.store("a.wav", bytes)
            let file = try #require(try await shelf.store.open(key: key))
            let path = shelf.url(key).path(percentEncoded: false)
            try #require(unlink(path) == 0)
            try #require(symlink("/etc/passwd", path) == 0)
            var read: [UInt8] = []
            try await file.read(0..<file.byteCount) { read += $0.readableBytesView }
            #expect(read == bytes)
        }
    }

    @Test("A recording that has become shorter is damaged, and not read as whole")
    func shortened() async throws {
        try await Shelf.with(nil) { shelf in
            let key = try await shelf.store("a.wav", sampleBytes(300_000))
            let file = try #require(try await shelf.store.open(key: key))
            try #require(truncate(shelf.url(key).path(percentEncoded: false), 200_000) == 0)
            var count = 0
            await #expect(throws: RecordingError(.damaged)) {
                try await file.read(0..<file.byteCount) { count += $0.readableBytes }
            }
            #expect(count == 200_000)
        }
    }

    @Test("A removal removes the link and not its target, and a new recording does not write through a link")
    func writes() async throws {
        try await Shelf.with(nil) { shelf in
            let target = shelf.url("target").path(percentEncoded: false)
            try Data("kept".utf8).write(to: URL(filePath: target))
            for name in ["a.wav", "a.wav.partial"] {
                try #require(symlink(target, shelf.url(name).path(percentEncoded: false)) == 0)
                if name != "a.wav" {
                    await #expect(throws: (any Error).self) { try await shelf.store("a.wav", sampleBytes(10)) }
                }
                try await shelf.store.remove(key: "a.wav")
                #expect(try String(contentsOfFile: target, encoding: .utf8) == "kept")
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: shelf.directory.path()) == ["target"])
        }
    }
}
