import Domain
import Foundation
import NIOCore
import TestSupport
import Testing

@testable import HTTPAPI

@Suite struct TarFormatTests {
    /// Extracts an archive with the system's `tar`, and returns what it lists.
    private func list(_ archive: ByteBuffer) async throws -> ProgramRun {
        let file = FileManager.default.temporaryDirectory.appending(path: "tb-tar-\(UUID())")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data(archive.readableBytesView).write(to: file)
        return try await runProgram(
            "/usr/bin/tar", ["--utc", "-tvf", file.path(percentEncoded: false)], environment: ["TZ": "UTC"])
    }

    @Test("The system's tar reads the names, sizes and times of all files")
    func files() async throws {
        let time = try #require(Timestamp(rfc3339: "2026-11-22T09:30:00Z"))
        var archive = ByteBuffer()
        for (name, size) in [
            ("a.json", 0), ("folder/b", 1), ("folder/c", 512), (String(repeating: "n", count: 100), 513),
        ] {
            archive.writeImmutableBuffer(TarFormat.header(of: name, bytes: Int64(size), at: time))
            archive.writeRepeatingByte(UInt8(ascii: "x"), count: size)
            archive.writeImmutableBuffer(TarFormat.padding(after: Int64(size)))
        }
        archive.writeImmutableBuffer(TarFormat.end)
        let run = try await list(archive)
        #expect(run.status == 0, "\(run.errorOutput)")
        let columns = run.lines.map { $0.split(separator: " ", omittingEmptySubsequences: true).map(String.init) }
        #expect(columns.map { $0[2] } == ["0", "1", "512", "513"])
        #expect(columns.map { $0[5] } == ["a.json", "folder/b", "folder/c", String(repeating: "n", count: 100)])
        #expect(columns.allSatisfy { $0[0] == "-rw-------" && $0[3] == "2026-11-22" })
    }

    @Test("A file of 8 GiB and more has its size in base 256")
    func large() async throws {
        for size in [(Int64(1) << 33) - 1, 1 << 33, 5 << 40] {
            // The archive ends behind the header: tar lists the file, and then says that it is cut.
            let run = try await list(TarFormat.header(of: "large", bytes: size, at: .now()))
            #expect(run.lines.first?.split(separator: " ").map(String.init).dropFirst(2).first == "\(size)")
        }
    }
}
