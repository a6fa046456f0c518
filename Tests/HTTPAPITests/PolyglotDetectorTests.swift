import NIOCore
import Testing

@testable import HTTPAPI

@Suite("A recording that is another kind of file as well")
struct PolyglotDetectorTests {
    /// The end of an archive's directory (APPNOTE.TXT, 4.3.16).
    static func archiveEnd(entries: UInt16 = 1, size: UInt32 = 46, comment: String = "") -> [UInt8] {
        func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
            withUnsafeBytes(of: number.littleEndian) { Array($0) }
        }
        return Array("PK\u{5}\u{6}".utf8) + [0, 0, 0, 0] + little(entries) + little(entries) + little(size)
            + little(UInt32(0))
            + little(UInt16(comment.utf8.count)) + Array(comment.utf8)
    }

    private static let sound = [UInt8](repeating: 0x55, count: 100_000)

    private func disguise(_ bytes: [UInt8]) -> PolyglotDetector.Disguise? {
        PolyglotDetector.disguise(of: [bytes[...]])
    }

    @Test("is a ZIP archive when a directory of one ends it, with any comment or a little behind it")
    func archive() {
        #expect(disguise(Self.sound + Self.archiveEnd()) == .archive)
        #expect(disguise(Self.sound + Self.archiveEnd(comment: String(repeating: "c", count: 65_535))) == .archive)
        #expect(disguise(Self.sound + Self.archiveEnd() + Self.sound.prefix(1000)) == .archive)
        #expect(disguise(Self.sound + Self.archiveEnd(entries: 0xFFFF, size: .max)) == .archive)
        #expect(disguise(Self.archiveEnd()) == .archive)
        // Behind one that is none, another.
        #expect(disguise(Array("PK\u{5}\u{6}PK\u{5}\u{6}".utf8) + Self.archiveEnd()) == .archive)
    }

    @Test("is no archive by its letters alone")
    func chance() {
        let letters = Array("PK\u{5}\u{6}".utf8)
        #expect(disguise(Self.sound + letters) == nil)
        #expect(disguise(Self.sound + letters + Self.sound.prefix(30)) == nil)
        #expect(disguise(Self.sound + Self.archiveEnd(entries: 2, size: 46)) == nil)
        #expect(disguise(Self.sound + Self.archiveEnd(comment: "cut off").dropLast()) == nil)
        // Too far from the end for anybody to look.
        #expect(disguise(Self.archiveEnd() + Self.sound) == nil)
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
