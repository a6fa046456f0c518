import NIOCore
import Testing

@testable import HTTPAPI

/// A part, with its whole body.
struct ReadPart: Equatable, CustomStringConvertible {
    var part: MultipartParser.Part
    var body: String

    init(_ name: String, filename: String? = nil, type: String? = nil, _ body: String) {
        part = .init(name: name, filename: filename, contentType: type)
        self.body = body
    }

    var description: String {
        "\(part.name)/\(part.filename ?? "-")/\(part.contentType ?? "-"): \(body.debugDescription)"
    }
}

/// The result of reading a body.
enum ReadBody: Equatable {
    case parts([ReadPart])
    case refused(MultipartParser.Malformation)
}

/// Feeds pieces to a parser and collects the parts.
func read(_ pieces: [ArraySlice<UInt8>], contentType: String = "multipart/form-data; boundary=b") -> ReadBody {
    do throws(MultipartParser.Malformation) {
        var parser = try MultipartParser(contentType: contentType)
        var parts: [ReadPart] = []
        // Decoded at the end, because a piece may cut a character.
        var body: [UInt8] = []
        var isOpen = false
        for piece in pieces {
            for event in try parser.feed(ByteBuffer(bytes: piece)) {
                switch event {
                case .began(let part):
                    #expect(!isOpen, "a part begins in a part")
                    isOpen = true
                    body = []
                    parts.append(ReadPart(part.name, filename: part.filename, type: part.contentType, ""))
                case .body(let bytes):
                    #expect(isOpen)
                    #expect(bytes.readableBytes > 0)
                    body += bytes.readableBytesView
                case .ended:
                    #expect(isOpen, "a part ends that has not begun")
                    parts[parts.count - 1].body = String(decoding: body, as: UTF8.self)
                    isOpen = false
                }
            }
        }
        try parser.finish()
        #expect(!isOpen)
        return .parts(parts)
    } catch {
        return .refused(error)
    }
}

/// Reads a body whole, byte by byte, in threes, and cut at each position.
///
/// Expects the same result each time.
func readHoweverCut(_ body: String, contentType: String = "multipart/form-data; boundary=b") -> ReadBody {
    let bytes = Array(body.utf8)
    let whole = read([bytes[...]], contentType: contentType)
    #expect(read(bytes.indices.map { bytes[$0...$0] }, contentType: contentType) == whole, "byte by byte")
    let threes = stride(from: 0, to: bytes.count, by: 3).map { bytes[$0..<min($0 + 3, bytes.count)] }
    #expect(read(threes, contentType: contentType) == whole, "in threes")
    for cut in 0...bytes.count {
        #expect(read([bytes[..<cut], bytes[cut...]], contentType: contentType) == whole, "cut at \(cut)")
    }
    return whole
}

@Suite("The multipart parser")
struct MultipartParserTests {
    private static let field = "Content-Disposition: form-data; name=\"patient_id\"\r\n\r\n"
    private static let file =
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n"

