import Crypto
import Foundation
import NIOCore
import NIOFileSystem
import TestSupport
import Testing

@testable import Recordings

/// A store of recordings in a folder of the test's own.
struct Shelf: Sendable {
    let directory: URL
    let store: RecordingStore

    /// Lends a store with keys.
    static func with(
        _ keys: RecordingKeys? = RecordingKeys(current: .sample), _ body: (Shelf) async throws -> Void
    ) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "tb-shelf-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: directory) }
        let shelf = Shelf(directory: directory, keys)
        try await shelf.store.prepare()
        try await body(shelf)
    }

    private init(directory: URL, _ keys: RecordingKeys?) {
        self.directory = directory
        store = RecordingStore(directory: directory.path(percentEncoded: false), keys: keys)
    }

    /// Returns a store of the same folder with other keys.
    func with(_ keys: RecordingKeys?) -> Shelf { Shelf(directory: directory, keys) }

    /// Stores bytes, written in pieces of a length.
    @discardableResult
    func store(_ name: String, _ bytes: [UInt8], piece: Int = 100_000) async throws -> String {
        let key = store.key(for: name)
        try await store.write(key: key) { writer in
            for start in stride(from: 0, to: bytes.count, by: piece) {
                try await writer.write(ByteBuffer(bytes: bytes[start..<min(start + piece, bytes.count)]))
            }
            #expect(writer.byteCount == Int64(bytes.count))
        }
        return key
    }

    func load(_ key: String, _ range: Range<Int64>? = nil) async throws -> [UInt8] {
        let file = try #require(try await store.open(key: key))
        var result: [UInt8] = []
        try await file.read(range ?? 0..<file.byteCount) { result += $0.readableBytesView }
        return result
    }

    func url(_ key: String) -> URL { directory.appending(path: key) }

    /// The bytes of the file.
    func raw(_ key: String) throws -> [UInt8] { try Array(Data(contentsOf: url(key))) }

    /// Expects that a file with these bytes is refused as damaged.
    func expectDamaged(_ raw: [UInt8], as key: String, _ comment: Comment) async throws {
        try Data(raw).write(to: url(key))
        await #expect(throws: RecordingError(.damaged), comment) { _ = try await load(key) }
    }
}

extension RecordingKey {
    static let sample = RecordingKey(contents: Array(repeating: 7, count: 32))!
    static let other = RecordingKey(contents: Array(repeating: 200, count: 32))!
}

/// Bytes with a pattern that differs from offset to offset.
func sampleBytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8 &* 17) } }

private let chunk = RecordingSeal.chunkSize
private let sealedChunk = RecordingSeal.chunkSize + RecordingSeal.tagSize
private let header = RecordingSeal.headerSize

@Suite("Sealed recordings", .deadline)
struct SealedRecordingTests {
    @Test(
        "A recording of any size is read as it was written",
        arguments: [
            0, 1, 15, chunk - 1, chunk, chunk + 1, 2 * chunk, 16 * chunk, 16 * chunk + 1, 33 * chunk, 40 * chunk + 5,
        ])
    func sizes(_ size: Int) async throws {
        try await Shelf.with { shelf in
            let bytes = sampleBytes(size)
            for (name, piece) in [("a.wav", 100_000), ("b.wav", 5 << 20), ("c.wav", chunk)] {
                let key = try await shelf.store(name, bytes, piece: piece)
                #expect(key == name + ".enc")
                #expect(try await shelf.load(key) == bytes)
                let file = try #require(try await shelf.store.open(key: key))
                #expect(file.byteCount == Int64(size))
                #expect(file.plainPath == nil)
                let chunks = max(1, (size + chunk - 1) / chunk)
                #expect(try shelf.raw(key).count == header + size + chunks * RecordingSeal.tagSize)
            }
        }
    }

    @Test("Any range can be read, also across chunks")
    func ranges() async throws {
        try await Shelf.with { shelf in
            let bytes = sampleBytes(3 * chunk + 100)
            let key = try await shelf.store("a.wav", bytes)
            let edges = [
                0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk - 1, 3 * chunk, bytes.count - 1, bytes.count,
            ]
            for start in edges {
                for end in edges where end >= start {
                    let part = try await shelf.load(key, Int64(start)..<Int64(end))
                    #expect(part == Array(bytes[start..<end]), "\(start)..<\(end)")
                }
            }
        }
    }

