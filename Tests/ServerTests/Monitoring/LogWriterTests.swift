import Foundation
import TestSupport
import Testing

@testable import App

/// The output of the log, whose reader may be slow, gone or asleep.
@Suite("The writer of the log", .deadline) struct LogWriterTests {
    @Test("A reader that reads nothing stops no caller; it later gets what fitted, and how much did not")
    func sleepingReader() async throws {
        let pipe = Pipe()
        let descriptor = pipe.fileHandleForWriting.fileDescriptor
        let limit = 100_000
        let writer = LogWriter(descriptor: descriptor, limit: limit)
        writer.noteDropped { count in Array("dropped \(count)\n".utf8) }
        // More than the pipe and the writer together hold. With a write that waits, this loop would not end.
        let line = Array((String(repeating: "x", count: 99) + "\n").utf8)
        for _ in 0..<10_000 { writer.write(line) }
        let dropped = writer.droppedLines
        #expect(dropped > 0)

        // Each line about dropped lines counts those since the one before.
        let (kept, noted) = await Task.detached { () -> (kept: Int, noted: Int) in
            var (rest, kept, noted) = ("", 0, 0)
            while kept < 10_000 - dropped || noted < dropped {
                rest += String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self)
                let lines = rest.split(separator: "\n", omittingEmptySubsequences: false)
                for line in lines.dropLast() {
                    if let number = line.firstMatch(of: #/^dropped (\d+)$/#) {
                        noted += Int(number.1) ?? 0
                    } else if line.utf8.count == 99 {
                        kept += 1
                    }
                }
                rest = lines.last.map(String.init) ?? ""
            }
            return (kept, noted)
        }.value
        #expect(kept == 10_000 - dropped)
        #expect(noted == dropped)

        // The reader is awake again: nothing more is lost.
        writer.write(Array("after\n".utf8))
        writer.flush(within: 60)
        #expect(String(decoding: pipe.fileHandleForReading.availableData, as: UTF8.self) == "after\n")
        #expect(writer.droppedLines == dropped)
    }

    @Test("A reader that is gone costs lines, and nothing else")
    func noReader() throws {
        let pipe = Pipe()
        let writer = LogWriter(descriptor: pipe.fileHandleForWriting.fileDescriptor)
        signal(SIGPIPE, SIG_IGN)
        try pipe.fileHandleForReading.close()
        for _ in 0..<100 { writer.write(Array("line\n".utf8)) }
        writer.flush(within: 60)
        #expect(writer.droppedLines == 0)
    }

    @Test("Lines keep their order, and a non-blocking descriptor loses none")
    func order() async throws {
        let pipe = Pipe()
        let descriptor = pipe.fileHandleForWriting.fileDescriptor
        #expect(fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0)
        let writer = LogWriter(descriptor: descriptor)
        let count = 20_000
        for number in 0..<count { writer.write(Array("\(number)\n".utf8)) }
        let text = await Task.detached { () -> String in
            var data = Data()
            while data.count(where: { $0 == UInt8(ascii: "\n") }) < count {
                data += pipe.fileHandleForReading.availableData
            }
            return String(decoding: data, as: UTF8.self)
        }.value
        #expect(text.split(separator: "\n").elementsEqual((0..<count).map { "\($0)" }))
    }
}
