import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// Uploads with misleading content, and forms that two programs could read in different ways.
@Suite(.deadline) struct UploadDisguiseTests {
    /// The directory of a ZIP archive with one entry.
    private static let archiveEnd =
        Data("PK\u{1}\u{2}".utf8) + Data(count: 42) + Data("PK\u{5}\u{6}\0\0\0\0".utf8)
        + Data([1, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 0, 0, 0])

    @Test("A recording that is another kind of file too is rejected and not kept")
    func polyglots() async throws {
        try await withClinic { clinic in
            var archive = UploadFile.wav(size: 200_000)
            archive.bytes += Self.archiveEnd
            var commented = UploadFile("a.mp3", "audio/mpeg", "ID3\u{4}", size: 100_000)
            commented.bytes += Self.archiveEnd.dropLast(2) + Data([0x10, 0x27]) + Data(repeating: 0x20, count: 10_000)
            for (file, kind) in [
                (archive, "ZIP"), (commented, "ZIP"),
                (UploadFile("a.mp3", "audio/mpeg", "ID3\u{4}\0\0\0\0\0\0 %PDF-1.7"), "PDF"),
                (UploadFile("a.wav", "audio/wav", "RIFF\0\0\0\0WAVE<script>alert(1)</script>"), "web page"),
                (UploadFile("a.ogg", "audio/ogg", "OggS<SVG onload=alert(1)>", size: 100_000), "web page"),
                (UploadFile("a.mp3", "audio/mpeg", "ID3\u{4}\0\0\0\0\0\0<?php system($_GET[0]);"), "script"),
                (UploadFile("a.m4a", "audio/mp4", "\0\0\0\u{18}ftypheic"), "This is a picture"),
                (UploadFile("a.mp4", "video/mp4", "\0\0\0\u{20}ftypavif"), "This is a picture"),
            ] {
                let id = SessionID.random()
                let upload = Upload(patient: clinic.id(.patient), file: file, session: id)
                let response = try await clinic.upload(upload, as: .patient)
                expectProblem(response, 415, "unsupported-media", detail: kind)
                let progress = try await clinic.progress(of: id)
                #expect(progress["status"] as? String == "failed", "\(kind)")
                #expect(progress["error"] as? String == (try response.json()["detail"] as? String))
            }
            #expect(try clinic.storedFiles() == [])
        }
    }

    /// A body with the boundary `b`: the patient, and then a part with these headers.
    private func body(_ clinic: Clinic, part headers: String, _ rest: String = "") -> String {
        """
        --b\r
        Content-Disposition: form-data; name="patient_id"\r
        \r
        \(clinic.id(.patient))\r
        --b\r
        \(headers)\r
        \r
        RIFF\0\0\0\0WAVEfmt \(rest)\r
        --b--\r

        """
    }

    private func post(_ clinic: Clinic, _ body: String) async throws -> TestResponse {
        try await clinic.request(
            .POST, "/api/sessions/upload", as: .patient, headers: ["Content-Type": "multipart/form-data; boundary=b"],
            body: body)
    }

    @Test("A form that can be read in two ways is rejected")
    func shapes() async throws {
        try await withClinic { clinic in
            let name = "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\""
            for (headers, status, kind, detail) in [
                (
                    "Content-Disposition: form-data; name*=UTF-8''file; filename=\"a.wav\"", 400, "malformed-request",
                    "Each part needs one"
                ),
                (
                    "\(name)\r\nContent-Disposition: form-data; name=\"patient_id\"", 400, "malformed-request",
                    "Each part needs one"
                ),
                (
                    "\(name)\r\nContent-Type: audio/wav\r\nContent-Type: text/html", 400, "malformed-request",
                    "Each part needs one"
                ),
                ("\(name)\r\n folded line", 400, "malformed-request", "Each part needs one"),
                (
                    "Content-Disposition: form-data; name=\"file\u{301}\"; filename=\"a.wav\"", 422, "invalid-value",
                    "file: is missing"
                ),
                (
                    "Content-Disposition: form-data; name=\"file\0\"; filename=\"a.wav\"", 400, "malformed-request",
                    "Each"
                ),
                (
                    "Content-Disposition: form-data; name=\"file\n\"; filename=\"a.wav\"", 400, "malformed-request",
                    "Each"
                ),
                ("\(name)\r\nContent-Type: audio/wav\n", 400, "malformed-request", "Each"),
                (
                    "Content-Disposition: form-data; name=\"FILE\"; filename=\"a.wav\"", 422, "invalid-value",
                    "file: is missing"
                ),
                (
                    "Content-Disposition: form-data; name=\"file\"; filename=\"a.exe\0.wav\"", 400, "malformed-request",
                    "Each"
                ),
                (
                    "Content-Disposition: form-data; name=\"file\"; filename=\"\u{202E}\u{2066}\"", 422,
                    "invalid-value",
                    "file: has no file name"
                ),
            ] as [(String, Int, String, String)] {
                expectProblem(
                    try await post(clinic, body(clinic, part: headers)), status, kind, detail: detail, "\(headers)")
            }
            #expect(try await clinic.uploadedSessions() == 0)

            let second = "\r\n--b\r\n\(name)\r\n\r\nRIFF\0\0\0\0WAVE and another"
            let two = try await post(clinic, body(clinic, part: name, second))
            expectProblem(two, 422, "invalid-value", detail: "file: has to come before the file")
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("A field after the file with a hostile name is shown harmlessly, and the session fails")
    func lateNames() async throws {
        try await withClinic { clinic in
            for (name, status, error) in [
                ("x\0", 400, "The upload broke off before the recording was complete."),
                ("x\u{202E}y\u{2028}", 422, "xy: has to come before the file."),
                (
                    String(repeating: "x", count: 1000), 422,
                    String(repeating: "x", count: 64) + ": has to come before the file."
                ),
            ] {
                let id = SessionID.random()
                var upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
                upload.lateFields = [(name, "1")]
                #expect(try await clinic.upload(upload, as: .patient).status == status)
                let progress = try await clinic.progress(of: id)
                #expect(progress["status"] as? String == "failed")
                #expect(progress["error"] as? String == error)
            }
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("The file name is shown as it is written, without control characters")
    func names() async throws {
        try await withClinic { clinic in
            for (name, shown) in [
                ("\u{202E}3pm.exe\u{202C}.wav", "3pm.exe.wav"), ("a\u{2066}b\u{2069}\u{200E}.wav", "ab.wav"),
                ("a\u{2028}b\u{2029}.wav", "ab.wav"), ("%2e%2e%2fa.wav", "a.wav"), ("..wav", "..wav"),
                ("a\u{200D}b.wav", "a\u{200D}b.wav"), ("CON.wav", "CON.wav"), ("a;b=c.wav", "a;b=c.wav"),
            ] {
                let file = UploadFile(name, "audio/wav", "RIFF\0\0\0\0WAVE")
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                #expect(response.status == 201)
                #expect(try response.json()["filename"] as? String == shown)
            }
            // On disk, the files have names that the server chose.
            #expect(try clinic.storedFiles().allSatisfy { $0.wholeMatch(of: /[0-9a-f-]{36}/) != nil })
        }
    }
}
