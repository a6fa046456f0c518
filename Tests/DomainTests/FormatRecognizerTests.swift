import Domain
import Testing

@Suite("What a file is by its bytes") struct FormatRecognizerTests {
    static let signatures: [([UInt8], AudioFormat)] = [
        (bytes("RIFF\0\0\0\0WAVE"), .wav), (bytes("RF64\u{7F}\u{7F}\u{7F}\u{7F}WAVE"), .wav),
        (bytes("BW64\u{7F}\u{7F}\u{7F}\u{7F}WAVE"), .wav),
        (bytes("OggS\0\u{2}\0\0\0\0\0\0"), .ogg), (bytes("fLaC\0\0\0\u{22}\0\0\0\0"), .flac),
        (bytes("FORM\0\0\0\0AIFF"), .aiff), (bytes("FORM\0\0\0\0AIFC"), .aiff),
        (bytes("caff\0\u{1}\0\0desc"), .caf), (bytes("#!AMR\n") + zeros, .amr),
        (bytes("#!AMR-WB\n") + zeros, .amrWideband),
        // The brands of computers and phones.
        (bytes("\0\0\0\u{18}ftypM4A "), .mp4), (bytes("\0\0\0\u{20}ftypisom"), .mp4),
        (bytes("\0\0\0\u{18}ftypmp42"), .mp4),
        (bytes("\0\0\0\u{18}ftypMSNV"), .mp4), (bytes("\0\0\0\u{18}ftypM4B "), .mp4),
        (bytes("\0\0\0\u{18}ftypdash"), .mp4),
        (bytes("\0\0\0\u{14}ftypqt  "), .quickTime), (bytes("\0\0\0\u{18}ftyp3gp4"), .threeGPP),
        (bytes("\0\0\0\u{18}ftyp3gp5"), .threeGPP), (bytes("\0\0\0\u{18}ftyp3g2a"), .threeGPP),
        // QuickTime without a brand, and boxes without meaning in front of it.
        (bytes("\0\u{1}\0\0mdat\0\0\0\0"), .quickTime), (bytes("\0\0\0\u{1}mdat\0\0\0\0\0\u{1}\0\0"), .quickTime),
        (bytes("\0\0\u{2}\0moov\0\0\0\u{6C}mvhd"), .quickTime), (bytes("\0\0\0\u{8}wide\0\u{1}\0\0mdat"), .quickTime),
        (bytes("\0\0\0\u{8}free\0\0\0\u{18}ftypM4A "), .mp4),
        (bytes("\0\0\0\u{C}skip") + [1, 2, 3, 4] + bytes("\0\0\0\u{8}free\0\0\0\u{18}ftyp3gp4"), .threeGPP),
        (bytes("\0\0\0\u{1}free\0\0\0\0\0\0\0\u{12}xx\0\0\0\u{18}ftypmp42"), .mp4),
        ([0x1A, 0x45, 0xDF, 0xA3, 0x9F, 0x42, 0x86, 0x81, 0x01, 0x42, 0xF7, 0x81], .webm),
        ([0x1A, 0x45, 0xDF, 0xA3, 0x9F, 0x42, 0x82, 0x84] + bytes("webm"), .webm),
        ([0x1A, 0x45, 0xDF, 0xA3, 0xA3, 0x42, 0x86, 0x81, 0x01, 0x42, 0x82, 0x88] + bytes("matroska"), .matroska),
        (bytes("ID3\u{4}\0\0\0\0\0\0\0\0"), .mp3),
        // MPEG-1 layer III, MPEG-2 layer III, MPEG-2.5 layer III.
        ([0xFF, 0xFB, 0x90, 0x64] + zeros, .mp3), ([0xFF, 0xF3, 0x90, 0x64] + zeros, .mp3),
        ([0xFF, 0xE3, 0x90, 0x64] + zeros, .mp3),
    ]

