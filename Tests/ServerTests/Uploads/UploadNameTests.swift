import Domain
import Foundation
import NIOHTTP1
import ServerTestSupport
import TestSupport
import Testing

/// The names of files, as programs and phones send them, and the names of downloads.
@Suite("Names of uploads and downloads", .deadline) struct UploadNameTests {
    private func upload(_ disposition: Data, _ clinic: Clinic) async throws -> TestResponse {
        let head = "--b\r\nContent-Disposition: form-data; name=\"patient_id\"\r\n\r\n\(clinic.id(.patient))\r\n--b\r\n"
        let body =
            Data(head.utf8) + Data("Content-Disposition: ".utf8) + disposition
            + Data("\r\nContent-Type: audio/mpeg\r\n\r\n".utf8) + Data(UploadFile.mp3Frame + UploadFile.mp3Frame)
            + Data("\r\n--b--\r\n".utf8)
        return try await clinic.server.request(
            .POST, "/api/sessions/upload", token: clinic.token(.patient),
            headers: ["Content-Type": "multipart/form-data; boundary=b"], body: body)
    }

    @Test("Each way to send a name gives the name")
    func ways() async throws {
        try await withClinic { clinic in
            let word = Data("Sitzung_Müller.mp3".utf8).base64EncodedString()
            let star = "filename*=utf-8''Sitzung_M%C3%BCller.mp3"
            for (disposition, name) in [
                // HttpClient of .NET, with the name in both forms, and without quotation marks around the field's name.
                ("form-data; name=file; filename=\"=?utf-8?B?\(word)?=\"; \(star)", "Sitzung_Müller.mp3"),
                ("form-data; name=file; filename=\"=?utf-8?B?\(word)?=\"", "Sitzung_Müller.mp3"),
                ("form-data; name=\"file\"; \(star)", "Sitzung_Müller.mp3"),
                ("form-data; name=\"file\"; filename=\"Sitzung_M_ller.mp3\"; \(star)", "Sitzung_Müller.mp3"),
                ("form-data; \(star); filename=\"other.mp3\"; name=\"file\"", "Sitzung_Müller.mp3"),
                ("form-data; name=\"file\"; filename*=UTF-8'de'a%2e%2e%2Fb.mp3", "b.mp3"),
                // A broken or unknown form falls back to the plain name.
                ("form-data; name=\"file\"; filename=\"a.mp3\"; filename*=UTF-8''%FF.mp3", "a.mp3"),
                ("form-data; name=\"file\"; filename=\"a.mp3\"; filename*=koi8-r''b.mp3", "a.mp3"),
                ("form-data; name=\"file\"; filename=\"C:\\Users\\ada\\Sitzung 1.mp3\"", "Sitzung 1.mp3"),
                ("form-data; name=\"file\"; filename=\"\\\\server\\share\\a.mp3\"", "a.mp3"),
                ("form-data; name=\"file\"; filename=\"a.mp3 \"", "a.mp3"),
                ("form-data; name=\"file\"; filename=a.mp3", "a.mp3"),
                ("form-data; name=\"file\"; filename=\"Sitzung%20M%C3%BCller.mp3\"", "Sitzung Müller.mp3"),
                ("form-data; name=\"file\"; filename=\"100%.mp3\"", "100%.mp3"),
                ("form-data; name=\"file\"; filename=\"a\\\"b.mp3\"", "a\"b.mp3"),
                ("form-data; name=\"file\"; filename=\"a%22b.mp3\"", "a\"b.mp3"),
            ] {
                let response = try await upload(Data(disposition.utf8), clinic)
                #expect(response.status == 201, "\(disposition): \(response.text)")
                #expect(try response.json()["filename"] as? String == name, "\(disposition)")
            }
            // Latin-1, as old programs send it.
            let latin = try await upload(
                Data("form-data; name=\"file\"; filename=\"M".utf8) + Data([0xFC]) + Data("ller.mp3\"".utf8), clinic)
            #expect(try latin.json()["filename"] as? String == "Müller.mp3")
        }
    }

    @Test("A download has the name in both forms, with the type and the extension of what it is")
    func downloads() async throws {
        try await withClinic { clinic in
            for (name, bytes, type, disposition) in [
                ("Sitzung 3.wav", "RIFF\0\0\0\0WAVE", "audio/wav", "attachment; filename=\"Sitzung 3.wav\""),
                ("wav_named.m4a", "RIFF\0\0\0\0WAVE", "audio/wav", "attachment; filename=\"wav_named.wav\""),
                ("mp4_named.mp3", "\0\0\0\u{18}ftypM4A ", "audio/mp4", "attachment; filename=\"mp4_named.m4a\""),
                ("memo.qta", "\0\0\0\u{14}ftypqt  ", "video/quicktime", "attachment; filename=\"memo.qta\""),
                (
                    "Müller 50%.wav", "fLaC", "audio/flac",
                    "attachment; filename=\"M_ller 50_.flac\"; filename*=UTF-8''M%C3%BCller%2050%25.flac"
                ),
                ("語.opus", "OggS", "audio/ogg", "attachment; filename=\"_.opus\"; filename*=UTF-8''%E8%AA%9E.opus"),
            ] {
                let file = UploadFile(name, "application/octet-stream", bytes)
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                #expect(response.status == 201, "\(name)")
                let json = try response.json()
                // The session keeps the name that its owner knows.
                #expect(json["filename"] as? String == name)
                let id = try #require(json["id"] as? String)
                let download = try await clinic.request(.GET, "/api/sessions/\(id)/recording", as: .patient)
                #expect(download.body == file.bytes)
                #expect(download.headers["Content-Type"] == [type], "\(name)")
                #expect(download.headers["Content-Disposition"] == [disposition], "\(name)")
                #expect(download.headers["X-Content-Type-Options"] == ["nosniff"])
            }
        }
    }
}
