import Domain
import Foundation
import Store
import Testing

@testable import HTTPAPI

@Suite("The forms of a transcript")
struct TranscriptFormatTests {
    private func document(
        _ segments: String, text: String? = nil, others: String = "{}", isFinal: Bool = true
    ) throws -> TranscriptDocument {
        try TranscriptDocument(
            StoredTranscript(
                attempt: 2, isFinal: isFinal, text: text, segments: segments, others: others,
                length: RecordingLength(decoded: 3.1, announced: 6.1)))
    }

    private func render(_ format: TranscriptFormat, _ segments: String, from first: Int = 0) throws -> String {
        String(decoding: format.render(try document(segments), from: first), as: UTF8.self)
    }

    private let two =
        #"[{"start": 0.5, "end": 2, "text": "Grüß Gott"}, {"start": 3723.0456, "end": 3725, "text": "b"}]"#

    @Test("WebVTT has a header, and a cue with its times for each segment")
    func webVTT() throws {
        #expect(
            try render(.webVTT, two)
                == "WEBVTT\n\n00:00:00.500 --> 00:00:02.000\nGrüß Gott\n\n01:02:03.046 --> 01:02:05.000\nb\n")
        #expect(try render(.webVTT, two, from: 2) == "WEBVTT\n")
    }

    @Test("SubRip numbers its cues as in the whole transcript")
    func subRip() throws {
        #expect(
            try render(.subRip, two)
                == "1\n00:00:00,500 --> 00:00:02,000\nGrüß Gott\n\n2\n01:02:03,046 --> 01:02:05,000\nb\n\n")
        #expect(try render(.subRip, two, from: 1) == "2\n01:02:03,046 --> 01:02:05,000\nb\n\n")
        #expect(try render(.subRip, two, from: .max) == "")
    }

    @Test("Text has a line for each segment, behind the name of its speaker")
    func text() throws {
        let segments = #"[{"start":0,"end":1,"text":"Hm.","speaker":"A"},{"start":1,"end":2,"text":"","speaker":null}]"#
        #expect(try render(.text, segments) == "A: Hm.\n\n")
        #expect(try render(.text, two) == "Grüß Gott\nb\n")
        #expect(try render(.text, two, from: 7) == "")
    }

    @Test(
        "A segment cannot end its line, begin a tag or an entity, or look like two times",
        arguments: [
            ("<b>a & b</b>", "&lt;b>a &amp; b&lt;/b>"), ("a --> b", "a --&gt; b"), ("&lt;", "&amp;lt;"),
            ("one\\n\\ntwo\\r\\nthree", "one two three"), ("a\\u2028b\\u0085c\\u202ed", "a b c d"),
            (" \\t a \\u0007 ", "a"), ("---->", "----&gt;"),
            // A combining mark makes one `Character` of the two, and a player still reads the first.
            ("<\u{301}b>&\u{301}lt;", "&lt;\u{301}b>&amp;\u{301}lt;"), ("<\u{338}b>", "&lt;\u{338}b>"),
            ("a -->\u{338} b", "a --&gt;\u{338} b"),
        ])
    func neutralised(words: String, expected: String) throws {
        for speaker in [false, true] {
            let member = speaker ? #","speaker":"\#(words)","text":"x""# : #","text":"\#(words)""#
            let line = speaker ? "\(expected): x" : expected
            let segments = #"[{"start":0,"end":1\#(member)}]"#
            #expect(
                try Array(render(.webVTT, segments).utf8)
                    == Array("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n\(line)\n".utf8))
            #expect(
                try Array(render(.subRip, segments).utf8)
                    == Array("1\n00:00:00,000 --> 00:00:01,000\n\(line)\n\n".utf8))
        }
    }

    @Test("A cue of no length lasts a millisecond, because WebVTT forbids one without a length")
    func noLength() throws {
        let segments = #"[{"start":1,"end":1,"text":"a"}]"#
        #expect(try render(.webVTT, segments).contains("00:00:01.000 --> 00:00:01.001"))
    }

    @Test("The JSON keeps the stored segments, and has its own members besides those of the pipeline")
    func json() throws {
        let document = try document(
            #"[{"start": 0.50, "end": 2, "text": "a", "words": [1]},{"start":2,"end":3,"text":"b"}]"#,
            text: #""A. B.""#,
            others: #"{"language": "de"}"#)
        func json(_ first: Int) -> String { String(decoding: document.json(from: first), as: UTF8.self) }
        let rest = """
            ],"attempt":2,"is_final":true,"is_complete":false,"duration_seconds":3.1,"announced_seconds":6.1,\
            "language": "de"}
            """
        #expect(
            json(0) == #"{"text":"A. B.","segments":[{"start": 0.50, "end": 2, "text": "a", "words": [1]},"#
                + #"{"start":2,"end":3,"text":"b"}"# + rest)
        #expect(json(1) == #"{"text":"b","segments":[{"start":2,"end":3,"text":"b"}"# + rest)
        #expect(json(2) == #"{"text":"","segments":["# + rest)
    }

    @Test("The text of a partial transcript is that of its segments")
    func partial() throws {
        let document = try document(two, isFinal: false)
        let json = try JSONSerialization.jsonObject(with: Data(document.json(from: 0))) as? [String: Any]
        #expect(json?["text"] as? String == "Grüß Gott b")
        #expect(json?["is_final"] as? Bool == false)
    }

    @Test("The entity tag is strong, and another one for each other JSON")
    func tag() throws {
        let tags = [
            try document(two).tag, try document(two, isFinal: false).tag, try document("[]").tag,
            try document(two, others: #"{"a": 1}"#).tag,
        ]
        #expect(Set(tags).count == tags.count)
        #expect(try document(two).tag == tags[0])
        for tag in tags { #expect(tag.wholeMatch(of: /"[0-9a-f]{32}"/) != nil, "\(tag)") }
    }
}
