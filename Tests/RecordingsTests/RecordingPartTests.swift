import Crypto
import Foundation
import NIOCore
import Synchronization
import TestSupport
import Testing

@testable import Recordings

private let chunk = RecordingSeal.chunkSize

/// An upload in a shelf, as requests write it.
private struct PartialUpload: Sendable {
    let shelf: Shelf
    let folder = UUID().uuidString.lowercased()
    var parts: [RecordingPart] = []

    func begin() async throws -> RecordingPartWriter {
        try await shelf.store.beginPart(of: folder, stem: UUID().uuidString.lowercased())
    }

    /// Writes a part and ends it.
    mutating func add(_ bytes: [UInt8], piece: Int = 100_000) async throws {
        var part = try await begin()
        for start in stride(from: 0, to: bytes.count, by: piece) {
            try await part.write(ByteBuffer(bytes: bytes[start..<min(start + piece, bytes.count)]))
        }
        parts.append(try await part.finish())
    }

    func read(_ part: RecordingPart) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        try await shelf.store.read(part, of: folder) { bytes += $0.readableBytesView }
        return bytes
    }

    var bytes: [UInt8] {
        get async throws {
            var bytes: [UInt8] = []
            for part in parts { bytes += try await read(part) }
            return bytes
        }
    }
}

@Suite("Parts of recordings", .deadline)
struct RecordingPartTests {
    @Test(
        "A part of any size is read as it was written, sealed and plain",
        arguments: [1, chunk - 1, chunk, chunk + 1, 16 * chunk, 17 * chunk + 5], [true, false])
    func sizes(_ size: Int, isSealed: Bool) async throws {
        try await Shelf.with(isSealed ? RecordingKeys(current: .sample) : nil) { shelf in
            var upload = PartialUpload(shelf: shelf)
            let bytes = sampleBytes(size)
            try await upload.add(bytes)
            #expect(upload.parts[0].byteCount == Int64(size))
            #expect(try await upload.bytes == bytes)
            // The last byte of an upload counts only with the recording.
            let shorter = RecordingPart(name: upload.parts[0].name, byteCount: Int64(size - 1))
            #expect(try await upload.read(shorter) == Array(bytes.dropLast()))
        }
    }

    @Test("What a checkpoint counts is readable after a kill, and nothing else is needed", arguments: [true, false])
    func checkpoint(isSealed: Bool) async throws {
        try await Shelf.with(isSealed ? RecordingKeys(current: .sample) : nil) { shelf in
            let upload = PartialUpload(shelf: shelf)
            let bytes = sampleBytes(5 * chunk + 100)
            var part = try await upload.begin()
            try await part.write(ByteBuffer(bytes: bytes.prefix(1000)))
            var durable = try await part.checkpoint()
            #expect(durable.byteCount == (isSealed ? 0 : 1000))
            try await part.write(ByteBuffer(bytes: bytes.dropFirst(1000)))
            durable = try await part.checkpoint()
            #expect(durable.byteCount == Int64(isSealed ? 5 * chunk : bytes.count))
            #expect(try await upload.read(durable) == Array(bytes.prefix(Int(durable.byteCount))))
            // The server goes on a little, and is killed in the middle of a write.
            let url = shelf.directory.appending(path: "\(upload.folder).parts/\(durable.name)")
            var raw = try Data(contentsOf: url)
            raw.append(contentsOf: [UInt8](repeating: 0xAA, count: 777))
            try raw.write(to: url)
            #expect(try await upload.read(durable) == Array(bytes.prefix(Int(durable.byteCount))))
            await part.discard()
            #expect(try await upload.read(durable) == Array(bytes.prefix(Int(durable.byteCount))))
        }
    }

    @Test(
        "The durable bytes of a part that is given up stay, and a part without any is removed",
        arguments: [true, false])
    func givenUp(isSealed: Bool) async throws {
        try await Shelf.with(isSealed ? RecordingKeys(current: .sample) : nil) { shelf in
            let upload = PartialUpload(shelf: shelf)
            let bytes = sampleBytes(2 * chunk + 1)
            var part = try await upload.begin()
            try await part.write(ByteBuffer(bytes: bytes))
            let durable = try await part.checkpoint()
            #expect(durable.byteCount >= Int64(2 * chunk))
            await part.discard()
            #expect(try await upload.read(durable) == Array(bytes.prefix(Int(durable.byteCount))))

            var other = try await upload.begin()
            try await other.write(ByteBuffer(bytes: bytes))
            await other.discard()
            let gone = RecordingPart(name: other.name, byteCount: 1)
            await #expect(throws: RecordingError.self) { try await upload.read(gone) }
        }
    }

