import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite(.deadline) struct UploadRouteTests {
    static let accepted: [UploadFile] = [
        UploadFile("a.mp3", "audio/mpeg", "ID3\u{4}"), UploadFile("A.MP3", "audio/mp3", [0xFF, 0xFB, 0x90, 0x64]),
        UploadFile("a.wav", "audio/x-wav", "RIFF\0\0\0\0WAVE"),
        UploadFile("a.m4a", "audio/x-m4a", "\0\0\0\u{18}ftypM4A "),
        UploadFile("a.mp4", "video/mp4", "\0\0\0\u{20}ftypisom"),
        UploadFile("a.webm", "audio/webm;codecs=opus", [0x1A, 0x45, 0xDF, 0xA3]),
        UploadFile("a.ogg", "audio/ogg", "OggS"),
        UploadFile("a.opus", "application/octet-stream", "OggS"), UploadFile("a.flac", nil, "fLaC"),
        UploadFile("a.mov", "video/quicktime", "\0\0\0\u{14}ftypqt  "),
        UploadFile("a.qta", nil, "\0\0\0\u{14}ftypqt  "),
        UploadFile("a.3gp", "video/3gpp", "\0\0\0\u{18}ftyp3gp4"),
        UploadFile("a.aac", "audio/aac", UploadFile.adtsFrame + UploadFile.adtsFrame),
        UploadFile("a.amr", "audio/amr", "#!AMR\n"),
        UploadFile("a.aif", "audio/x-aiff", "FORM\0\0\0\0AIFC"),
        UploadFile("a.caf", "audio/x-caf", "caff\0\u{1}\0\0desc"),
        UploadFile(
            "a.mka", "audio/x-matroska", [0x1A, 0x45, 0xDF, 0xA3, 0x8B, 0x42, 0x82, 0x88] + Array("matroska".utf8)),
    ]

    @Test("The server accepts each format and stores the file unchanged", arguments: accepted)
    func formats(_ file: UploadFile) async throws {
        try await withClinic { clinic in
            let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .therapist)
            #expect(response.status == 201)
            let json = try response.json()
            let id = try #require(json["id"] as? String)
            #expect(response.headers["Location"] == ["/api/sessions/\(id)"])
            #expect(json["patient_id"] as? String == clinic.id(.patient).description)
            #expect(json["therapist_id"] as? String == clinic.id(.therapist).description)
            #expect(json["filename"] as? String == file.name)
            #expect(json["bytes"] as? Int == file.bytes.count)
            let progress = try #require(json["progress"] as? [String: any Sendable])
            #expect(progress["status"] as? String == "pending")
            #expect(progress["progress"] as? Int == 20)
            #expect(
                try await clinic.request(.GET, "/api/sessions/\(id)", as: .patient).json() as NSDictionary == json
                    as NSDictionary)

            let stored = try #require(try clinic.storedFiles().first)
            #expect(try clinic.storedFiles().count == 1)
            let path = clinic.server.uploads.appending(path: stored)
            #expect(try Data(contentsOf: path) == file.bytes)
            let mode = try FileManager.default.attributesOfItem(atPath: path.path(percentEncoded: false))[
                .posixPermissions]
            #expect(mode as? Int == 0o600)
            // The name of the stored file does not contain the session's id.
            #expect(!stored.contains(id))
        }
    }

    @Test("The patient, an assigned therapist and an administrator may upload")
    func whoMay() async throws {
        try await withClinic { clinic in
            for caller in Clinic.Caller.allCases {
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: .wav), as: caller)
                guard [.patient, .therapist, .admin].contains(caller) else {
                    expectProblem(response, 403, "forbidden", "\(caller)")
                    continue
                }
                #expect(response.status == 201, "\(caller)")
                let therapist = try response.json()["therapist_id"] as? String
                #expect(therapist == (caller == .therapist ? clinic.id(.therapist).description : nil))
            }
            #expect(try clinic.storedFiles().count == 3)
            // An unknown patient: the administrator learns the reason, and the therapist gets 403.
            for stranger in [UserID.random(), clinic.id(.therapist)] {
                let upload = Upload(patient: stranger, file: .wav)
                expectProblem(try await clinic.upload(upload, as: .admin), 422, "invalid-value", detail: "patient_id: ")
                expectProblem(try await clinic.upload(upload, as: .therapist), 403, "forbidden")
            }
            #expect(try await clinic.uploadedSessions() == 3)
        }
    }

    @Test("An upload sets the date and the id of the session")
    func fields() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            var upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            upload.fields.append(("session_date", "2026-11-20T10:00:00+01:00"))
            let json = try await clinic.upload(upload, as: .patient).json()
            #expect(json["id"] as? String == id.description)
            #expect(json["session_date"] as? String == "2026-11-20T09:00:00.000000Z")
            // An empty field of a form counts as missing.
            var empty = Upload(patient: clinic.id(.patient), file: .wav)
            empty.fields += [("session_date", ""), ("session_id", "")]
            #expect(try await clinic.upload(empty, as: .patient).status == 201)
        }
    }

    @Test("The file name is stored in a form that is safe to show")
    func filename() async throws {
        try await withClinic { clinic in
            for (name, shown) in [
                ("../../etc/a.wav", "a.wav"), ("C:\\\\Users\\\\ada\\\\a.wav", "a.wav"), ("a\\\"b.wav", "a\"b.wav"),
                ("Größe – 3.wav", "Größe – 3.wav"), ("a\u{7}b\u{1B}.wav", "ab.wav"),
                (String(repeating: "👩‍👩‍👧‍👦", count: 100) + ".wav", nil), (String(repeating: "x", count: 1000) + ".wav", nil),
            ] {
                let file = UploadFile(name, "audio/wav", "RIFF\0\0\0\0WAVE")
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                #expect(response.status == 201, "\(name)")
                let kept = try response.json()["filename"] as? String ?? ""
                #expect(kept.unicodeScalars.count <= 255)
                #expect(kept.hasSuffix(".wav"))
                if let shown { #expect(kept == shown) }
            }
        }
    }

    @Test("A wrong extension, declared type or beginning gets 415, and no session is made")
    func notAudio() async throws {
        try await withClinic { clinic in
            for file in [
                UploadFile("a.txt", "text/plain", "hello"), UploadFile("a.mp3.exe", "audio/mpeg", "ID3\u{4}"),
                UploadFile("a", "audio/mpeg", "ID3\u{4}"), UploadFile("a.aiff", "audio/aiff", "FORM"),
                UploadFile("a.mp3", "text/html", "ID3\u{4}"), UploadFile("a.wav", "image/png", "RIFF\0\0\0\0WAVE"),
            ] {
                let response = try await clinic.upload(Upload(patient: clinic.id(.patient), file: file), as: .patient)
                expectProblem(response, 415, "unsupported-media", "\(file.name ?? "") \(file.type ?? "")")
            }
            #expect(try await clinic.uploadedSessions() == 0)
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("If the client chose the id, a refused file gets 415, and the session fails with the same words")
    func notAudioInside() async throws {
        try await withClinic { clinic in
            for file in [
                UploadFile("a.mp3", "audio/mpeg", "<!DOCTYPE html><html>"),
                UploadFile("a.wav", "audio/wav", "RIFF\0\0\0\0AVI "),
                UploadFile("a.mp3.exe", "audio/mpeg", "RIFF\0\0\0\0WAVE"), UploadFile("a.ogg", "text/html", "fLaC"),
                UploadFile("a.mp3", "audio/mpeg", "ID3\u{4}", size: 4), UploadFile("a.mp3", "audio/mpeg", "", size: 0),
            ] {
                let id = SessionID.random()
                let upload = Upload(patient: clinic.id(.patient), file: file, session: id)
                let response = try await clinic.upload(upload, as: .patient)
                expectProblem(response, 415, "unsupported-media")
                let progress = try await clinic.progress(of: id)
                #expect(progress["status"] as? String == "failed")
                #expect(progress["error"] as? String == (try response.json()["detail"] as? String))
            }
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("A missing, invalid or repeated field gets 422 with its name")
    func invalidFields() async throws {
        try await withClinic { clinic in
            let patient = (name: "patient_id", value: clinic.id(.patient).description)
            let noName = UploadFile(nil, "audio/wav", "RIFF\0\0\0\0WAVE")
            let emptyName = UploadFile("", "audio/wav", "RIFF\0\0\0\0WAVE")
            let table: [([(name: String, value: String)], UploadFile?, String)] = [
                ([], .wav, "patient_id"), ([("patient_id", "")], .wav, "patient_id"),
                ([("patient_id", "1")], .wav, "patient_id"),
                ([patient, patient], .wav, "patient_id"), ([patient, ("session_id", "x")], .wav, "session_id"),
                ([patient, ("session_id", "\(SessionID.random())0")], .wav, "session_id"),
                ([patient, ("session_date", "yesterday")], .wav, "session_date"),
                ([patient, ("session_date", "2026-02-30")], .wav, "session_date"),
                ([patient, ("session_date", String(repeating: "x", count: 2000))], .wav, "session_date"),
                ([patient], nil, "file"), ([], nil, "file"), ([patient, ("file", "text")], nil, "file"),
                ([patient], noName, "file"),
                ([patient], emptyName, "file"),
            ]
            for (fields, file, name) in table {
                let response = try await clinic.upload(Upload(fields: fields, file: file), as: .therapist)
                expectProblem(response, 422, "invalid-value", "\(fields) \(file?.name ?? "-")")
                let detail = try response.json()["detail"] as? String ?? ""
                #expect(detail.hasPrefix("\(name): "), "\(detail)")
            }
            #expect(try await clinic.uploadedSessions() == 0)
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("Unknown fields are passed over, also repeated ones and files of other names, up to 64 KiB")
    func unknownFields() async throws {
        try await withClinic { clinic in
            var upload = Upload(patient: clinic.id(.patient), file: .wav)
            upload.fields.insert(("csrf", String(repeating: "x", count: 20_000)), at: 0)
            upload.fields += [
                ("therapist_id", clinic.id(.stranger).description), ("csrf", "again"),
                ("notes\"; filename=\"n.txt", "text"),
            ]
            let response = try await clinic.upload(upload, as: .therapist)
            #expect(response.status == 201)
            #expect(try response.json()["therapist_id"] as? String == clinic.id(.therapist).description)
            upload.fields.append(("attachment", String(repeating: "x", count: 50_000)))
            let tooLong = try await clinic.upload(upload, as: .therapist)
            expectProblem(
                tooLong, 422, "invalid-value", detail: "attachment: is no field of an upload, and is too long")
        }
    }

    @Test("A file before the patient's field gets 422 that says where the field belongs")
    func fileFirst() async throws {
        try await withClinic { clinic in
            var upload = Upload(fields: [], file: .wav)
            upload.lateFields = [("patient_id", clinic.id(.patient).description)]
            let response = try await clinic.upload(upload, as: .patient)
            expectProblem(response, 422, "invalid-value", detail: "patient_id: is missing. Send it before the file")
        }
    }

    @Test(
        "A session date without an offset is in UTC",
        arguments: [
            ("2026-11-20T10:00:00", "2026-11-20T10:00:00.000000Z"), ("2026-11-20T10:00", "2026-11-20T10:00:00.000000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000000Z"), ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00.000000Z"),
        ])
    func sessionDate(_ text: String, _ stored: String) async throws {
        try await withClinic { clinic in
            var upload = Upload(patient: clinic.id(.patient), file: .wav)
            upload.fields.append(("session_date", text))
            let response = try await clinic.upload(upload, as: .patient)
            #expect(try response.json()["session_date"] as? String == stored)
        }
    }

    @Test("A field after the file gets 422, and no file is kept")
    func lateField() async throws {
        try await withClinic { clinic in
            let id = SessionID.random()
            var upload = Upload(patient: clinic.id(.patient), file: .wav, session: id)
            upload.lateFields = [("session_date", "2026-11-20")]
            let response = try await clinic.upload(upload, as: .patient)
            expectProblem(response, 422, "invalid-value", detail: "session_date: ")
            #expect(try await clinic.progress(of: id)["status"] as? String == "failed")
            #expect(try clinic.storedFiles() == [])
        }
    }

    @Test("A body that is not a multipart form is rejected")
    func malformed() async throws {
        try await withClinic { clinic in
            func post(_ type: String?, _ body: String) async throws -> TestResponse {
                try await clinic.request(
                    .POST, "/api/sessions/upload", as: .patient, headers: type.map { ["Content-Type": $0] } ?? [:],
                    body: body)
            }
            for type in [nil, "application/json", "audio/wav", "multipart/mixed; boundary=b"] {
                expectProblem(try await post(type, "{}"), 415, "unsupported-media", "\(type ?? "none")")
            }
            let good = "multipart/form-data; boundary=b"
            for (type, body) in [
                ("multipart/form-data", "--b--"), ("multipart/form-data; boundary=", "--b--"), (good, ""),
                (good, "nonsense"),
                (good, "--b\r\nContent-Disposition: form-data; name=\"patient_id\"\r\n\r\n1"),
                (good, "--b\r\n\r\nx\r\n--b--"),
                (good, "--b\r\nX: \(String(repeating: "x", count: 10_000))\r\n\r\n\r\n--b--"),
            ] {
                expectProblem(try await post(type, body), 400, "malformed-request", "\(type): \(body.prefix(20))")
            }
            #expect(try await clinic.uploadedSessions() == 0)
        }
    }
}