    static let others: [[UInt8]] = [
        [], zeros, bytes("RIFF\0\0\0\0WAV"), bytes("RIFF\0\0\0\0AVI "), bytes("riff\0\0\0\0WAVE"),
        bytes("RIFX\0\0\0\0WAVE"), bytes("OggT\0\0\0\0\0\0\0\0"), bytes("FORM\0\0\0\0ILBM"),
        bytes("FORM\0\0\0\0\0\0\0\0"),
        bytes("caff\0\u{2}\0\0desc"), bytes("#!AMR_MC1.0\n\0\0\0\0"),
        bytes("\0\0\0\u{18}ftypheic"), bytes("\0\0\0\u{18}ftypavif"), bytes("\0\0\0\u{18}ftypmif1"),
        bytes("\0\0\0\u{8}free\0\0\0\u{18}ftypheic"), bytes("\0\0\0\u{4}ftypM4A "),
        bytes("I'm free of it, and it is text"),
        bytes("\0\0\0\u{8}wide\0\0\0\u{8}wide"), bytes("\0\0\0\0free\0\0\0\u{18}ftypM4A "),
        bytes("\0\0\0\u{18}styp\0\0\0\0"),
        bytes("\0\0\u{2}\0moov\0\0\0\u{6C}\0\0\0\0"),
        bytes("ftyp\0\0\0\0M4A "), bytes("<!DOCTYPE html><html>"), bytes("MZ\0\0\0\0\0\0\0\0\0\0"),
        bytes("%PDF-1.7\n\0\0\0\0"),
        bytes("PK\u{3}\u{4}\0\0\0\0\0\0\0\0"), [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 0],
        // A sync word with a reserved version, layer II, ADTS without a second frame, a bad bit rate, a reserved sample
        // rate.
        [0xFF, 0xEB, 0x90, 0x64] + zeros, [0xFF, 0xFD, 0x90, 0x64] + zeros, [0xFF, 0xF9, 0x90, 0x64] + zeros,
        [0xFF, 0xFB, 0xF0, 0x64] + zeros, [0xFF, 0xFB, 0x9C, 0x64] + zeros,
        // A byte-order mark of UTF-16, and JPEG.
        [0xFF, 0xFE, 0x3C, 0x00] + zeros, [0xFF, 0xD8, 0xFF, 0xE0] + zeros,
    ]

    private static let zeros = [UInt8](repeating: 0, count: 8)
    private static func bytes(_ text: String) -> [UInt8] { text.unicodeScalars.map { UInt8($0.value) } }

    /// An ID3 tag with a content of any length.
    private static func tag(_ content: Int, version: UInt8 = 4, footer: Bool = false) -> [UInt8] {
        let size = (0..<4).map { UInt8(content >> (21 - 7 * $0) & 0x7F) }
        return bytes("ID3") + [version, 0, footer ? 0x10 : 0] + size + [UInt8](repeating: 0x41, count: content)
            + [UInt8](repeating: 0x33, count: footer ? 10 : 0)
    }

    /// Frames of MPEG-1 layer III with 128 kbit/s and 44,100 Hz: 417 bytes.
    private static func frames(_ count: Int) -> [UInt8] {
        (0..<count).flatMap { _ in [0xFF, 0xFB, 0x90, 0x64] + [UInt8](repeating: 0x11, count: 413) }
    }

    /// Frames of ADTS with 100 bytes.
    private static func adts(_ count: Int) -> [UInt8] {
        (0..<count).flatMap { _ in
            [0xFF, 0xF1, 0x50, 0x80, 100 >> 3, (100 & 7) << 5 | 0x1F, 0xFC] + [UInt8](repeating: 0x22, count: 93)
        }
    }

    private func finding(_ bytes: [UInt8]) -> FormatRecognizer.Finding { .finding(for: bytes) }

    @Test("The leading bytes tell the format", arguments: signatures)
    func leadingBytes(_ bytes: [UInt8], _ format: AudioFormat) {
        #expect(finding(bytes) == .recording(format))
        #expect(finding(bytes + [1, 2, 3]) == .recording(format))
    }

    @Test("Too few leading bytes tell no format", arguments: signatures)
    func tooFewBytes(_ bytes: [UInt8], _ format: AudioFormat) {
        for count in [0, 4, 8, 11] {
            #expect(finding(Array(bytes.prefix(count))) == .other(count == 0 ? .empty : .short))
        }
    }

    @Test("The leading bytes of other files tell no format", arguments: others)
    func otherBytes(_ bytes: [UInt8]) {
        guard case .other = finding(bytes) else {
            Issue.record("\(bytes) is \(finding(bytes))")
            return
        }
    }

