import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Recordings as people really have them, and other files that people choose by mistake.
@Suite("What an upload is", .deadline) struct UploadFormatTests {
    private static let frames = (0..<20).flatMap { _ in UploadFile.mp3Frame }
    private static let tag = Array("ID3\u{3}\0\0\0\0\u{10}\0".utf8) + [UInt8](repeating: 0x41, count: 2048)
    private static let mp4 = "\0\0\0\u{18}ftypM4A "

    @Test(
        "The bytes decide what a recording is, whatever accepted extension and whatever type it has",
        arguments: [
            (UploadFile("id3.flac", "audio/flac", tag + Array("fLaC\0\0\0\u{22}".utf8)), "audio/flac"),
            (UploadFile("rf64.wav", "audio/wav", "RF64\u{7F}\u{7F}\u{7F}\u{7F}WAVEds64"), "audio/wav"),
            (
                UploadFile("zeros.mp3", "audio/mpeg", [UInt8](repeating: 0, count: 1500) + frames, size: 12_000),
                "audio/mpeg"
            ),
            (UploadFile("a.mp3", "audio/mpeg", mp4), "audio/mp4"),
            (UploadFile("a.m4a", "audio/x-m4a", "RIFF\0\0\0\0WAVE"), "audio/wav"),
            (UploadFile("memo.qta", "application/octet-stream", "\0\0\0\u{14}ftypqt  "), "video/quicktime"),
            (UploadFile("old.mov", nil, "\0\0\0\u{8}wide\0\u{1}\0\0mdat"), "video/quicktime"),
            (UploadFile("voice.3gp", "video/3gpp", "\0\0\0\u{18}ftyp3gp4"), "audio/3gpp"),
            (UploadFile("plain.aac", "audio/aac", UploadFile.adtsFrame + UploadFile.adtsFrame), "audio/aac"),
            (UploadFile("call.amr", "audio/AMR", "#!AMR-WB\n"), "audio/amr-wb"),
        ])
    func bytesDecide(_ file: UploadFile, _ type: String) async throws {
        try await withClinic { clinic in
            let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .therapist)
            #expect(response.status == 201, "\(response.text)")
            let id = try #require(try response.json()["id"] as? String)
            let recording = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
            #expect(recording.headers["Content-Type"] == [type])
            #expect(recording.body == file.bytes)
            let stored = try await clinic.database.query(
                "SELECT media_type FROM app.therapy_sessions WHERE id = \(id)::uuid")
            #expect(try stored[0].decode("media_type", as: String?.self) == type)
        }
    }

    @Test("A declared type that may be that of a recording is accepted, and one that cannot be gets 415")
    func declaredTypes() async throws {
        try await withClinic { clinic in
            let accepted: [String?] = [
                "application/mp4", "audio/mpeg", "audio/mp4a-latm", "audio/aacp", "audio/x-mp4", "audio/*", "*/*",
                "binary/octet-stream", "multipart/form-data", "", nil, "audio/mp4", "audio/x-mpeg", "audio/mpg",
                "audio/x-opus+ogg", "audio/vorbis", "video/3gpp", "nonsense",
            ]
            for type in accepted {
                let upload = Upload(patient: clinic.id(.patient), file: UploadFile("a.m4a", type, Self.mp4))
                #expect(try await clinic.upload(upload, as: .patient).status == 201, "\(type ?? "none")")
            }
            for type in [
                "text/html", "image/png", "application/pdf", "application/vnd.ms-excel", "Message/RFC822; a=b",
            ] {
                let upload = Upload(patient: clinic.id(.patient), file: UploadFile("a.m4a", type, Self.mp4))
                let response = try await clinic.upload(upload, as: .patient)
                expectProblem(response, 415, "unsupported-media", detail: "which is no recording", "\(type)")
            }
        }
    }

    @Test("A long ID3 tag is streamed past, and a file that is no recording behind one fails its session")
    func longTag() async throws {
        try await withClinic { clinic in
            // A picture of 2 MB in the tag: more than the server reads before the session exists.
            let tag = Array("ID3\u{3}\0\0\0\u{7F}\u{7F}\u{7F}".utf8) + [UInt8](repeating: 0x42, count: 0x1F_FFFF)
            let file = UploadFile("a.mp3", "audio/mpeg", tag + Self.frames, size: tag.count + Self.frames.count)
            let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
            #expect(response.status == 201)
            #expect(try response.json()["bytes"] as? Int == file.bytes.count)

            let late = UploadFile("a.mp3", "audio/mpeg", tag + Array("%PDF-1.7".utf8), size: tag.count + 9000)
            let refusal = try await clinic.upload(Upload(patient: clinic.id(.patient), file: late), as: .patient)
            expectProblem(refusal, 415, "unsupported-media", detail: "This is a PDF document.")
            #expect(try clinic.storedFiles().count == 1)
        }
    }

    @Test(
        "Junk in front of frames that begins something else is refused",
        arguments: ["<!DOCTYPE html>", "%PDF-1.4", "PK\u{3}\u{4}", "#!/bin/sh\n", "\u{7F}ELF\u{2}", "<?php "])
    func junk(_ mark: String) async throws {
        try await withClinic { clinic in
            for blanks in [0, 4000] {
                let junk = [UInt8](repeating: 0, count: blanks) + Array(mark.utf8) + [UInt8](repeating: 0, count: 100)
                let file = UploadFile("a.mp3", "audio/mpeg", junk + Self.frames, size: 20_000)
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                expectProblem(response, 415, "unsupported-media", "\(mark) after \(blanks)")
            }
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("The refusal says what the file is and what to do, by its name and by its bytes")
    func words() async throws {
        try await withClinic { clinic in
            for (file, words) in [
                (
                    UploadFile("brief.docx", "application/octet-stream", "PK\u{3}\u{4}word/"),
                    "This is a Word document. Choose"
                ),
                (
                    UploadFile("a.mp3", "audio/mpeg", "PK\u{3}\u{4}\0\0\0\0[Content_Types].xml word/"),
                    "This is a Word document. Choose"
                ),
                (UploadFile("diktat.ds2", nil, "\u{3}ds2"), "Save it as WAV or MP3 in the dictation software"),
                (UploadFile("a.wav", nil, [UInt8](repeating: 0, count: 9000), size: 9000), "only zeros"),
                (UploadFile("a.wav", nil, "", size: 0), "The file is empty."),
                (UploadFile("memo", nil, Self.mp4), "no ending such as .m4a"),
                (UploadFile("._a.m4a", nil, "\0\u{5}\u{16}\u{7}\0\u{2}\0\0Mac OS X"), "companion file of macOS"),
            ] {
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                expectProblem(response, 415, "unsupported-media", detail: words, "\(file.name ?? "")")
            }
        }
    }

    @Test("A refusal by bytes leaves the same trace as one by name, with and without an id of the client's")
    func traces() async throws {
        let byName = UploadFile("a.txt", "audio/mpeg", "hello")
        let byType = UploadFile("a.mp3", "text/plain", "hello")
        let byBytes = UploadFile("a.mp3", "audio/mpeg", "Dear colleague, this is a text, and no sound.")
        for hasID in [false, true] {
            var traces: Set<String> = []
            for file in [byName, byType, byBytes] { traces.insert(try await trace(of: file, hasID: hasID)) }
            #expect(traces.count == 1, "\(traces)")
        }
    }

    /// Uploads a file that is refused, and returns what the upload leaves behind, as text.
    private func trace(of file: UploadFile, hasID: Bool) async throws -> String {
        try await withClinic { clinic in
            let id = SessionID.random()
            let upload = Upload(patient: clinic.id(.patient), file: file, session: hasID ? id : nil)
            expectProblem(try await clinic.upload(upload, as: .therapist), 415, "unsupported-media")
            let records = try await clinic.database.audit("action = 'session.upload'")
            let sessions = try await clinic.database.query(
                """
                SELECT p.status, p.progress FROM app.session_progress p
                JOIN app.therapy_sessions t ON t.id = p.session_id WHERE t.uploaded_by IS NOT NULL
                """)
            let metrics = try Scrape(try await clinic.request(.GET, "/metrics", as: .admin).text)
            let failed = metrics.samples.filter { $0.name == "therapybridge_uploads_failed_total" && $0.value > 0 }
            #expect(records.count == 1)
            #expect(sessions.count == (hasID ? 1 : 0))
            #expect(failed.count == 1)
            #expect(try clinic.storedFiles() == [])
            let audited = records.map { "\($0.isAllowed) \($0.session == id) \($0.patient == clinic.id(.patient))" }
            let states = try sessions.map { try $0.decode("status", as: String.self) }
            return "\(audited) \(states) \(failed.map { "\($0.labels) \($0.value)" })"
        }
    }
}