    @Test("A file reveals neither its content nor that two recordings are equal")
    func hidden() async throws {
        try await Shelf.with { shelf in
            let canary = Array("words that only therapist and patient may hear".utf8)
            let bytes = sampleBytes(chunk - 20) + canary + sampleBytes(chunk) + canary
            let first = try shelf.raw(try await shelf.store("a.wav", bytes))
            let second = try shelf.raw(try await shelf.store("b.wav", bytes))
            for raw in [first, second] {
                #expect(Data(raw).firstRange(of: Data(canary)) == nil)
                #expect(Data(raw).firstRange(of: Data(canary.prefix(8))) == nil)
            }
            // The files of equal recordings have nothing in common.
            #expect(zip(first.dropFirst(16), second.dropFirst(16)).count { $0 == $1 } < bytes.count / 100)
        }
    }

    @Test("A copy is plain, and only this account may read it")
    func copied() async throws {
        try await Shelf.with { shelf in
            let bytes = sampleBytes(2 * chunk + 7)
            let file = try #require(try await shelf.store.open(key: try await shelf.store("a.ogg", bytes)))
            let target = shelf.url("copy.ogg").path(percentEncoded: false)
            try await file.copy(to: FilePath(target))
            #expect(try Data(contentsOf: URL(filePath: target)) == Data(bytes))
            let mode = try FileManager.default.attributesOfItem(atPath: target)[.posixPermissions]
            #expect(mode as? Int == 0o600)
        }
    }

    @Test("A recording opens with an earlier key, and with no other")
    func keys() async throws {
        try await Shelf.with { shelf in
            let bytes = sampleBytes(chunk + 1)
            let key = try await shelf.store("a.wav", bytes)
            let rotated = shelf.with(RecordingKeys(current: .other, previous: [.sample]))
            #expect(try await rotated.load(key) == bytes)
            let new = try await rotated.store("b.wav", bytes)
            #expect(try await rotated.load(new) == bytes)
            #expect(try await shelf.with(RecordingKeys(current: .other)).load(new) == bytes)
            for keys in [RecordingKeys(current: .other), nil] {
                let error = await #expect(throws: RecordingError.self) { try await shelf.with(keys).load(key) }
                #expect(error?.code == .unknownKey)
            }
        }
    }

    @Test("Plain recordings stay readable beside sealed ones")
    func plain() async throws {
        try await Shelf.with(nil) { shelf in
            // One of them has the bytes of a sealed file, but its key says that it is plain.
            let sealed = shelf.with(RecordingKeys(current: .sample))
            let bytes = sampleBytes(chunk)
            let secret = try shelf.raw(try await sealed.store("s.wav", bytes))
            for (name, bytes) in [("a.wav", bytes), ("b.wav", []), ("c.wav", secret)] {
                let key = try await shelf.store(name, bytes)
                #expect(key == name)
                #expect(try shelf.raw(key) == bytes)
                #expect(try await sealed.load(key) == bytes)
                #expect(try await sealed.store.open(key: key)?.plainPath != nil)
            }
            #expect(try await sealed.store.open(key: "none.wav") == nil)
            #expect(try await sealed.store.open(key: "none.wav.enc") == nil)
        }
    }
}

@Suite("Manipulated recordings", .deadline)
struct TamperedRecordingTests {
    /// Lends a recording of three whole chunks and a shorter one, with the bytes of its file.
    private func withRecording(_ body: (Shelf, String, [UInt8]) async throws -> Void) async throws {
        try await Shelf.with { shelf in
            let key = try await shelf.store("a.wav", sampleBytes(3 * chunk + 100))
            try await body(shelf, key, try shelf.raw(key))
        }
    }

    @Test("A recording with a changed bit is refused")
    func bits() async throws {
        try await withRecording { shelf, key, raw in
            let offsets =
                Array(0..<header) + Array(header..<header + 40) + stride(from: header, to: raw.count, by: 3571)
                + [header + chunk - 1, header + chunk, header + sealedChunk - 1, header + sealedChunk, raw.count - 1]
            for offset in offsets {
                var changed = raw
                changed[offset] ^= 1 << UInt8(offset % 8)
                try Data(changed).write(to: shelf.url(key))
                let error = await #expect(throws: RecordingError.self, "byte \(offset)") { try await shelf.load(key) }
                // These bytes hold the id of the key.
                #expect(error?.code == ((8..<16).contains(offset) ? .unknownKey : .damaged), "byte \(offset)")
            }
        }
    }