    @Test("An ID3 tag of any length, and several of them, are skipped", arguments: [0, 1, 500, 70_000, 5_000_000])
    func tags(_ length: Int) {
        #expect(finding(Self.tag(length) + Self.bytes("fLaC\0\0\0\u{22}\0\0\0\0")) == .recording(.flac))
        #expect(finding(Self.tag(length, version: 3) + Self.adts(3)) == .recording(.aac))
        #expect(finding(Self.tag(length, footer: true) + Self.frames(2)) == .recording(.mp3))
        #expect(finding(Self.tag(length) + Self.tag(30) + Self.bytes("RIFF\0\0\0\0WAVE")) == .recording(.wav))
        #expect(finding(Self.tag(length) + Self.bytes("%PDF-1.7 and more")) == .other(.pdf))
        #expect(finding(Self.tag(length) + Self.bytes("PK\u{3}\u{4}") + Self.frames(3)) == .other(.zip))
    }

    @Test("After a tag with a wrong length, the file counts as MP3")
    func wrongTags() {
        #expect(finding(Self.tag(100).prefix(60) + Self.frames(1)) == .recording(.mp3))
        #expect(finding(Self.bytes("ID3\u{4}") + [UInt8](repeating: 0x99, count: 100_000)) == .recording(.mp3))
        // Not if something else begins there.
        #expect(finding(Self.bytes("ID3\u{4}") + Self.zeros + Self.bytes("%PDF-1.7") + Self.zeros) == .other(.pdf))
    }

