import Domain
import Foundation
import PropertySupport
import Testing

@testable import HTTPAPI

@Suite("The headers of resumable uploads")
struct TusProtocolTests {
    private static func encoded(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

    @Test("Metadata is read by key, and empty values count as missing")
    func metadata() throws {
        let metadata = try UploadMetadata(
            "filename \(Self.encoded("Sitzung Müller.m4a")),empty,also-empty ,filetype \(Self.encoded("audio/mp4"))")
        #expect(try metadata["filename"] == "Sitzung Müller.m4a")
        #expect(try metadata["filetype"] == "audio/mp4")
        #expect(try metadata["empty"] == nil)
        #expect(try metadata["also-empty"] == nil)
        #expect(try metadata["missing"] == nil)
        #expect(try UploadMetadata("")["filename"] == nil)
    }

    @Test(
        "Other metadata is malformed",
        arguments: [
            ",", "a \(encoded("b")),", "a \(encoded("b")) c", "a ###", "a YQ", "a \(encoded("b")),a", " ",
            "a YQ==,,b YQ==",
        ])
    func malformed(_ text: String) {
        let problem = #expect(throws: Problem.self) { _ = try UploadMetadata(text) }
        #expect(problem?.kind == .malformed)
    }

    @Test("A form needs a patient and a file name, and names the value that is wrong")
    func form() throws {
        let patient = UserID.random()
        func form(_ more: [String: String]) throws -> UploadForm {
            let pairs = ["patient_id": patient.description, "filename": "a.wav"].merging(more) { $1 }
            return try UploadForm(
                UploadMetadata(pairs.map { "\($0.key) \(Self.encoded($0.value))" }.joined(separator: ",")))
        }
        let session = SessionID.random()
        let whole = try form([
            "session_id": session.description, "session_date": "2026-11-22T09:30:00Z", "language": "DE-at",
            "relativePath": "x/y",
        ])
        #expect(whole.patient == patient)
        #expect(whole.session == session)
        #expect(whole.sessionDate == Timestamp(rfc3339: "2026-11-22T09:30:00Z"))
        #expect(whole.language?.description == "de-AT")
        #expect(whole.filename == "a.wav")
        #expect(whole.refusal == nil)
        #expect(try form(["filename": "C:\\Sitzungen\\b.m4a"]).filename == "b.m4a")
        #expect(try form(["filename": "report.docx"]).refusal != nil)
        #expect(try form(["filetype": "text/html"]).refusal != nil)
        for (key, value) in [
            ("patient_id", "x"), ("patient_id", ""), ("filename", ""), ("session_id", "x"), ("session_date", "soon"),
            ("language", "de_AT"),
        ] {
            let problem = #expect(throws: Problem.self, "\(key)") { _ = try form([key: value]) }
            #expect(problem?.kind == .invalid)
            #expect(problem?.detail.hasPrefix("\(key): ") == true)
        }
        let problem = #expect(throws: Problem.self) {
            _ = try UploadForm(UploadMetadata("filename \(Data([0xFF, 0xFE]).base64EncodedString())"))
        }
        #expect(problem?.kind == .invalid)
    }

    @Test("No metadata stops the server")
    func hostile() {
        var generator = SeededGenerator(seed: 7)
        for _ in 0..<2000 {
            let text = String(
                (0..<Int.random(in: 0..<60, using: &generator)).map { _ in
                    "abcYQ==, ,\u{E4}".randomElement(using: &generator) ?? " "
                })
            guard let metadata = try? UploadMetadata(text) else { continue }
            _ = try? UploadForm(metadata)
        }
    }

    @Test("Without a length, the percentage grows with every byte and never reaches the end")
    func growth() {
        let size = UploadProgress.Size.unknown(usual: 1_000_000)
        let percentages = [0, 100_000, 500_000, 1_000_000, 3_000_000, 1_000_000_000_000].map {
            size.percentage(after: $0)
        }
        #expect(percentages == [0, 1, 6, 10, 15, 19])
        #expect(size.message(after: 12_345_678) == "Uploading the recording: 12.3 MB so far")
        let known = UploadProgress.Size.known(1000)
        #expect([0, 500, 999, 1000].map { known.percentage(after: $0) } == [0, 10, 19, 19])
        #expect(known.message(after: 500) == "Uploading the recording")
    }
}
