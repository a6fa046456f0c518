import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("Resumable uploads", .deadline) struct ResumableUploadTests {
    @Test("An upload in parts becomes the recording of its session", arguments: [1, 3, 7])
    func parts(_ count: Int) async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(50_000)
            let created = try await client.create()
            #expect(created.status == 201)
            #expect(created.headers["Upload-Offset"] == ["0"])
            #expect(created.headers["Tus-Resumable"] == ["1.0.0"])
            #expect(created.headers["Upload-Expires"].count == 1)
            client.path = try #require(created.headers.first(name: "Location"))
            #expect(client.path.hasPrefix("/api/uploads/"))
            let progress = try await clinic.progress(of: client.session)
            #expect(progress["status"] as? String == "uploading")
            #expect(progress["progress"] as? Int == 0)

            let size = client.content.count
            for index in 0..<count {
                let range = index * size / count..<(index + 1) * size / count
                let head = try await client.send(.HEAD)
                #expect(head.status == 200)
                #expect(head.headers["Upload-Offset"] == ["\(range.lowerBound)"])
                #expect(head.headers["Upload-Length"] == ["\(size)"])
                #expect(head.headers["Upload-Metadata"].joined(separator: ",").contains("filename "))
                #expect(head.headers["Cache-Control"] == ["no-store"])
                let answer = try await client.patch(range)
                #expect(answer.status == 204)
                #expect(answer.headers["Upload-Offset"] == ["\(range.upperBound)"])
                #expect(answer.headers["Content-Location"].isEmpty == (index + 1 < count))
            }
            try await clinic.expectRecording(client)
            // A client whose last answer was lost learns that the upload is complete.
            for answer in [try await client.send(.HEAD), try await client.patch(size..<size)] {
                #expect([200, 204].contains(answer.status))
                #expect(answer.headers["Upload-Offset"] == ["\(size)"])
                #expect(answer.headers["Content-Location"] == ["/api/sessions/\(client.session)"])
            }
            expectProblem(try await client.patch(0..<10), 409, "conflict")
            expectProblem(try await client.send(.DELETE), 410, "gone")
            try await clinic.expectRecording(client)
            #expect(try await clinic.scrape().value("therapybridge_uploads_resumed_total") == Double(count - 1))
        }
    }

    @Test("A creation can bring the first bytes, or all of them", arguments: [1, 20_000, 50_000])
    func creationWithUpload(_ count: Int) async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(50_000, as: .patient)
            let created = try await client.create(body: client.content.prefix(count))
            #expect(created.status == 201)
            #expect(created.headers["Upload-Offset"] == ["\(count)"])
            client.path = try #require(created.headers.first(name: "Location"))
            if count < client.content.count {
                #expect(try await client.patch(count..<client.content.count).status == 204)
            } else {
                #expect(created.headers["Content-Location"] == ["/api/sessions/\(client.session)"])
            }
            try await clinic.expectRecording(client)
        }
    }

    @Test("OPTIONS needs no token, and tells what the server can do")
    func options() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "12345"]) { clinic async throws in
            let answer = try await clinic.server.request(.OPTIONS, "/api/uploads")
            #expect(answer.status == 204)
            #expect(answer.headers["Tus-Version"] == ["1.0.0"])
            #expect(answer.headers["Tus-Max-Size"] == ["12345"])
            #expect(answer.headers["Tus-Checksum-Algorithm"] == ["sha1,sha256"])
            #expect(
                answer.headers["Tus-Extension"] == ["creation,creation-with-upload,expiration,checksum,termination"])
        }
    }

    @Test("A request without the protocol's version gets 412 and has no effect")
    func version() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            for version in ["", "0.2.2", "1.0.1"] {
                for method in [HTTPMethod.HEAD, .PATCH, .DELETE, .POST] {
                    let answer = try await client.send(
                        method, method == .POST ? "/api/uploads" : nil,
                        headers: [
                            "Tus-Resumable": version, "Upload-Offset": "0", "Content-Type": ResumableClient.octets,
                        ],
                        body: method == .PATCH ? client.content : nil)
                    #expect(answer.status == 412)
                    #expect(answer.headers["Tus-Version"] == ["1.0.0"])
                    #expect(answer.headers["Tus-Resumable"] == ["1.0.0"])
                }
            }
            #expect(try await client.offset() == 0)
            #expect(try await clinic.uploadedSessions() == 1)
        }
    }

    @Test("A bad creation gets its status and makes no session")
    func badCreations() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "5000"]) { clinic async throws in
            let client = clinic.resumable(1000)
            let base64 = Data("x".utf8).base64EncodedString()
            let cases: [([String: String], Int)] = [
                (["Upload-Length": ""], 400), (["Upload-Length": "-1"], 400), (["Upload-Length": "1e3"], 400),
                (["Upload-Length": "99999999999999999999"], 400), (["Upload-Defer-Length": "1"], 400),
                (["Upload-Length": "5001"], 413), (["Upload-Length": "0"], 415),
                (["Upload-Metadata": "filename n%t-base64"], 400),
                (["Upload-Metadata": "filename \(base64),filename \(base64)"], 400),
                (["Upload-Metadata": "filename \(base64) \(base64)"], 400), (["Upload-Metadata": ""], 422),
                (["Upload-Metadata": "filename \(base64)"], 422),
                (["Upload-Metadata": "patient_id \(base64)"], 422),
            ]
            for (headers, status) in cases {
                let answer = try await client.create(headers: headers)
                #expect(answer.status == status, "\(headers): \(answer.text)")
            }
            for (name, type) in [("report.docx", nil), ("a.wav", "text/html"), ("a.wav", "image/png")] {
                var other = client
                (other.filename, other.type) = (name, type)
                expectProblem(try await other.create(), 415, "unsupported-media")
            }
            expectProblem(
                try await client.create(headers: ["Content-Type": "audio/wav"], body: client.content), 415,
                "unsupported-media")
            #expect(try await clinic.uploadedSessions() == 0)
            #expect(try await clinic.database.query("SELECT FROM app.resumable_uploads").isEmpty)
        }
    }

    @Test("A bad PATCH gets its status and changes nothing")
    func badPatches() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            expectProblem(try await client.patch(0..<10), 409, "conflict", detail: "byte 400")
            expectProblem(try await client.patch(500..<1000), 409, "conflict")
            expectProblem(
                try await client.patch(400..<1000, headers: ["Content-Type": "audio/wav"]), 415, "unsupported-media")
            for offset in ["", "-1", "x"] {
                expectProblem(
                    try await client.patch(400..<410, headers: ["Upload-Offset": offset]), 400, "malformed-request")
            }
            let tooMuch = try await client.send(
                .PATCH, headers: ["Upload-Offset": "400", "Content-Type": ResumableClient.octets],
                body: client.content + Data(count: 1))
            expectProblem(tooMuch, 413, "too-large")
            for checksum in ["md5 xxx", "sha1", "sha1 ###", "sha1 \(Data(count: 19).base64EncodedString())", ""] {
                expectProblem(
                    try await client.patch(400..<410, headers: ["Upload-Checksum": checksum]), 400, "malformed-request")
            }
            #expect(try await client.send(.HEAD, "/api/uploads/no-uuid").status == 422)
            #expect(try await client.send(.HEAD, "/api/uploads/\(UploadID.random())").status == 404)
            #expect(try await client.offset() == 400)
            #expect(try await client.patch(400..<1000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("More bytes than the length, without a declared length, get 413, and what fits is kept")
    func overflow() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            let answer = try await clinic.server.withWire { wire async throws in
                try await wire.send(
                    client.patchHead(0..<0).replacing("Content-Length: 0", with: "Transfer-Encoding: chunked"))
                try await wire.send(Upload.chunk(client.content.prefix(600)))
                try await eventually("the first bytes are committed") { try await client.offset() == 600 }
                try await wire.send(Upload.chunk(Data(count: 500)))
                return try await wire.readResponse()
            }
            expectProblem(answer, 413, "too-large")
            #expect(try await client.offset() == 600)
            #expect(try await client.patch(600..<1000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("With a checksum, bytes count whole or not at all")
    func checksums() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(300_000)
            try await client.begin()
            let (first, rest) = (0..<200_000, 200_000..<300_000)
            let right = ResumableClient.checksum(client.content[first])
            #expect(try await client.patch(first, headers: ["Upload-Checksum": right]).status == 204)
            expectProblem(
                try await client.patch(rest, headers: ["Upload-Checksum": right]), 460, "checksum-mismatch")
            #expect(try await client.offset() == 200_000)
            // A request that breaks off keeps nothing.
            let checksum = ResumableClient.checksum(client.content[rest])
            try await clinic.server.withWire { wire async throws in
                try await wire.send(client.patchHead(rest, more: "Upload-Checksum: \(checksum)\r\n"))
                try await wire.send(client.content[200_000..<250_000])
                try await eventually("the request writes") {
                    try await !clinic.database.query("SELECT FROM app.resumable_uploads WHERE writer IS NOT NULL")
                        .isEmpty
                }
            }
            try await eventually("the request has ended") {
                try await clinic.database.query("SELECT FROM app.resumable_uploads WHERE writer IS NOT NULL").isEmpty
            }
            #expect(try await client.offset() == 200_000)
            #expect(try await client.patch(rest, headers: ["Upload-Checksum": checksum]).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("Bytes that are no recording get 415, the session fails with the reason, and the upload is gone")
    func noRecording() async throws {
        try await withClinic { clinic async throws in
            for piece in [3, 5000] {
                var client = clinic.resumable(5000)
                client = ResumableClient(
                    server: client.server, token: client.token, content: Data("%PDF-1.7 ".utf8) + Data(count: 5000),
                    patient: client.patient)
                try await client.begin()
                var offset = 0
                var answer = try await client.patch(0..<piece)
                while answer.status == 204, offset + piece < client.content.count {
                    offset += piece
                    answer = try await client.patch(offset..<min(offset + 2000, client.content.count))
                }
                expectProblem(answer, 415, "unsupported-media")
                expectProblem(try await client.patch(0..<10), 410, "gone")
                #expect(try await client.send(.HEAD).status == 410)
                let progress = try await clinic.progress(of: client.session)
                #expect(progress["status"] as? String == "failed")
                #expect((progress["error"] as? String)?.isEmpty == false)
            }
            try await eventually("no file is left") { try clinic.storedFiles() == [] }
        }
    }

    @Test("The end of a whole file counts too: a recording that is also an archive is refused")
    func archive() async throws {
        try await withClinic { clinic async throws in
            let base = clinic.resumable(100_000)
            let end = Data([0x50, 0x4B, 5, 6]) + Data(count: 18)
            for parts in [1, 2] {
                var client = ResumableClient(
                    server: base.server, token: base.token, content: base.content + end, patient: base.patient)
                try await client.begin()
                if parts == 2 { #expect(try await client.patch(0..<50_000).status == 204) }
                let answer = try await client.patch((parts - 1) * 50_000..<client.content.count)
                expectProblem(answer, 415, "unsupported-media")
                expectProblem(try await client.patch(0..<1), 410, "gone")
            }
            try await eventually("no file is left") { try clinic.storedFiles() == [] }
        }
    }
}
