import Domain
import HTTPTypes
import Hummingbird
import NIOCore
import Testing

@testable import HTTPAPI

@Suite("A header's value")
struct HeaderValueTests {
    @Test(
        "A value is read with its parameters",
        arguments: [
            ("form-data; name=\"file\"; filename=\"a.mp3\"", "form-data", ["name": "file", "filename": "a.mp3"]),
            ("  Text/HTML  ", "text/html", [:]),
            ("", "", [:]),
            (";", "", [:]),
            ("a;b", "a", ["b": ""]),
            ("a;b=", "a", ["b": ""]),
            ("a; B = c ", "a", ["b": "c"]),
            ("a;b=c;b=d", "a", ["b": "c"]),
            ("a;b=\"c;d=e\";f=g", "a", ["b": "c;d=e", "f": "g"]),
            ("a;b=\"c\\\"d\\\\e\"", "a", ["b": "c\"d\\e"]),
            ("a;b=\"c", "a", ["b": "c"]),
            ("a;b=\"c\\", "a", ["b": "c\\"]),
            ("a;b=\"c\"junk;d=e", "a", ["b": "c", "d": "e"]),
            ("a;;;b=c;;", "a", ["b": "c"]),
            // In a String, each of these marks and the scalar before it are one character.
            ("a;\u{301}b=c;b=\"d\"\u{301};e=f", "a", ["b": "d", "e": "f"]),
            ("a;b=c=d", "a", ["b": "c=d"]),
            ("a;=x;b=c", "a", ["b": "c", "": "x"]),
            ("text/html;q=0.5", "text/html", ["q": "0.5"]),
            // Windows paths, with and without escapes.
            ("a;filename=\"C:\\x\\y\"", "a", ["filename": "C:\\x\\y"]),
            ("a;filename=\"C:\\\\x\"", "a", ["filename": "C:\\x"]),
        ] as [(String, String, [String: String])])
    func parameters(_ text: String, _ value: String, _ expected: [String: String]) {
        let parameters = HeaderParameters(text)
        #expect(parameters.value == value)
        for (name, value) in expected { #expect(parameters[name] == value, "\(name)") }
        #expect(parameters["none"] == nil)
    }

    @Test(
        "An extended parameter is decoded, and one that is no UTF-8 is missing",
        arguments: [
            ("a;b*=UTF-8''M%C3%BCller.mp3", "Müller.mp3"), ("a;b*=utf-8'de'x%20y", "x y"), ("a;b*=UTF-8''", ""),
            ("a;b*=UTF-8''it's", "it's"), ("a;b=c", nil), ("a;b*=c", nil), ("a;b*=iso-8859-1''%FC", nil),
            ("a;b*=UTF-8''%FC", nil), ("a;b*=UTF-8''%", nil), ("a;b*=UTF-8'x", nil),
        ] as [(String, String?)])
    func extended(_ text: String, _ value: String?) {
        #expect(HeaderParameters(text).extended("b") == value)
    }

    @Test(
        "A Range header names a part of a file of 100 bytes",
        arguments: [
            ("bytes=0-0", ByteRange.part(0..<1)), ("bytes=0-", .part(0..<100)), ("bytes=10-19", .part(10..<20)),
            ("bytes=99-", .part(99..<100)), ("bytes=0-99", .part(0..<100)), ("bytes=50-1000000", .part(50..<100)),
            ("bytes=-1", .part(99..<100)), ("bytes=-100", .part(0..<100)), ("bytes=-101", .part(0..<100)),
            ("bytes=50-999999999999999999", .part(50..<100)), (" bytes=1-2 ", .part(1..<3)),
            ("Bytes=1-2", .part(1..<3)),
            // These ranges have no bytes.
            ("bytes=100-", .unsatisfiable), ("bytes=100-200", .unsatisfiable), ("bytes=-0", .unsatisfiable),
            // "A server MAY ignore the Range header field": several ranges, other units, malformed headers.
            (nil, .whole), ("", .whole), ("bytes", .whole), ("bytes=", .whole), ("bytes=-", .whole),
            ("bytes=2-1", .whole),
            ("bytes=0-1,3-4", .whole), ("bytes=a-b", .whole), ("bytes=0-1x", .whole), ("lines=0-1", .whole),
            ("0-1", .whole),
            ("bytes=--1", .whole), ("bytes=0x1-2", .whole), ("bytes=-1-", .whole), ("bytes=1.5-2", .whole),
            ("bytes=9999999999999999999-", .whole), ("bytes=0-99999999999999999999999", .whole), ("bytes=١-٢", .whole),
        ] as [(String?, ByteRange)])
    func byteRange(_ header: String?, _ expected: ByteRange) {
        #expect(ByteRange(header, of: 100) == expected)
    }

    @Test("No range of an empty file has bytes", arguments: ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
    func byteRangeOfNothing(_ header: String) {
        #expect(ByteRange(header, of: 0) == .unsatisfiable)
    }

    @Test(
        "If-None-Match compares weakly",
        arguments: [
            ("\"7\"", true), ("W/\"7\"", true), ("*", true), ("\"6\", \"7\"", true), ("\"6\",W/\"7\",\"8\"", true),
            ("  \"7\"  ", true),
            ("\"6\"", false), ("7", false), ("", false), ("\"77\"", false), ("\"7", false), ("w/\"7\"", false),
            ("\"*\"", false),
        ])
    func entityTags(_ header: String, _ matches: Bool) {
        #expect(EntityTags(header).contains("\"7\"") == matches)
    }

    @Test(
        "An Accept header that names the answer's type accepts it",
        arguments: [
            nil, "", "*/*", "application/*", "application/json", "APPLICATION/JSON",
            "text/html, application/json;q=0.1",
            "text/html,*/*;q=0.01", "application/json; charset=utf-8", "application/json;q=1.000",
            "*/*;q=0, application/json",
            "application/*;q=0, application/json", " application/json ",
            // The type of errors alone says nothing about the answer.
            "application/problem+json",
        ])
    func accepted(_ header: String?) throws {
        try RouteTable.checkAccept(of: request(header), against: "application/json")
    }

    @Test(
        "An Accept header that names other types or excludes the type refuses it",
        arguments: [
            "text/html", "application/xml", "text/*", "application/json;q=0", "application/json; q=0.0", "*/*;q=0",
            "application/problem+json, text/html", "json", "application", "application/json;q=0, */*",
            "application/*;q=0, */*;q=1",
            "application/jsonx",
        ])
    func notAccepted(_ header: String) {
        #expect {
            try RouteTable.checkAccept(of: request(header), against: "application/json")
        } throws: { error in
            (error as? Problem)?.kind == .notAcceptable
        }
    }

    @Test(
        "Any Accept header accepts an answer of any type",
        arguments: [nil, "*/*", "audio/*", "audio/mpeg"])
    func acceptedOfAnything(_ header: String?) throws {
        try RouteTable.checkAccept(of: request(header), against: "*/*")
    }

    @Test("The Accept header of an EventSource accepts a stream")
    func eventSource() throws {
        try RouteTable.checkAccept(of: request("text/event-stream"), against: "text/event-stream")
        #expect(throws: Problem.self) {
            try RouteTable.checkAccept(of: request("application/json"), against: "text/event-stream")
        }
    }

