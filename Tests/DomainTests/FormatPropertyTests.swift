import Domain
import PropertySupport
import Testing

/// Any bytes as a file.
@Suite("Any file") struct FormatPropertyTests {
    private static let words = [
        "RIFF", "RF64", "WAVE", "OggS", "fLaC", "FORM", "AIFF", "caff\0\u{1}", "#!AMR\n", "ftyp", "M4A ", "qt  ",
        "heic", "ID3",
        "ID3\u{4}\0\0\0\0\0\0", "ID3\u{3}\0\0\0\0\u{1}\0", "\0\0\0\u{8}free", "\0\0\0\u{8}wide", "\0\0\0\u{18}ftypM4A ",
        "\0\0\0\u{1}free\0\0\0\0\0\0\u{1}\0", "mdat", "moov", "\0\0\0\0", "\u{1A}", "AVI ", "%PDF-1.4", "<html>",
        "PK\u{3}\u{4}",
        "#!/bin/sh\n", "x",
    ]

    /// A frame of MP3 or ADTS, which is no text.
    private static let frames: [[UInt8]] = [
        [0xFF, 0xFB, 0x90, 0x64] + [UInt8](repeating: 0x11, count: 413),
        [0xFF, 0xF1, 0x50, 0x80, 12, 0x9F, 0xFC] + [UInt8](repeating: 0x22, count: 93), [0xFF, 0xFB],
        [0xFF, 0xF1, 0x50],
        [0x1A, 0x45, 0xDF, 0xA3], [UInt8](repeating: 0, count: 3000),
    ]

    private func file(_ random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 0...8, using: &random) {
            bytes += random.happens(oneIn: 3) ? random.pick(Self.frames) : random.jumble(of: Self.words, count: 0...4)
        }
        // A file that is longer than the junk that is searched. It is slow to read, and therefore rare.
        if random.happens(oneIn: 30) {
            bytes.insert(contentsOf: [UInt8](repeating: 0, count: 66_000), at: bytes.count / 2)
        }
        return random.mutation(of: bytes, changes: 0...3)
    }

    @Test("What a file is does not depend on how its bytes arrive")
    func pieces() {
        holds(forCases: 200) { random in
            let bytes = file(&random)
            let whole = FormatRecognizer.finding(for: bytes)
            var recognizer = FormatRecognizer()
            for piece in random.pieces(of: bytes, longest: 700) { recognizer.take(piece) }
            let inPieces = recognizer.finish()
            return whole == inPieces ? nil : "\(bytes.prefix(3000)): \(whole), in pieces \(inPieces)"
        }
    }

    @Test("More bytes after those that show the format do not change it")
    func more() {
        holds(forCases: 200) { random in
            let bytes = file(&random)
            var recognizer = FormatRecognizer()
            guard let early = recognizer.take(bytes) else { return nil }
            let isKept =
                recognizer.finish() == early
                && FormatRecognizer.finding(for: bytes + random.jumble(of: Self.words, count: 0...10)) == early
            return isKept ? nil : "\(bytes.prefix(3000)): \(early)"
        }
    }

    @Test("A recording behind an ID3 tag of any length is the recording")
    func tags() {
        let recordings: [([UInt8], AudioFormat)] = [
            (Array("RIFF\0\0\0\0WAVEfmt ".utf8), .wav), (Array("fLaC\0\0\0\u{22}\0\0\0\0".utf8), .flac),
            (Self.frames[0] + Self.frames[0], .mp3), (Self.frames[1] + Self.frames[1], .aac),
        ]
        holds(forCases: 100) { random in
            let (recording, format) = random.pick(recordings)
            let length = Int.random(in: 0...20_000, using: &random)
            let size = (0..<4).map { UInt8(length >> (21 - 7 * $0) & 0x7F) }
            let tag = Array("ID3\u{3}\0\0".utf8) + size + random.bytes(length...length)
            let finding = FormatRecognizer.finding(for: tag + recording)
            return finding == .recording(format) ? nil : "\(format) behind \(length) bytes is \(finding)"
        }
    }

    @Test("A file name is shown in one line and without blanks at its ends, and its decoding ends")
    func names() {
        let words = [
            "=?utf-8?B?", "=?UTF-8?q?", "?=", "TcO8bGxlci5tcDM=", "=C3=BC", "_", "%20", "%2F", "%2e", "%", "%C3%BC",
            "%00",
            "/", "\\", "..", "a", ".mp3", " ", "\u{202E}", "\u{A0}", "\r\n", "é",
        ]
        holds(forCases: 300) { random in
            let name = RecordingName.shown(RecordingName.decoded(random.text(of: words, count: 0...12)))
            let isSafe = name.unicodeScalars.allSatisfy { $0 != "/" && $0 != "\\" && $0.mayBeShown }
            let ends = [name.unicodeScalars.first, name.unicodeScalars.last].compactMap { $0 }
            guard isSafe, ends.allSatisfy({ !$0.properties.isWhitespace }), RecordingName.shown(name) == name else {
                return name.debugDescription
            }
            return nil
        }
    }

    @Test("A declared type, and a name, of any text is read")
    func types() {
        let words = ["text", "/", "application", "vnd.", "audio", ";", " ", ".", "mp3", "docx", "\0", "é", "\u{301}"]
        holds(forCases: 200) { random in
            let text = random.text(of: words, count: 0...6)
            guard (DeclaredType.refusal(text) != nil) == DeclaredType.isCertainlyNoRecording(text),
                (FileKind.refusal(ofName: text) == nil) == AudioFormat.acceptsExtension(of: text)
            else { return text.debugDescription }
            return nil
        }
    }
}
