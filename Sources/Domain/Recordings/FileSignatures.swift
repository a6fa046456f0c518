extension FileKind {
    /// The kind of a file that begins with these bytes.
    ///
    /// Nil if nothing shows it. The signatures are those of the formats' own documents, and of the WHATWG MIME Sniffing
    /// Standard, section 6. None is so short that sound has it by chance.
    ///
    /// - Parameter bytes: About the first 4 KiB of the file, or what follows its tag.
    init?(beginning bytes: [UInt8]) {
        if let kind = Self.signatures.first(where: { bytes.dropFirst($0.offset).starts(with: $0.signature) })?.kind {
            self = kind
        } else if bytes.starts(with: [0x50, 0x4B, 0x03, 0x04]) {
            self = Self.kind(ofArchive: bytes)
        } else if bytes.starts(with: [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]) {
            // The older Office programs store names as UTF-16.
            self = .office
        } else if bytes.starts(with: "MZ".utf8), bytes.firstRange(of: "PE\0\0".utf8) != nil {
            self = .program
        } else if bytes.starts(with: "RIFF".utf8) || bytes.starts(with: "RIFX".utf8) {
            self = Self.kind(ofRIFF: bytes)
        } else if Self.isTransportStream(bytes) {
            self = .video
        } else if let kind = Self.kind(ofText: bytes) {
            self = kind
        } else if Self.isLayerTwo(bytes) {
            self = .layerTwo
        } else {
            return nil
        }
    }

    /// The kind that an ISO base media file has by its brand; nil for a recording.
    init?(brand: String) {
        if brand == "M4P " {
            self = .protectedSound
        } else if brand == "aax " || brand == "aaxc" {
            self = .audible
        } else if Self.pictureBrands.contains(brand) {
            self = .photo
        } else {
            return nil
        }
    }

    /// The brands of ISO base media files with pictures (ISO 23008-12, 10; the registry at mp4ra.org).
    private static let pictureBrands: Set<String> = [
        "avif", "avis", "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1", "miaf", "jpeg", "jpgs",
        "avci", "avcs", "j2ki", "j2is", "jp2 ", "jpm ", "jpx ", "mjp2", "crx ",
    ]

    /// Signatures at the beginning of a file; each character stands for the byte of its number.
    ///
    /// The signature of voice messages comes before that of scripts: both begin with the same two characters.
    private static let signatures: [(offset: Int, signature: [UInt8], kind: FileKind)] =
        leading.flatMap { kind, texts in
            texts.map { text in (0, text.unicodeScalars.map { UInt8($0.value) }, kind) }
        } + [
            (257, Array("ustar".utf8), .archive), (4, [0x57, 0x90, 0x75, 0x36], .audible),
            (4, Array("styp".utf8), .video), (4, Array("moof".utf8), .video),
        ]

    private static let leading: [(FileKind, [String])] = [
        (.pdf, ["%PDF-"]), (.rtf, ["{\\rtf"]),
        (.picture, ["\u{89}PNG\r\n\u{1A}\n", "GIF87a", "GIF89a", "II*\0", "MM\0*", "8BPS\0\u{1}", "\0\0\0\u{C}jP  "]),
        (.picture, ["\u{FF}\u{D8}\u{FF}\u{E0}", "\u{FF}\u{D8}\u{FF}\u{E1}", "\u{FF}\u{D8}\u{FF}\u{DB}"]),
        (.archive, ["\u{1F}\u{8B}\u{8}", "Rar!\u{1A}\u{7}", "7z\u{BC}\u{AF}\u{27}\u{1C}", "\u{FD}7zXZ\0"]),
        (.archive, ["(\u{B5}/\u{FD}", "MSCF\0\0\0\0"]), (.zip, ["PK\u{5}\u{6}", "PK\u{7}\u{8}"]),
        (.program, ["\u{7F}ELF", "\u{CF}\u{FA}\u{ED}\u{FE}", "\u{FE}\u{ED}\u{FA}\u{CF}", "\u{CA}\u{FE}\u{BA}\u{BE}"]),
        (.program, ["!<arch>\n", "\0asm\u{1}\0\0\0"]), (.chatVoice, ["#!SILK_V3", "\u{2}#!SILK_V3"]),
        (.sound("a kind of AMR"), ["#!AMR", "#!EVS"]), (.script, ["#!/", "#! /", "<?php"]),
        (.database, ["SQLite format 3\0"]), (.data, ["bplist0", "%!PS-Adobe"]), (.font, ["OTTO\0", "wOFF", "wOF2"]),
        (.companion, ["\0\u{5}\u{16}\u{7}\0\u{2}"]), (.shortcut, ["L\0\0\0\u{1}\u{14}\u{2}\0", "[InternetShortcut]"]),
        (.playlist, ["#EXTM3U", "[playlist]"]), (.subtitles, ["WEBVTT"]),
        (.windowsMedia, ["0&\u{B2}u\u{8E}f\u{CF}\u{11}"]),
        (.dictation, ["\u{2}dss", "\u{3}dss", "\u{1}ds2", "\u{3}ds2", "\u{7}ds2"]), (.midi, ["MThd\0\0\0\u{6}"]),
        (.sound("Wave64"), ["riff.\u{91}\u{CF}\u{11}"]), (.sound("the format of Sun (AU)"), [".snd\0\0"]),
        (.sound("RealAudio"), [".RMF\0", ".ra\u{FD}"]), (.sound("Monkey's Audio"), ["MAC "]),
        (.sound("WavPack"), ["wvpk"]), (.sound("True Audio"), ["TTA1"]), (.sound("Musepack"), ["MPCK", "MP+"]),
        (.sound("DSD"), ["DSD ", "FRM8"]), (.sound("the format of Creative"), ["Creative Voice File\u{1A}"]),
        (.sound("DTS"), ["\u{7F}\u{FE}\u{80}\u{1}"]),
        (.video, ["FLV\u{1}", "\0\0\u{1}\u{BA}"]),
    ]

    // MARK: - Families

    /// The kind of a ZIP archive, by the names of its first entries.
    private static func kind(ofArchive bytes: [UInt8]) -> FileKind {
        func names(_ name: String) -> Bool { bytes.firstRange(of: name.utf8) != nil }
        if names("word/") { return .word }
        if names("xl/") { return .excel }
        if names("ppt/") { return .powerPoint }
        if names("application/epub+zip") { return .book }
        if names("application/vnd.oasis.opendocument") { return .openDocument }
        if names("Index/Document.iwa") || names("Index/") && names(".iwa") { return .iWork }
        if names("AndroidManifest.xml") || names("META-INF/MANIFEST.MF") { return .program }
        return names("[Content_Types].xml") ? .office : .zip
    }

    /// The kind of a RIFF file that is no WAVE.
    private static func kind(ofRIFF bytes: [UInt8]) -> FileKind {
        switch String(decoding: bytes.dropFirst(8).prefix(4), as: UTF8.self) {
        case "AVI ": .video
        case "WEBP": .picture
        case "RMID": .midi
        case "WAVE": .sound("WAV for another kind of computer (RIFX)")
        default: .unknown
        }
    }

    /// True for MPEG transport streams: packets of 188 bytes, each with the byte 0x47 at its beginning (ISO 13818-1,
    /// 2.4.3.2), or of 192 bytes on discs.
    private static func isTransportStream(_ bytes: [UInt8]) -> Bool {
        [(188, 0), (192, 4)].contains { length, offset in
            (0..<5).allSatisfy { packet in
                let index = offset + packet * length
                return index < bytes.count && bytes[index] == 0x47
            }
        }
    }

    /// True for a frame of MPEG layer I or II.
    private static func isLayerTwo(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= 4, bytes[0] == 0xFF, bytes[1] & 0xF0 == 0xF0, bytes[1] & 0b110 >= 0b100 else {
            return false
        }
        return (1...14).contains(bytes[2] >> 4) && bytes[2] >> 2 & 0b11 != 0b11
    }

    /// The kind of a text; nil if the bytes are none.
    private static func kind(ofText bytes: [UInt8]) -> FileKind? {
        var text = bytes[...]
        if text.starts(with: [0xEF, 0xBB, 0xBF]) { text = text.dropFirst(3) }
        // Windows writes texts as UTF-16 with a mark at the beginning.
        if text.starts(with: [0xFF, 0xFE]) || text.starts(with: [0xFE, 0xFF]) {
            return text.count >= 16 && text.prefix(64).count(where: { $0 == 0 }) >= text.prefix(64).count / 3
                ? .text : nil
        }
        if let kind = FileKind(marking: text) { return kind }
        guard isPlainText(text) else { return nil }
        let trimmed = text.drop { $0 <= 0x20 }
        if trimmed.starts(with: "<?xml".utf8) || trimmed.first == UInt8(ascii: "{")
            || trimmed.first == UInt8(ascii: "[")
        {
            return .data
        }
        let isMail = ["Received: ", "Return-Path: ", "From: ", "Delivered-To: "].contains {
            trimmed.starts(with: $0.utf8)
        }
        if isMail { return .mail }
        return trimmed.firstRange(of: " --> ".utf8) != nil ? .subtitles : .text
    }
}