    /// Bodies with the boundary `b`, and their parts.
    static let bodies: [(name: String, body: String, expected: ReadBody)] = [
        (
            "a field and a file", "--b\r\n\(field)42\r\n--b\r\n\(file)ID3 sound\r\n--b--\r\n",
            .parts([ReadPart("patient_id", "42"), ReadPart("file", filename: "a.mp3", type: "audio/mpeg", "ID3 sound")])
        ),
        ("no line end at the end", "--b\r\n\(field)42\r\n--b--", .parts([ReadPart("patient_id", "42")])),
        ("an empty value", "--b\r\n\(field)\r\n--b--", .parts([ReadPart("patient_id", "")])),
        ("no part", "--b--\r\n", .parts([])),
        ("transport padding", "--b \t \r\n\(field)42\r\n--b\t--\r\n", .parts([ReadPart("patient_id", "42")])),
        ("a preamble", "to be ignored\r\n--b\r\n\(field)42\r\n--b--", .parts([ReadPart("patient_id", "42")])),
        ("an empty line first", "\r\n--b\r\n\(field)42\r\n--b--", .parts([ReadPart("patient_id", "42")])),
        (
            "an epilogue, even one like a part", "--b\r\n\(field)42\r\n--b--\r\n--b\r\n\(file)late\r\n--b--",
            .parts([ReadPart("patient_id", "42")])
        ),
        (
            "line ends in a value", "--b\r\n\(field)\r\n\r\n\r\r\n\n-\r\n-\r\n--\r\n--b--",
            .parts([ReadPart("patient_id", "\r\n\r\n\r\r\n\n-\r\n-\r\n--")])
        ),
        (
            "the boundary within a line", "--b\r\n\(field)x--b--\n--b--\r--b\r\n--b--",
            .parts([ReadPart("patient_id", "x--b--\n--b--\r--b")])
        ),
        (
            "beginnings of the delimiter", "--b\r\n\(field)\r\r\n-\r\n--\r\n-b\r\n\r\n--b--",
            .parts([ReadPart("patient_id", "\r\r\n-\r\n--\r\n-b\r\n")])
        ),
        (
            "other header lines, in any order and case",
            "--b\r\nX-Other: 1\r\ncontent-TYPE:  text/plain \r\nCONTENT-disposition:Form-Data;NAME=a\r\n\r\nv\r\n--b--",
            .parts([ReadPart("a", type: "text/plain", "v")])
        ),
        (
            "a file name with quotes, backslashes and folders",
            "--b\r\nContent-Disposition: form-data; name=\"f;x=\\\"y\\\"\"; filename=\"..\\\\/a\\\"b;%22.mp3\"\r\n\r\n\r\n--b--",
            .parts([ReadPart("f;x=\"y\"", filename: "..\\/a\"b;%22.mp3", "")])
        ),
        (
            "a parameter twice: the first counts",
            "--b\r\nContent-Disposition: form-data; name=a; name=file; filename=x.mp3; filename=x.exe\r\n\r\n\r\n--b--",
            .parts([ReadPart("a", filename: "x.mp3", "")])
        ),
        (
            "a name that is empty", "--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nv\r\n--b--",
            .parts([ReadPart("", "v")])
        ),

        ("nothing", "", .refused(.truncated)),
        ("no boundary", "patient_id=42", .refused(.truncated)),
        ("another boundary", "--c\r\n\(field)42\r\n--c--", .refused(.truncated)),
        ("a boundary not at the beginning of a line", "x--b\r\n\(field)42\r\n--c--", .refused(.truncated)),
        ("only the first boundary", "--b", .refused(.truncated)),
        ("an end after the first boundary", "--b\r\n", .refused(.truncated)),
        ("an end in the headers", "--b\r\nContent-Disposition: form-data; name=a\r\n", .refused(.truncated)),
        ("an end in the value", "--b\r\n\(field)42", .refused(.truncated)),
        ("an end in the last boundary", "--b\r\n\(field)42\r\n--b-", .refused(.truncated)),
        ("a last boundary without its end", "--b\r\n\(field)42\r\n--b", .refused(.truncated)),
        ("only padding after a boundary", "--b\r\n\(field)42\r\n--b   ", .refused(.truncated)),
        ("a line that begins with the boundary", "--b\r\n\(field)42\r\n--bx\r\n--b--", .refused(.noBoundary)),
        ("one dash after the boundary", "--b\r\n\(field)42\r\n--b-\r\n", .refused(.noBoundary)),
        ("a bare line feed after the boundary", "--b\n\(field)42\r\n--b--", .refused(.noBoundary)),
        ("a part without headers", "--b\r\n\r\n42\r\n--b--", .refused(.badHeaders)),
        ("a value that looks like headers", "--b\r\n\r\n\(field)42\r\n--b--", .refused(.badHeaders)),
        ("a part without a disposition", "--b\r\nContent-Type: text/plain\r\n\r\n42\r\n--b--", .refused(.badHeaders)),
        (
            "another disposition", "--b\r\nContent-Disposition: attachment; name=a\r\n\r\n42\r\n--b--",
            .refused(.badHeaders)
        ),
        (
            "a NUL in a header",
            "--b\r\nContent-Disposition: form-data; name=\"a\0\"\r\n\r\n42\r\n--b--", .refused(.badHeaders)
        ),
        ("half an end of a line in a header", "--b\r\nX: 1\nY: 2\r\n\(field)42\r\n--b--", .refused(.badHeaders)),
        ("the other half", "--b\r\nX: 1\rY: 2\r\n\(field)42\r\n--b--", .refused(.badHeaders)),
        (
            "the maximum of padding",
            "--b\(String(repeating: " ", count: 256))\r\n\(field)42\r\n--b--", .parts([ReadPart("patient_id", "42")])
        ),
        ("more", "--b\(String(repeating: "\t", count: 257))\r\n\(field)42\r\n--b--", .refused(.noBoundary)),
        (
            "two dispositions", "--b\r\n\(field.dropLast())\(field)42\r\n--b--", .refused(.badHeaders)
        ),
        (
            "two types",
            "--b\r\nContent-Type: audio/mpeg\r\nContent-Type: text/html\r\n\(field)42\r\n--b--", .refused(.badHeaders)
        ),
        (
            "an extended file name, which wins",
            "--b\r\nContent-Disposition: form-data; name=a; filename=y; filename*=UTF-8''x.mp3\r\n\r\n42\r\n--b--",
            .parts([ReadPart("a", filename: "x.mp3", "42")])
        ),
        ("a part without a name", "--b\r\nContent-Disposition: form-data\r\n\r\n42\r\n--b--", .refused(.badHeaders)),
        (
            "a header line without a colon", "--b\r\n\(field.dropLast())nonsense\r\n\r\n42\r\n--b--",
            .refused(.badHeaders)
        ),
    ]

    @Test("A body gives the same parts however it is cut", arguments: bodies)
    func reads(_ name: String, _ body: String, _ expected: ReadBody) {
        #expect(readHoweverCut(body) == expected, "\(name)")
    }

