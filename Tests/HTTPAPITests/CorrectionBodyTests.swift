import Domain
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import PropertySupport
import Store
import TestSupport
import Testing

@testable import HTTPAPI

@Suite("The body of a correction")
struct CorrectionBodyTests {
    private static let good =
        #"{"segments": [{"index": 0, "text": "é\n"}, {"index": 12, "speaker": null}, {"index": 3, "text": "", "speaker": "B"}]}"#

    private static let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "1e400", "-0", "45", "1.5",
        "99999999999999999999", "\"index\":", "\"text\":", "\"segments\":[{", "\"speaker\":", "\"a\"", " ",
    ]

    private func decode(_ bytes: [UInt8]) async throws -> TranscriptCorrectionBody {
        let request = Request(
            head: HTTPRequest(
                method: .patch, scheme: "http", authority: "localhost", path: "/",
                headerFields: [.contentType: "application/json"]),
            body: RequestBody(buffer: ByteBuffer(bytes: bytes)))
        return try await JSON.decode(TranscriptCorrectionBody.self, from: request, maximumValues: 1000)
    }

    @Test("A missing member keeps what there is, and null removes the speaker")
    func members() async throws {
        let corrections = try await decode(Array(Self.good.utf8)).corrections(of: 13)
        #expect(
            corrections == [
                SegmentCorrection(index: 0, text: "é\n"), SegmentCorrection(index: 12, speaker: .some(nil)),
                SegmentCorrection(index: 3, text: "", speaker: "B"),
            ])
        let json = String(decoding: try JSONEncoder().encode(corrections[1]), as: UTF8.self)
        #expect(json.contains(#""speaker":null"#))
        #expect(!json.contains("text"))
    }

    @Test("A body is corrections of segments that exist, each once, or a problem that says what is wrong")
    func property() async {
        await holds(forCases: 400) { random in
            let input =
                random.happens(oneIn: 2)
                ? random.mutation(of: Array(Self.good.utf8), changes: 1...3)
                : Array("{".utf8) + random.jumble(of: Self.pieces, count: 0...20)
            do {
                let corrections = try await decode(input).corrections(of: 13)
                let indices = corrections.map(\.index)
                guard Set(indices).count == indices.count, indices.allSatisfy((0..<13).contains) else {
                    return "\(input): \(indices)"
                }
                return nil
            } catch let problem as Problem where [.malformed, .invalid, .tooLarge].contains(problem.kind) {
                return nil
            } catch {
                return "\(input): \(error)"
            }
        }
    }

    @Test("A history is read in parts: small entries together, and a large one alone")
    func parts() {
        let unit = HistoryReader.partBytes
        func parts(_ sizes: [Int64]) -> [[Int64]] {
            HistoryReader.parts(of: sizes.map { EarlierResult.Key(id: $0, bytes: $0) }).map { $0.map(\.bytes) }
        }
        #expect(parts([]) == [])
        #expect(parts([1, 2, 3]) == [[1, 2, 3]])
        #expect(parts([unit, 1, unit * 5, 2, 3]) == [[unit], [1], [unit * 5], [2, 3]])
        #expect(parts([unit - 1, 1, 1]) == [[unit - 1, 1], [1]])
    }

    @Test("If-Match compares strongly, and a star names no state")
    func tags() {
        #expect(EntityTags(#""a", "b""#).containsStrongly(#""b""#))
        #expect(!EntityTags(#"W/"b""#).containsStrongly(#""b""#))
        #expect(!EntityTags("*").containsStrongly(#""b""#))
        for text in ["", "*", " ", ",", "*, *"] { #expect(!EntityTags(text).namesAState, "\(text)") }
        for text in [#""a""#, #"*, "a""#, "a"] { #expect(EntityTags(text).namesAState, "\(text)") }
    }
}
