import Domain
import Foundation
import PropertySupport
import Testing

/// A model of one upload over several servers: requests write files, lose their connection or their server, stall and come back.
///
/// The model knows what the client sent. Whatever the order of events, the durable bytes are the beginning of it.
private struct UploadWorld {
    /// One request, with the file that it writes.
    struct Writer {
        let id = UUID()
        var name: String
        var bytes: [UInt8]
        var replaced: String?
        /// A stalled server does not notice that it has lost the upload.
        var isStalled = false
        /// What the request will still send.
        var rest: ArraySlice<UInt8>
    }

    let content: [UInt8]
    var upload: ResumableUpload
    var files: [String: [UInt8]] = [:]
    var writers: [Writer] = []
    var now = Timestamp(microsecondsSinceEpoch: 1_800_000_000_000_000)
    var completions = 0
    var recording: [UInt8]?
    private var greatestOffset: Int64 = 0
    private var names = 0

    init(length: Int) {
        content = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        upload = ResumableUpload(
            id: .random(), session: .random(), patient: .random(), user: .random(), metadata: "", length: Int64(length),
            expiresAt: now.advanced(by: .seconds(1_000_000)))
    }

    mutating func step(_ generator: inout SeededGenerator) {
        now = now.advanced(by: .milliseconds(Int.random(in: 0...1500, using: &generator)))
        let index = writers.indices.randomElement(using: &generator)
        switch (Int.random(in: 0..<12, using: &generator), index) {
        case (0...2, _): arrive(&generator)
        case (3...6, let index?): receive(index, &generator)
        case (7...8, let index?): commit(index, &generator)
        case (9, let index?):
            if !writers[index].isStalled {
                _ = upload.extend(
                    writers[index].id, silentFor: .milliseconds(Int.random(in: 0...8000, using: &generator)), now: now)
            }
        case (10, let index?): writers[index].isStalled.toggle()
        case (11, let index?): leave(index, &generator)
        default: break
        }
    }

    /// A request comes at the offset that the client knows: the right one, or an old one.
    private mutating func arrive(_ generator: inout SeededGenerator) {
        let offset =
            Bool.random(using: &generator) ? upload.offset : Int64.random(in: 0...upload.length, using: &generator)
        names += 1
        var writer = Writer(name: "part-\(names)", bytes: [], rest: content[Int(min(offset, upload.length))...])
        guard upload.admit(writer.id, at: offset, now: now) == .admitted else { return }
        #expect(offset == upload.offset)
        if let last = upload.parts.last, last.byteCount < 20 {
            writer.bytes = Array((files[last.name] ?? []).prefix(Int(last.byteCount)))
            writer.replaced = last.name
        }
        files[writer.name] = writer.bytes
        writers.append(writer)
    }

    private mutating func receive(_ index: Int, _ generator: inout SeededGenerator) {
        let count = Int.random(in: 1...30, using: &generator)
        let bytes = writers[index].rest.prefix(count)
        writers[index].rest = writers[index].rest.dropFirst(count)
        writers[index].bytes += bytes
        // Only this request writes to the file, whether it holds the upload or not.
        files[writers[index].name] = writers[index].bytes
    }

    private mutating func commit(_ index: Int, _ generator: inout SeededGenerator) {
        let writer = writers[index]
        // A sealed file makes only whole chunks durable.
        var durable = Int.random(in: 0...writer.bytes.count, using: &generator)
        if writer.rest.isEmpty { durable = writer.bytes.count }
        let replacedCount = writer.replaced.flatMap { name in upload.parts.last { $0.name == name }?.byteCount } ?? 0
        if Int64(durable) >= max(replacedCount, 1) {
            _ = upload.commit(
                .init(name: writer.name, byteCount: Int64(durable)), replacing: writer.replaced, isRecognized: false,
                by: writer.id, now: now, lifetime: .seconds(1_000_000))
        }
        if writer.rest.isEmpty { complete(index) }
    }

    private mutating func complete(_ index: Int) {
        let writer = writers[index]
        var whole = upload.parts.filter { $0.name != writer.name && $0.name != writer.replaced }
            .flatMap { (files[$0.name] ?? []).prefix(Int($0.byteCount)) }
        whole += writer.bytes
        if upload.complete(by: writer.id, now: now, lifetime: .seconds(1_000_000)) {
            completions += 1
            recording = whole
        }
    }

    private mutating func leave(_ index: Int, _ generator: inout SeededGenerator) {
        let writer = writers.remove(at: index)
        // A killed server releases nothing.
        if Bool.random(using: &generator) { upload.release(writer.id) }
    }

    mutating func check() {
        #expect(upload.offset >= greatestOffset, "durable bytes were lost")
        greatestOffset = upload.offset
        #expect(completions <= 1, "the recording was attached twice")
        if upload.state == .complete {
            #expect(recording == content)
            return
        }
        #expect(upload.offset < upload.length)
        let durable = upload.parts.flatMap { (files[$0.name] ?? []).prefix(Int($0.byteCount)) }
        #expect(durable == Array(content.prefix(Int(upload.offset))), "the durable bytes are not what the client sent")
    }
}

@Suite("A model of resumable uploads")
struct ResumableUploadModelTests {
    @Test("Whatever servers and connections do, the durable bytes are those of the client, and the recording is whole")
    func model() {
        var completed = 0
        for seed in 0..<UInt64(300) {
            var generator = SeededGenerator(seed: seed)
            var world = UploadWorld(length: Int.random(in: 1...400, using: &generator))
            for _ in 0..<400 {
                world.step(&generator)
                world.check()
            }
            completed += world.completions
        }
        // Most of the uploads get to their end in this time.
        #expect(completed > 100)
    }
}
