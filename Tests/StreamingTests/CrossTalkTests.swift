import PropertySupport
import Synchronization
import TestSupport
import Testing

@testable import Streaming

/// Thousands of streams open and end on several threads, under load, and use the same slots and descriptor numbers
/// again.
@Suite("The reactor under load", .deadline) struct CrossTalkTests {
    @Test("A client never gets a byte of another client's stream")
    func crossTalk() async throws {
        let book = StreamBook()
        try await withReactor(heartbeat: .milliseconds(50)) { scene in
            let delegate = BookKeeper(book)
            await scene.reactor.setDelegate(delegate)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<2 { group.addTask { try await send(book, scene.reactor) } }
                try await withThrowingTaskGroup(of: Void.self) { clients in
                    for seed in 0..<8 as Range<UInt64> {
                        clients.addTask { try await comeAndGo(book, scene.reactor, seed: seed) }
                    }
                    try await clients.waitForAll()
                }
                book.close()
                try await group.waitForAll()
            }
            withExtendedLifetime(delegate) {}
        }
        let (opened, frames, slots) = book.totals
        #expect(opened == 8 * 300)
        #expect(frames > opened, "the test has not tested anything")
        #expect(slots < 100, "the test must use slots again")
    }

    /// Opens one stream after the other, on connections of one server socket.
    private func comeAndGo(_ book: StreamBook, _ reactor: StreamReactor, seed: UInt64) async throws {
        let loopback = try Loopback()
        var random = SeededGenerator(seed: seed)
        for _ in 0..<300 {
            let isChunked = Bool.random(using: &random)
            let way = Int.random(in: 0..<4, using: &random)
            let count = Int.random(in: 1...3000, using: &random)
            let (server, _, client) = try loopback.connect(receiveBuffer: count.isMultiple(of: 3) ? 4096 : nil)
            let id = book.open()
            await reactor.adopt(
                id, server, as: isChunked ? .chunks : .bare,
                firstFrame: Frame(head: [], payload: StreamBook.payload(id, 0), isChunked: isChunked),
                expiresAt: .now + .seconds(3600), livesUntil: .now + .seconds(3600))
            book.adopted(id, isForEnd: way == 0)
            let bytes = try await onThread {
                // The client's bytes have nothing to do with the server's.
                try? client.write(Array("GET / HTTP/1.1\r\n\r\n".utf8))
                let bytes = way == 0 ? try client.readToEnd() : try client.read(exactly: count)
                switch way {
                case 1: client.resetOnClose()
                case 2: client.endWriting()
                default: break
                }
                return bytes
            }
            try book.check(bytes, of: id, isChunked: isChunked, isWhole: way == 0)
        }
    }

    /// Sends without end to open streams, and to some that have ended.
    private func send(_ book: StreamBook, _ reactor: StreamReactor) async throws {
        while let (present, past) = book.next() {
            for id in past {
                let outcome = await reactor.send(Frame(StreamBook.payload(id, 0)), to: [id]).first?.outcome
                #expect(outcome == .gone, "an ended stream gets nothing")
                #expect(await reactor.end(id, with: Frame(StreamBook.payload(id, 0), isLast: true)) == false)
            }
            for (id, number, isLast) in present {
                if isLast {
                    await reactor.end(id, with: Frame(StreamBook.payload(id, number), isLast: true))
                } else if await reactor.send(Frame(StreamBook.payload(id, number)), to: [id]).first?.outcome == .gone {
                    book.gone(id, isTold: false)
                }
            }
            await Task.yield()
        }
    }
}

/// Records in the book which streams have ended.
private final class BookKeeper: StreamReactorDelegate {
    private let book: StreamBook
    init(_ book: StreamBook) { self.book = book }