    @Test(
        "A content type without a usable boundary is refused",
        arguments: [
            "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary", "multipart/mixed; boundary=b", "text/plain; boundary=b", "",
            "; boundary=b",
            "multipart/form-data; boundary=\(String(repeating: "x", count: 71))",
            "multipart/form-data; charset=utf-8; x=boundary=b",
        ])
    func badBoundary(_ contentType: String) {
        #expect(read([], contentType: contentType) == .refused(.badBoundary))
    }

    @Test(
        "A boundary has 1 to 70 characters, quoted or not",
        arguments: [
            ("b", "b"), ("\"b\"", "b"), ("\"a b:c=d'(),/?\"", "a b:c=d'(),/?"),
            ("----WebKitFormBoundaryAb1", "----WebKitFormBoundaryAb1"),
            (String(repeating: "x", count: 70), String(repeating: "x", count: 70)), ("b; charset=utf-8", "b"),
            ("b;boundary=c", "b"),
            ("\\r\\n", "\\r\\n"), ("--", "--"),
        ])
    func boundary(_ parameter: String, _ boundary: String) {
        let body = "--\(boundary)\r\n\(Self.field)42\r\n--\(boundary)--\r\n"
        #expect(
            readHoweverCut(body, contentType: "Multipart/Form-Data; Boundary=\(parameter)")
                == .parts([ReadPart("patient_id", "42")]))
    }

    @Test("The headers of a part have at most 8 KiB, however they are cut")
    func headerLimit() {
        let disposition = "Content-Disposition: form-data; name=a\r\nX: "
        let longest = disposition + String(repeating: "x", count: MultipartParser.headerLimit - disposition.utf8.count)
        for (headers, expected) in [
            (longest, ReadBody.parts([ReadPart("a", "v")])), (longest + "x", .refused(.headersTooLong)),
        ] {
            let bytes = Array("--b\r\n\(headers)\r\n\r\nv\r\n--b--".utf8)
            #expect(read([bytes[...]]) == expected)
            #expect(read(bytes.indices.map { bytes[$0...$0] }) == expected)
        }
        // Headers without an end are refused before they fill memory.
        let endless =
            [ArraySlice("--b\r\nX: ".utf8)] + Array(repeating: ArraySlice(repeating: 0x78, count: 1000), count: 10)
        #expect(read(endless) == .refused(.headersTooLong))
    }

    @Test("The bytes before the first boundary are limited, however they are cut")
    func preambleLimit() {
        // The line ending that the parser puts in front counts.
        let longest = String(repeating: "x", count: MultipartParser.headerLimit - 2)
        let part = "\r\n--b\r\n\(Self.field)42\r\n--b--"
        for (preamble, expected) in [
            (longest, ReadBody.parts([ReadPart("patient_id", "42")])), (longest + "x", .refused(.noBoundary)),
        ] {
            let bytes = Array((preamble + part).utf8)
            #expect(read([bytes[...]]) == expected)
            #expect(read(bytes.indices.map { bytes[$0...$0] }) == expected)
        }
    }

    @Test("A large body is passed on as it arrives, and the parser keeps no more than a delimiter")
    func passesOn() throws {
        var parser = try MultipartParser(contentType: "multipart/form-data; boundary=b")
        _ = try parser.feed(ByteBuffer(string: "--b\r\n\(Self.file)"))
        let piece = ByteBuffer(repeating: 0x0D, count: 64 * 1024)
        var delivered = 0
        for round in 1...100 {
            for case .body(let bytes) in try parser.feed(piece) { delivered += bytes.readableBytes }
            #expect(round * piece.readableBytes - delivered < "\r\n--b".utf8.count)
        }
        #expect(!parser.isComplete)
        #expect(throws: MultipartParser.Malformation.truncated) { try parser.finish() }
    }

    @Test("Bytes after the end are ignored")
    func epilogue() throws {
        var parser = try MultipartParser(contentType: "multipart/form-data; boundary=b")
        #expect(try parser.feed(ByteBuffer(string: "--b--")) == [])
        #expect(parser.isComplete)
        #expect(try parser.feed(ByteBuffer(string: "\r\n--b\r\n\(Self.field)42\r\n--b--")) == [])
        try parser.finish()
    }

    @Test("Binary bytes are passed on unchanged")
    func binary() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<50 {
            // These bytes come from delimiters, which makes near misses frequent.
            let alphabet = Array("\r\n-bx".utf8) + [0, 0xFF]
            var body = (0..<200).map { _ in alphabet.randomElement(using: &generator) ?? 0 }
            while let hit = body.firstRange(of: Array("\r\n--b".utf8)) { body[hit.lowerBound] = 0 }
            let bytes = Array("--b\r\n\(Self.file)".utf8) + body + Array("\r\n--b--".utf8)
            var parser = try MultipartParser(contentType: "multipart/form-data; boundary=b")
            var read: [UInt8] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                let piece = rest.prefix(.random(in: 1...20, using: &generator))
                rest = rest.dropFirst(piece.count)
                for case .body(let bytes) in try parser.feed(ByteBuffer(bytes: piece)) {
                    read += bytes.readableBytesView
                }
            }
            try parser.finish()
            #expect(read == body)
        }
    }
}
