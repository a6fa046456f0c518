import Domain
import NIOCore
import Testing

@testable import HTTPAPI

@Suite("Recordings that are also another kind of file")
struct PolyglotDetectorTests {
    /// The end of an archive's directory (APPNOTE.TXT, 4.3.16), with any numbers.
    static func archiveEnd(
        disk: UInt16 = 0, entries: UInt16 = 1, entriesHere: UInt16 = 1, size: UInt32 = 46, comment: String = "",
        commentLength: UInt16? = nil
    ) -> [UInt8] {
        func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
            withUnsafeBytes(of: number.littleEndian) { Array($0) }
        }
        return Array("PK\u{5}\u{6}".utf8) + little(disk) + little(UInt16(0)) + little(entriesHere) + little(entries)
            + little(size) + little(UInt32(0)) + little(commentLength ?? UInt16(comment.utf8.count))
            + Array(comment.utf8)
    }

    private static let sound = [UInt8](repeating: 0x55, count: 100_000)
    private static let entry = Array("PK\u{1}\u{2}".utf8) + [UInt8](repeating: 0, count: 42)

    private func disguise(_ bytes: [UInt8]) -> FileKind? {
        PolyglotDetector.disguise(of: [bytes[...]])
    }

    @Test("A directory at the end makes a file a ZIP archive, with any comment or a few bytes after it")
    func archive() {
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd()) == .zip)
        let comment = String(repeating: "c", count: 65_000)
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd(comment: comment)) == .zip)
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd() + Self.sound.prefix(1000)) == .zip)
        // A large directory begins before the kept bytes. A small archive has none.
        #expect(disguise(Self.entry + Self.sound + Self.archiveEnd(size: 100_046)) == .zip)
        #expect(disguise(Self.sound + Self.archiveEnd(entries: 0, entriesHere: 0, size: 0)) == .zip)
        // A real directory after a false one.
        #expect(disguise(Self.entry + Array("PK\u{5}\u{6}PK\u{5}\u{6}".utf8) + Self.archiveEnd()) == .zip)
    }

    /// Python's `zipfile`, for example, opens all of these.
    @Test("A ZIP archive is recognized although any of its numbers is wrong")
    func wrongNumbers() {
        for end in [
            Self.archiveEnd(disk: 7), Self.archiveEnd(entries: 9), Self.archiveEnd(entriesHere: 9),
            Self.archiveEnd(entries: 0xFFFF, entriesHere: 0xFFFF), Self.archiveEnd(commentLength: 100),
        ] {
            #expect(disguise(Self.sound + Self.entry + end) == .zip, "\(end)")
        }
    }

    @Test("Four letters alone do not make an archive")
    func chance() {
        let letters = Array("PK\u{5}\u{6}".utf8)
        #expect(disguise(Self.sound + letters) == nil)
        #expect(disguise(Self.sound + letters + Self.sound.prefix(30)) == nil)
        #expect(disguise(Self.sound + Self.entry) == nil)
        // Too far from the end for any program to search.
        #expect(disguise(Self.entry + Self.archiveEnd() + Self.sound) == nil)
    }

    @Test(
        "A document, page or script is recognized by its first KiB",
        arguments: [
            ("%PDF-1.7", FileKind.pdf), ("<!DOCTYPE html>", .page), ("<HtMl>", .page),
            ("<script>alert(1)</script>", .page), ("<svg xmlns=", .page), ("<?php system(", .script),
        ])
    func beginning(_ mark: String, _ disguise: FileKind) {
        let mark = Array(mark.utf8)
        #expect(self.disguise(Array("RIFF".utf8) + mark) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024 - mark.count) + mark) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024 - mark.count) + mark + Self.sound) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024) + mark + Self.sound) == nil)
    }

    @Test("The other kind is reported as soon as the beginning is there")
    func early() {
        var detector = PolyglotDetector()
        #expect(detector.take(ByteBuffer(string: "ID3 %PDF-1.7")) == nil)
        #expect(detector.take(ByteBuffer(repeating: 0, count: 1011)) == nil)
        #expect(detector.take(ByteBuffer(repeating: 0, count: 1)) == .pdf)
    }

    /// Long pieces are kept in the buffers in which they arrive, and short ones are copied together.
    @Test(
        "The lengths of the pieces in which a file arrives do not matter",
        arguments: [[1], [1000], [16_383], [16_384], [65_536], [65_557], [100_000], [16_384, 1], [5, 16_383, 40_000]])
    func pieces(_ lengths: [Int]) {
        func arrive(_ file: [UInt8]) -> FileKind? {
            var (pieces, rest) = ([ArraySlice<UInt8>](), file[...])
            while !rest.isEmpty {
                pieces.append(rest.prefix(lengths[pieces.count % lengths.count]))
                rest = rest.dropFirst(pieces[pieces.count - 1].count)
            }
            return PolyglotDetector.disguise(of: pieces)
        }
        let comment = String(repeating: "c", count: 65_000)
        #expect(arrive(Self.sound + Self.entry + Self.archiveEnd(comment: comment)) == .zip)
        #expect(arrive(Self.sound + Self.entry + Self.archiveEnd()) == .zip)
        #expect(arrive(Self.entry + Self.archiveEnd() + Self.sound) == nil)
    }

    @Test("An empty file, or one with only sound, is no other kind of file")
    func none() {
        #expect(PolyglotDetector.disguise(of: []) == nil)
        #expect(disguise(Self.sound) == nil)
    }
}