extension FileKind {
    /// True for text in UTF-8, or mostly in ASCII with some letters of Latin-1.
    private static func isPlainText(_ bytes: ArraySlice<UInt8>) -> Bool {
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || (0x09...0x0D).contains($0) }) else {
            return false
        }
        // The last character may be cut off.
        if (0..<min(4, bytes.count)).contains(where: { String(validating: bytes.dropLast($0), as: UTF8.self) != nil }) {
            return true
        }
        let ascii = bytes.count { $0 < 0x80 }
        return ascii * 4 >= bytes.count * 3 && bytes.allSatisfy { $0 < 0x80 || (0xA0..<0xFE).contains($0) }
    }
}

// MARK: - Marks

extension FileKind {
    /// The kind of file whose mark comes first in these bytes, in any case; nil if there is none.
    ///
    /// Programs look for these marks after the beginning of a file: readers of PDF in the first 1,024 bytes (Adobe's
    /// implementation note to ISO 32000-1, 7.5.2), browsers in the first 1,445 (WHATWG MIME Sniffing, 5.3).
    public init?(marking bytes: some Sequence<UInt8>) { self.init(bytes, Self.marks) }

    /// The kind of file that begins first in what comes before the sound; nil if there is none.
    init?(inJunk bytes: some Sequence<UInt8>) { self.init(bytes, Self.allMarks) }