    @Test("Two frames in a row are found behind up to 64 KiB of junk", arguments: [1, 1500, 4096, 65_535, 65_536])
    func junk(_ length: Int) {
        let junk = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 7 % 251) }
        for blank in [junk, [UInt8](repeating: 0, count: length)] {
            #expect(finding(blank + Self.frames(2)) == .recording(.mp3))
            #expect(finding(blank + Self.adts(2)) == .recording(.aac))
            #expect(finding(Self.tag(3000) + blank + Self.frames(40)) == .recording(.mp3))
        }
    }

    @Test("One frame alone, two of different streams, and frames behind more junk tell no format")
    func tooMuchJunk() {
        let zeros = [UInt8](repeating: 0, count: 65_537)
        #expect(finding(zeros + Self.frames(100)) == .other(.zeros))
        #expect(finding([7] + zeros + Self.frames(100)) == .other(.unknown))
        #expect(finding([7] + Self.frames(1) + zeros) == .other(.unknown))
        var mixed = [7] + Self.frames(2)
        mixed[1 + 417 + 2] = 0x94  // 48,000 Hz in place of 44,100.
        #expect(finding(mixed) == .other(.unknown))
    }

    @Test(
        "Junk that begins another kind of file is refused, wherever in the junk it begins",
        arguments: [
            ("<!DOCTYPE html><p>", FileKind.page), ("%PDF-1.4\n", .pdf), ("<?php system(", .script), ("<HTML>", .page),
            ("PK\u{3}\u{4}\u{14}\0", .zip),
        ])
    func disguises(_ mark: String, _ kind: FileKind) {
        for blanks in [0, 100, 1500, 60_000] {
            let junk = [UInt8](repeating: 0, count: blanks) + Self.bytes(mark) + Self.zeros
            #expect(finding(junk + Self.frames(10)) == .other(kind), "after \(blanks)")
        }
    }

    @Test("A script or a program in front of frames is refused")
    func programs() {
        for mark in ["#!/bin/sh\n", "\u{7F}ELF\u{2}\u{1}\u{1}"] {
            for blanks in [0, 5000] {
                let junk = [UInt8](repeating: 0, count: blanks) + Self.bytes(mark) + Self.zeros
                guard case .other(let kind) = finding(junk + Self.frames(10)) else {
                    Issue.record("\(mark) after \(blanks) bytes is not refused")
                    continue
                }
                #expect(["This is a script.", "This is a program."].contains(kind.statement))
            }
        }
    }

    @Test("The format is known as soon as the bytes show it")
    func early() {
        var recognizer = FormatRecognizer()
        #expect(recognizer.take(Self.bytes("RIFF\0\0\0\0WAVE")) == nil)
        #expect(recognizer.take([UInt8](repeating: 0, count: 52)) == .recording(.wav))
        #expect(recognizer.finding == .recording(.wav))
        // What comes afterwards changes nothing.
        #expect(recognizer.take(Self.bytes("%PDF-1.7")) == .recording(.wav))
        #expect(recognizer.finish() == .recording(.wav))
    }

    @Test(
        "Files that people choose by mistake are named",
        arguments: [
            ("PK\u{3}\u{4}\u{14}\0\0\0[Content_Types].xml_rels/.relsword/document.xml", "This is a Word document."),
            ("PK\u{3}\u{4}\u{14}\0\0\0[Content_Types].xml_rels/.relsxl/workbook.xml", "This is an Excel workbook."),
            ("PK\u{3}\u{4}\u{14}\0\0\0mimetypeapplication/epub+zip", "This is an electronic book (EPUB)."),
            ("PK\u{3}\u{4}\u{14}\0\0\0Session.m4a", "This is a ZIP archive."),
            ("\u{D0}\u{CF}\u{11}\u{E0}\u{A1}\u{B1}\u{1A}\u{E1}\0\0\0\0", "This is an Office document."),
            ("%PDF-1.7\n%\u{E2}\u{E3}\n", "This is a PDF document."),
            ("{\\rtf1\\ansi Dear", "This is a text document (RTF)."),
            ("\u{FF}\u{D8}\u{FF}\u{E1}\0\0Exif\0\0MM", "This is a picture."),
            ("GIF89a\0\0\0\0\0\0", "This is a picture."),
            ("0&\u{B2}u\u{8E}f\u{CF}\u{11}\u{A6}\u{D9}\0\u{AA}", "This is a Windows Media file (WMA)."),
            ("\u{2}dss\0\0\0\0\0\0\0\0\0", "This is a dictation (DSS or DS2)."), ("\u{3}ds2\0\0\0\0\0\0\0\0\0", "DS2"),
            ("#!SILK_V3\u{16}\0\0\0\0", "This is a voice message in SILK"),
            ("MThd\0\0\0\u{6}\0\u{1}\0\u{2}", "This is a MIDI file"),
            ("#EXTM3U\nsession.mp3", "This is a playlist"), ("[InternetShortcut]\nURL=x", "This is a shortcut"),
            ("\0\u{5}\u{16}\u{7}\0\u{2}\0\0Mac OS X  ", "This is a companion file of macOS"),
            ("WEBVTT\n\n00:01.000", "This is a file of subtitles"), ("1\n00:00:01 --> 00:00:02\nHello", "subtitles"),
            ("<?xml version=\"1.0\"?><a/>", "This is a data file"),
            ("{\"detail\": \"not found\"}", "This is a data file"),
            ("Dear colleague, here are my notes.", "This is a text file."),
            ("\u{EF}\u{BB}\u{BF}Notes of today", "This is a text"),
            ("RIFF\0\0\0\0WEBPVP8 ", "This is a picture."), ("RIFF\0\0\0\0AVI LIST", "This is a video"),
            ("FLV\u{1}\u{5}\0\0\0\u{9}\0\0\0\0", "This is a video"),
            ("\u{7F}ELF\u{2}\u{1}\u{1}\0\0\0\0\0", "This is a program."),
            ("\0\0\0\u{18}ftypM4P \0\0\0\0", "This is a protected purchase"),
            ("\0\0\0\u{18}ftypheic\0\0\0\0", "This is a picture"),
            ("SQLite format 3\0\u{10}\0", "This is a database."),
            ("7z\u{BC}\u{AF}\u{27}\u{1C}\0\u{4}\0\0\0\0", "This is an archive."),
        ])
    func kinds(_ content: String, _ words: String) {
        guard case .other(let kind) = finding(Self.bytes(content)) else {
            Issue.record("\(content) is taken for a recording")
            return
        }
        #expect(kind.sentences.contains(words), "\(kind.sentences)")
        #expect(kind.statement.hasSuffix("."))
        #expect(kind.advice.hasSuffix("."))
    }
}

extension FormatRecognizer.Finding {
    fileprivate static func finding(for bytes: [UInt8]) -> Self { FormatRecognizer.finding(for: bytes) }
}
