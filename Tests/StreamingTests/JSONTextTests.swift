import Domain
import Foundation
import Testing

@testable import Streaming

@Suite("The JSON of the stream")
struct JSONTextTests {
    /// Strings that could break a line, a string, an event or a script.
    static let hostileStrings = [
        "", " ", "plain", "\"", "\\", "\\\"", "\\n", "/", "</script><script>alert(1)</script>", "<!--", "\n", "\r",
        "\r\n",
        "\n\nevent: complete\ndata: {}\n\n", "\rdata: x", "\t", "\u{0}", "\u{1}", "\u{8}", "\u{B}", "\u{C}", "\u{1F}",
        "\u{7F}", "\u{80}", "\u{85}", "\u{9F}", "\u{A0}", "\u{2028}", "\u{2029}", "\u{FEFF}", "\u{FFFD}", "\u{FFFF}",
        "äöü ß €", "e\u{301}", "👩‍👩‍👧‍👦", "\u{10FFFF}", "\u{202E}gpj", "\u{1F468}\u{200D}", "null", "true", "0",
        #"{"session_id":"x"}"#, #"\u0000"#, String(repeating: "ä\n\"\\", count: 5000),
    ]

    private func progress(message: String?, error: String? = nil) throws -> SessionProgress {
        SessionProgress(
            sessionID: try #require(SessionID("550E8400-E29B-41D4-A716-446655440000")), status: .extractingNotes,
            progress: 61, message: message, error: error, estimatedTimeRemaining: nil, segments: 12, version: .max,
            attempt: 3, createdAt: Timestamp(microsecondsSinceEpoch: -1),
            updatedAt: Timestamp(microsecondsSinceEpoch: 1))
    }

    private func text(_ progress: SessionProgress) -> [UInt8] {
        var bytes: [UInt8] = []
        appendJSON(progress, to: &bytes)
        return bytes
    }

    @Test("The JSON means the same as JSONEncoder's", arguments: hostileStrings)
    func meaning(_ string: String) throws {
        for progress in [try progress(message: string), try progress(message: nil, error: string)] {
            let bytes = Data(text(progress))
            #expect(try JSONDecoder().decode(SessionProgress.self, from: bytes) == progress)
            let encoded = try JSONEncoder().encode(progress)
            #expect(
                try JSONSerialization.jsonObject(with: bytes) as? NSDictionary
                    == JSONSerialization.jsonObject(with: encoded) as? NSDictionary)
        }
    }

    @Test("The JSON is one line for every line reader", arguments: hostileStrings)
    func oneLine(_ string: String) throws {
        let bytes = text(try progress(message: string, error: string))
        #expect(bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F })
        let scalars = String(decoding: bytes, as: UTF8.self).unicodeScalars
        #expect(!scalars.contains { ["\u{85}", "\u{2028}", "\u{2029}"].contains($0) })
    }

    @Test("Every Unicode scalar survives")
    func everyScalar() throws {
        var all = String.UnicodeScalarView()
        for value in UInt32(0)...0x10FFFF {
            if let scalar = Unicode.Scalar(value) { all.append(scalar) }
        }
        var bytes: [UInt8] = []
        appendJSON(String(all), to: &bytes)
        let back = try JSONDecoder().decode(String.self, from: Data(bytes)).unicodeScalars
        // Compared piece by piece, because a failed expectation prints its operands.
        let difference = zip(back, all).first { $0 != $1 }
        #expect(difference == nil)
        let counts = (back.count, all.count)
        #expect(counts.0 == counts.1)
    }

    @Test("The keys have the documented order")
    func order() throws {
        let expected = """
            {"session_id":"550e8400-e29b-41d4-a716-446655440000","status":"extracting_notes","progress":61,"message":"m",\
            "error":null,"estimated_time_remaining":null,"segments":12,"version":9223372036854775807,"attempt":3,\
            "created_at":"1969-12-31T23:59:59.999999Z","updated_at":"1970-01-01T00:00:00.000001Z"}
            """
        #expect(String(decoding: text(try progress(message: "m")), as: UTF8.self) == expected)
    }
}