    @Test("A damaged, truncated or foreign part is refused")
    func damaged() async throws {
        try await Shelf.with { shelf in
            var upload = PartialUpload(shelf: shelf)
            try await upload.add(sampleBytes(2 * chunk + 10))
            try await upload.add(sampleBytes(2 * chunk + 10))
            let urls = upload.parts.map { shelf.directory.appending(path: "\(upload.folder).parts/\($0.name)") }
            let raw = try Data(contentsOf: urls[0])
            for damage in [raw.prefix(raw.count - 1), raw.prefix(chunk), try Data(contentsOf: urls[1])] {
                try damage.write(to: urls[0])
                await #expect(throws: RecordingError(.damaged)) { _ = try await upload.read(upload.parts[0]) }
            }
            try FileManager.default.removeItem(at: urls[0])
            await #expect(throws: RecordingError(.damaged)) { _ = try await upload.read(upload.parts[0]) }
        }
    }

    @Test("A whole part becomes a recording, and the folder of parts is removed like one", arguments: [true, false])
    func publish(isSealed: Bool) async throws {
        try await Shelf.with(isSealed ? RecordingKeys(current: .sample) : nil) { shelf in
            for isMoved in [true, false] {
                var upload = PartialUpload(shelf: shelf)
                let bytes = sampleBytes(3 * chunk)
                try await upload.add(bytes)
                let part = upload.parts[0]
                if isMoved {
                    try await shelf.store.move(part, of: upload.folder, to: part.name)
                } else {
                    try await shelf.store.publish(part, of: upload.folder, as: part.name)
                    #expect(try await upload.bytes == bytes)
                }
                #expect(try await shelf.load(part.name) == bytes)
                try await shelf.store.remove(key: shelf.store.partsKey(of: upload.folder))
                #expect(try await shelf.load(part.name) == bytes)
                let names = try FileManager.default.contentsOfDirectory(
                    atPath: shelf.directory.path(percentEncoded: false))
                #expect(!names.contains { $0.hasSuffix(".parts") })
            }
        }
    }

    @Test("No key and nonce seals two plaintexts, whatever requests leave behind")
    func nonces() async throws {
        try await Shelf.with { shelf in
            let uses = Mutex<[RecordingSeal.Use]>([])
            try await RecordingSeal.$onUse.withValue({ use in uses.withLock { $0.append(use) } }) {
                var upload = PartialUpload(shelf: shelf)
                let bytes = sampleBytes(4 * chunk + 300)
                // A request breaks off in the middle of a chunk, and the next one sends other bytes for the rest.
                try await upload.add(Array(bytes.prefix(chunk + 77)))
                // A request with a wrong checksum writes several chunks, which are discarded, and comes again.
                for isDiscarded in [true, false] {
                    var part = try await upload.begin()
                    try await part.write(
                        ByteBuffer(bytes: isDiscarded ? sampleBytes(20 * chunk) : Array(bytes[(chunk + 77)...])))
                    if isDiscarded { await part.discard() } else { upload.parts.append(try await part.finish()) }
                }
                // A server is killed after a checkpoint: its file stays, and the next request writes the same bytes again.
                for _ in 0..<2 {
                    var part = try await upload.begin()
                    try await part.write(ByteBuffer(bytes: bytes))
                    _ = try await part.checkpoint()
                    try await part.write(ByteBuffer(bytes: bytes.prefix(10)))
                    _ = try await part.checkpoint()
                    _ = try await part.finish()
                }
                #expect(try await upload.bytes == bytes)
                // The parts become one file, twice: the first server dies after it.
                for _ in 0..<2 {
                    var whole = try await upload.begin()
                    for part in upload.parts {
                        try await shelf.store.read(part, of: upload.folder) { try await whole.write($0) }
                    }
                    let file = try await whole.finish()
                    try await shelf.store.move(file, of: upload.folder, to: file.name)
                    #expect(try await shelf.load(file.name) == bytes)
                }
                try await shelf.store("a.wav", bytes)
            }
            let all = uses.withLock { $0 }
            #expect(all.count > 30)
            #expect(Set(all).count == all.count)
            // Each file has a salt of its own: a header never begins two files.
            #expect(Set(all.map(\.header)).count == 8)
        }
    }
}
