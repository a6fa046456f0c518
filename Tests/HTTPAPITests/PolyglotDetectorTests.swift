import NIOCore
import Testing

@testable import HTTPAPI

@Suite("A recording that is another kind of file as well")
struct PolyglotDetectorTests {
    /// The end of an archive's directory (APPNOTE.TXT, 4.3.16), which says of itself what it likes.
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

    private func disguise(_ bytes: [UInt8]) -> PolyglotDetector.Disguise? {
        PolyglotDetector.disguise(of: [bytes[...]])
    }

    @Test("is a ZIP archive when a directory of one ends it, with any comment or a little behind it")
    func archive() {
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd()) == .archive)
        let comment = String(repeating: "c", count: 65_000)
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd(comment: comment)) == .archive)
        #expect(disguise(Self.sound + Self.entry + Self.archiveEnd() + Self.sound.prefix(1000)) == .archive)
        // A large directory begins where it is not seen any more; a small archive has none.
        #expect(disguise(Self.entry + Self.sound + Self.archiveEnd(size: 100_046)) == .archive)
        #expect(disguise(Self.sound + Self.archiveEnd(entries: 0, entriesHere: 0, size: 0)) == .archive)
        // Behind one that is none, another.
        #expect(disguise(Self.entry + Array("PK\u{5}\u{6}PK\u{5}\u{6}".utf8) + Self.archiveEnd()) == .archive)
    }

    /// Python's `zipfile`, for one, opens them all.
    @Test("is a ZIP archive whichever of its numbers is wrong")
    func wrongNumbers() {
        for end in [
            Self.archiveEnd(disk: 7), Self.archiveEnd(entries: 9), Self.archiveEnd(entriesHere: 9),
            Self.archiveEnd(entries: 0xFFFF, entriesHere: 0xFFFF), Self.archiveEnd(commentLength: 100),
        ] {
            #expect(disguise(Self.sound + Self.entry + end) == .archive, "\(end)")
        }
    }

    @Test("is no archive by four letters alone")
    func chance() {
        let letters = Array("PK\u{5}\u{6}".utf8)
        #expect(disguise(Self.sound + letters) == nil)
        #expect(disguise(Self.sound + letters + Self.sound.prefix(30)) == nil)
        #expect(disguise(Self.sound + Self.entry) == nil)
        // Too far from the end for anybody to look.
        #expect(disguise(Self.entry + Self.archiveEnd() + Self.sound) == nil)
    }

    @Test(
        "is a document, a page or a script when its first KiB says so",
        arguments: [
            ("%PDF-1.7", PolyglotDetector.Disguise.document), ("<!DOCTYPE html>", .page), ("<HtMl>", .page),
            ("<script>alert(1)</script>", .page), ("<svg xmlns=", .page), ("<?php system(", .script),
        ])
    func beginning(_ mark: String, _ disguise: PolyglotDetector.Disguise) {
        let mark = Array(mark.utf8)
        #expect(self.disguise(Array("RIFF".utf8) + mark) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024 - mark.count) + mark) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024 - mark.count) + mark + Self.sound) == disguise)
        #expect(self.disguise(Self.sound.prefix(1024) + mark + Self.sound) == nil)
    }

    @Test("is told as soon as its beginning is there")
    func early() {
        var detector = PolyglotDetector()
        #expect(detector.take(ByteBuffer(string: "ID3 %PDF-1.7")) == nil)
        #expect(detector.take(ByteBuffer(repeating: 0, count: 1011)) == nil)
        #expect(detector.take(ByteBuffer(repeating: 0, count: 1)) == .document)
    }

    @Test("is none when nothing comes, or nothing but sound")
    func none() {
        #expect(PolyglotDetector.disguise(of: []) == nil)
        #expect(disguise(Self.sound) == nil)
    }
}