    func streamFilled(_ id: StreamID) {}
    func streamDrained(_ id: StreamID) {}
    func streamExpired(_ id: StreamID) {}
    func streamOutlived(_ id: StreamID) {}
    func streamLeaving(_ id: StreamID) {}
    func streamClosed(_ id: StreamID) { book.gone(id, isTold: true) }
}

/// The open streams and the ended ones.
///
/// A slot is used again as soon as it is free.
private final class StreamBook: Sendable {
    private struct Stream {
        var isAdopted = false
        /// Whether the stream gets a last frame after a few frames.
        var isForEnd = false
        var frames = 0
    }

    private struct State {
        var free: [StreamID] = []
        var slots: UInt32 = 0
        var present: [StreamID: Stream] = [:]
        var past: [StreamID] = []
        var opened = 0
        var frames = 0
        var isClosed = false
    }
    private let state = Mutex(State())

    var totals: (opened: Int, frames: Int, slots: Int) {
        state.withLock { ($0.opened, $0.frames, Int($0.slots)) }
    }

    func open() -> StreamID {
        state.withLock { state in
            state.opened += 1
            let id: StreamID
            if let last = state.free.popLast() {
                id = StreamID(slot: last.slot, generation: last.generation + 1)
            } else {
                id = StreamID(slot: state.slots, generation: 0)
                state.slots += 1
            }
            state.present[id] = Stream()
            return id
        }
    }

    func adopted(_ id: StreamID, isForEnd: Bool) {
        state.withLock { state in
            state.present[id]?.isForEnd = isForEnd
            state.present[id]?.isAdopted = true
        }
    }

    /// Records that a stream ended, and that its slot is free.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - isTold: Whether the reactor reported it. Otherwise a frame got `gone`. A stream that is ending gives that
    ///     answer too, but still has its slot.
    func gone(_ id: StreamID, isTold: Bool) {
        state.withLock { state in
            guard isTold || state.present[id]?.isForEnd == false, state.present.removeValue(forKey: id) != nil else {
                return
            }
            state.free.append(id)
            state.past.append(id)
            if state.past.count > 50 { state.past.removeFirst() }
        }
    }

    func close() { state.withLock { $0.isClosed = true } }

    /// The streams that get the next frames; nil when the test is over.
    func next() -> (present: [(id: StreamID, number: Int, isLast: Bool)], past: [StreamID])? {
        state.withLock { state in
            guard !state.isClosed else { return nil }
            var present: [(id: StreamID, number: Int, isLast: Bool)] = []
            for (id, stream) in state.present.shuffled().prefix(4) where stream.isAdopted {
                state.present[id]?.frames += 1
                state.frames += 1
                present.append((id, stream.frames + 1, stream.isForEnd && stream.frames > 3))
            }
            return (present, Array(state.past.shuffled().prefix(2)))
        }
    }

    /// The payload of a stream: its own name, repeated.
    static func payload(_ id: StreamID, _ number: Int) -> [UInt8] {
        let name = "<\(id.slot)/\(id.generation)>"
        return Array(String(repeating: name, count: 1 + number * 7919 % 400).utf8)
    }

    /// Checks that every byte that a client got is its own.
    func check(_ bytes: [UInt8], of id: StreamID, isChunked: Bool, isWhole: Bool) throws {
        var bytes = bytes[...]
        #expect(!bytes.isEmpty)
        if isChunked {
            let body = try ChunkedBody(bytes)
            #expect(body.isComplete == isWhole)
            bytes = Array(body.text.utf8)[...]
        }
        let own = [Array("<\(id.slot)/\(id.generation)>".utf8), Array(": heartbeat\n\n".utf8)]
        while let block = own.first(where: { bytes.starts(with: $0) }) { bytes = bytes.dropFirst(block.count) }
        // If the stream was cut, a part of a block may remain.
        let isCut = !isWhole && own.contains { $0.starts(with: bytes) }
        #expect(bytes.isEmpty || isCut, "of another stream: \(String(decoding: bytes.prefix(100), as: UTF8.self))")
    }
}