    @Test("A truncated recording is refused, even for a range before the cut")
    func truncated() async throws {
        try await withRecording { shelf, key, raw in
            for length in [
                0, 1, header - 1, header, header + 1, header + 15, header + 16, header + 17, header + sealedChunk,
                header + 2 * sealedChunk, header + 3 * sealedChunk, header + 3 * sealedChunk + 16,
                header + 2 * sealedChunk + 1000, raw.count - 1,
            ] {
                try Data(raw.prefix(length)).write(to: shelf.url(key))
                await #expect(throws: RecordingError(.damaged), "\(length) bytes") {
                    _ = try await shelf.load(key, 0..<1)
                }
            }
            try await shelf.expectDamaged(raw + [0], as: key, "a byte more")
            try await shelf.expectDamaged(raw + raw.suffix(116), as: key, "the last chunk twice")
            try await shelf.expectDamaged(raw + Array(repeating: 0, count: 16), as: key, "an empty chunk more")
        }
    }

    @Test("A recording with moved, missing or foreign chunks is refused")
    func spliced() async throws {
        try await withRecording { shelf, key, raw in
            func part(_ index: Int, of raw: [UInt8]) -> ArraySlice<UInt8> {
                raw[min(header + index * sealedChunk, raw.count)..<min(header + (index + 1) * sealedChunk, raw.count)]
            }
            let head = raw.prefix(header)
            let swapped = head + part(1, of: raw) + part(0, of: raw) + part(2, of: raw) + part(3, of: raw)
            try await shelf.expectDamaged(Array(swapped), as: key, "swapped")
            let repeated = head + part(0, of: raw) + part(0, of: raw) + part(2, of: raw) + part(3, of: raw)
            try await shelf.expectDamaged(Array(repeated), as: key, "repeated")
            let missing = head + part(0, of: raw) + part(2, of: raw) + part(3, of: raw)
            try await shelf.expectDamaged(Array(missing), as: key, "left out")

            let other = try shelf.raw(try await shelf.store("b.wav", sampleBytes(3 * chunk + 100)))
            let mixed = head + part(0, of: raw) + part(1, of: other) + part(2, of: raw) + part(3, of: raw)
            try await shelf.expectDamaged(Array(mixed), as: key, "a chunk of another")
            try await shelf.expectDamaged(
                Array(other.prefix(header) + raw.dropFirst(header)), as: key, "another header")
            // This file is complete and valid, but belongs to another recording.
            try await shelf.expectDamaged(other, as: key, "another recording in its place")
            try await shelf.expectDamaged(sampleBytes(1000), as: key, "a file that was never sealed")
        }
    }

    @Test("Chunks before a damaged one are read, and nothing of the damaged one")
    func partly() async throws {
        try await withRecording { shelf, key, raw in
            var changed = raw
            changed[header + sealedChunk + 500] ^= 1
            try Data(changed).write(to: shelf.url(key))
            let file = try #require(try await shelf.store.open(key: key))
            var received: [UInt8] = []
            await #expect(throws: RecordingError(.damaged)) {
                try await file.read(0..<file.byteCount) { received += $0.readableBytesView }
            }
            #expect(received == sampleBytes(chunk))
            // The chunks after it are readable, too.
            #expect(
                try await shelf.load(key, Int64(2 * chunk)..<Int64(3 * chunk))
                    == Array(sampleBytes(3 * chunk).suffix(chunk)))
            try await file.check(from: 0)
            await #expect(throws: RecordingError(.damaged)) { try await file.check(from: Int64(chunk)) }
        }
    }
}

@Suite("Recording keys")
struct RecordingKeyTests {
    private static let bytes = [UInt8](200..<232)
    private static let hex = bytes.map { String($0, radix: 16) }.joined()
    private static let base64 = Data(bytes).base64EncodedString()

    @Test(
        "A key is read as bytes, hexadecimal digits or base64",
        arguments: [
            hex, hex.uppercased(), hex + "\n", "  \(hex)\r\n", base64, base64 + "\n",
        ])
    func forms(_ text: String) throws {
        let key = try #require(RecordingKey(contents: text.utf8))
        #expect(key.id == RecordingKey(contents: Self.bytes)?.id)
        #expect(key.secret.withUnsafeBytes { Array($0) } == Self.bytes)
    }

    @Test(
        "Any other text is refused",
        arguments: [
            "", "\n", "password", String(hex.prefix(62)), hex + "00", String(hex.prefix(32)), "0x" + hex.prefix(62),
            String(base64.dropLast(4)), String(repeating: "x", count: 32), hex + hex, base64 + base64,
        ])
    func others(_ text: String) {
        #expect(RecordingKey(contents: text.utf8) == nil)
    }

    @Test("A key of another length is refused")
    func short() {
        for count in [0, 16, 31, 33, 64] {
            #expect(RecordingKey(contents: [UInt8](repeating: 0xFE, count: count)) == nil, "\(count)")
        }
    }
}