    private typealias Mark = (bytes: [UInt8], kind: FileKind)

    /// - Parameters:
    ///   - bytes: The bytes to search.
    ///   - marks: The marks, by their first byte.
    private init?(_ bytes: some Sequence<UInt8>, _ marks: [[Mark]]) {
        let text = bytes.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        for index in text.indices {
            for mark in marks[Int(text[index])] where text[index...].starts(with: mark.bytes) {
                self = mark.kind
                return
            }
        }
        return nil
    }

    private static let marks = byFirstByte(shownMarks)
    private static let allMarks = byFirstByte(shownMarks + junkMarks)

    private static let shownMarks: [Mark] =
        marks(of: .pdf, "%pdf-") + marks(of: .script, "<?php")
        + marks(of: .page, "<!doctype html", "<html", "<head", "<body", "<script", "<iframe", "<svg")

    private static let junkMarks: [Mark] =
        marks(of: .script, "#!/bin/", "#!/usr/") + marks(of: .zip, "pk\u{3}\u{4}") + marks(of: .program, "\u{7F}elf")

    private static func marks(of kind: FileKind, _ marks: String...) -> [Mark] { marks.map { (Array($0.utf8), kind) } }

    private static func byFirstByte(_ marks: [Mark]) -> [[Mark]] {
        (0...255).map { byte in marks.filter { $0.bytes[0] == UInt8(byte) } }
    }
}