    private func request(_ accept: String?) -> Request {
        var head = HTTPRequest(method: .get, scheme: "http", authority: "localhost", path: "/")
        head.headerFields[.accept] = accept
        return Request(head: head, body: RequestBody(buffer: ByteBuffer()))
    }
}

@Suite("A file name")
struct DisplayNameTests {
    @Test(
        "A file name is shown without folders and control characters",
        arguments: [
            ("a.mp3", "a.mp3"), ("/etc/passwd", "passwd"), ("../../a.mp3", "a.mp3"), ("C:\\fakepath\\a.mp3", "a.mp3"),
            ("..\\..\\a.mp3", "a.mp3"), ("a/", "a"), ("/", ""), ("", ""), ("a\0b.mp3", "ab.mp3"),
            ("a\r\nb.mp3", "ab.mp3"),
            ("\u{1B}[31ma.mp3", "[31ma.mp3"), ("\u{85}a.mp3", "a.mp3"),
            ("Sitzung 3 – Müller.m4a", "Sitzung 3 – Müller.m4a"),
            ("a\"b.mp3", "a\"b.mp3"), ("👩‍👩‍👧‍👦.mp3", "👩‍👩‍👧‍👦.mp3"),
        ])
    func shown(_ name: String, _ expected: String) {
        #expect(RecordingName.shown(name) == expected)
    }

    @Test("A long file name keeps its last 255 scalars")
    func length() {
        let long = RecordingName.shown(String(repeating: "x", count: 300) + ".mp3")
        #expect(long.unicodeScalars.count == 255)
        #expect(long.hasSuffix("x.mp3"))
        // One character of seven scalars each: the database counts scalars.
        let families = RecordingName.shown(String(repeating: "👩‍👩‍👧‍👦", count: 200) + ".mp3")
        #expect(families.unicodeScalars.count == 255)
        #expect(families.hasSuffix(".mp3"))
    }
}
