import Domain
import NIOCore
import PropertySupport
import Testing

@testable import HTTPAPI

/// Any bytes as a multipart body.
@Suite("Any multipart body")
struct MultipartPropertyTests {
    private static let pieces = [
        "\r\n", "\r", "\n", "--", "-", "b", "--b", "\r\n--b", "\r\n--b\r\n", "\r\n--b--", "--b--\r\n", " ", "\t", ":",
        ";", "=",
        "\"", "\\", "Content-Disposition: form-data; name=a\r\n\r\n",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n", "Content-Type: audio/mpeg\r\n",
        "\r\n\r\n",
        "filename*=UTF-8''%2e%2e%2f", "name=", "form-data", "multipart/mixed; boundary=c", "\0", "\u{301}", "é", "😀",
        "x",
    ]

    @Test("Any body gives the same result however it is cut")
    func cuts() {
        holds(forCases: 300) { random in
            let bytes =
                random.happens(oneIn: 2)
                ? Array("--b\r\n".utf8) + random.jumble(of: Self.pieces, count: 0...30)
                : random.mutation(of: wellFormed(parts(&random)))
            let whole = read([bytes[...]])
            let inPieces = read(random.pieces(of: bytes, longest: 7))
            return whole == inPieces ? nil : "\(bytes): \(whole), in pieces \(inPieces)"
        }
    }

    @Test("A well-formed body gives its parts")
    func roundTrip() {
        holds(forCases: 200) { random in
            let parts = parts(&random)
            let result = read(random.pieces(of: wellFormed(parts), longest: 20))
            return result == .parts(parts) ? nil : "\(parts) came out as \(result)"
        }
    }

    /// Parts with names that quoted strings can hold, and bodies without the delimiter.
    private func parts(_ random: inout SeededGenerator) -> [ReadPart] {
        let words = ["a", "file", "\"", "\\", ";", "=", ":", "é", "😀", " x", "\u{301}", "--b", "name"]
        let bodies = ["\r\n", "--", "\r\n-", "--b", "b", "\r", "x", "\r\n\r\n"]
        return (0..<Int.random(in: 1...4, using: &random)).map { _ in
            let name = random.text(of: words, count: 1...4).filter { !$0.isNewline && $0 != "\0" }
            let filename: String? =
                random.happens(oneIn: 2)
                ? random.text(of: words, count: 0...4).filter { !$0.isNewline && $0 != "\0" } : nil
            let body = random.text(of: bodies, count: 0...12).replacing("\r\n--b", with: "")
            // By bytes: in a String, a delimiter and a mark after it form other characters.
            let holdsDelimiter = ("\r\n" + body).utf8.firstRange(of: "\r\n--b".utf8) != nil
            return ReadPart(
                oneLine(name), filename: filename.map(oneLine), type: random.happens(oneIn: 2) ? "audio/mpeg" : nil,
                holdsDelimiter ? "x" : body)
        }
    }

    /// Removes scalars that would end a header.
    ///
    /// `filter` misses them within a character.
    private func oneLine(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.filter { $0 != "\r" && $0 != "\n" }))
    }

    private func wellFormed(_ parts: [ReadPart]) -> [UInt8] {
        func quoted(_ text: String) -> String {
            var result = "\""
            for scalar in text.unicodeScalars {
                if scalar == "\"" || scalar == "\\" { result += "\\" }
                result.unicodeScalars.append(scalar)
            }
            return result + "\""
        }
        var text = ""
        for part in parts {
            text += "--b\r\nContent-Disposition: form-data; name=" + quoted(part.part.name)
            if let filename = part.part.filename { text += "; filename=" + quoted(filename) }
            if let type = part.part.contentType { text += "\r\nContent-Type: " + type }
            text += "\r\n\r\n" + part.body + "\r\n"
        }
        return Array((text + "--b--\r\n").utf8)
    }

    @Test("A file name is shown in one line, in one direction, and without folders")
    func displayNames() {
        let words = [
            "/", "\\", "..", ".", "a", "mp3", "\r\n", "\0", "\u{202E}", "\u{2066}", "\u{2028}", "\u{301}", "é", "😀",
            "\u{200D}",
            "\u{FEFF}", "\u{7F}", "\u{85}", String(repeating: "x", count: 200),
        ]
        holds(forCases: 300) { random in
            let name = random.text(of: words, count: 0...12)
            let shown = RecordingName.shown(name)
            let isWhole = shown.unicodeScalars.allSatisfy {
                $0 != "/" && $0 != "\\" && $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value)
                    && !(0x2028...0x202E).contains($0.value) && !(0x2066...0x2069).contains($0.value)
            }
            guard isWhole, shown.unicodeScalars.count <= 255, RecordingName.shown(shown) == shown else {
                return "\(name.debugDescription) is shown as \(shown.debugDescription)"
            }
            return nil
        }
    }

    @Test("The check for other kinds of file does not depend on how the file is cut")
    func polyglots() {
        let words = [
            "%PDF-1.4", "<html>", "<SCRIPT", "PK\u{5}\u{6}", "PK\u{1}\u{2}", "PK\u{3}\u{4}", "\0\0\0\0", "RIFF", "WAVE",
            String(repeating: "x", count: 700), String(repeating: "\0", count: 18),
        ]
        holds(forCases: 100) { random in
            var bytes = random.jumble(of: words, count: 0...12)
            // A file as long as the part of the end that is kept. It is slow to read, and therefore rare.
            if random.happens(oneIn: 50) { bytes = Array(repeating: 7, count: 70_000) + bytes }
            let whole = PolyglotDetector.disguise(of: [bytes[...]])
            let inPieces = PolyglotDetector.disguise(of: random.pieces(of: bytes, longest: 900))
            return whole == inPieces ? nil : "\(bytes.suffix(2000)): \(whole as Any), in pieces \(inPieces as Any)"
        }
    }
}

extension PolyglotDetector {
    /// The other kind of file that these pieces form.
    static func disguise(of pieces: [ArraySlice<UInt8>]) -> FileKind? {
        var detector = PolyglotDetector()
        for piece in pieces {
            if let disguise = detector.take(ByteBuffer(bytes: piece)) { return disguise }
        }
        return detector.finish()
    }
}
