import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

extension Clinic {
    /// An upload for the patient.
    fileprivate func sample(size: Int = 4000, session: SessionID? = nil) -> Upload {
        Upload(patient: id(.patient), file: .wav(size: size), session: session)
    }

    /// Uploads such a recording.
    fileprivate func send(size: Int = 4000, session: SessionID? = nil, as caller: Caller) async throws -> TestResponse {
        try await upload(sample(size: size, session: session), as: caller)
    }
}

@Suite(.deadline) struct UploadLimitTests {
    /// Checks that the user's limit rejected an upload.
    private func expectLimited(_ response: TestResponse, _ detail: String) {
        expectProblem(response, 429, "too-many-requests", detail: detail)
        #expect(response.headers["Connection"] == ["close"])
        #expect(Int(response.headers["Retry-After"].first ?? "") ?? 0 > 0)
    }

    @Test("A user's uploads within an hour are limited over all servers, and a rejected one leaves nothing")
    func perHour() async throws {
        let limits = ["UPLOADS_PER_HOUR": "3"]
        try await withClinic(limits) { clinic async throws in
            for _ in 0..<2 { #expect(try await clinic.send(as: .patient).status == 201) }
            try await withServer(over: clinic.database, limits) { second async throws in
                let response = try await second.request(
                    .POST, "/api/sessions/upload", token: clinic.token(.patient),
                    headers: ["Content-Type": Upload.contentType], body: clinic.sample().body)
                #expect(response.status == 201)
            }
            let id = SessionID.random()
            expectLimited(try await clinic.send(session: id, as: .patient), "3 recordings in an hour")
            #expect(try await clinic.uploadedSessions() == 3)
            #expect(try clinic.storedFiles().count == 2)
            #expect(try await clinic.send(as: .therapist).status == 201)
            let scrape = try await clinic.scrape()
            #expect(scrape.value("therapybridge_uploads_refused_total", ["limit": "per-hour"]) == 1)
            #expect(scrape.value("therapybridge_uploads_refused_total", ["limit": "at-once"]) == 0)
        }
    }

    @Test("An upload that fails after its first byte counts, and one that is refused before does not")
    func counted() async throws {
        try await withClinic(["UPLOADS_PER_HOUR": "2"]) { clinic async throws in
            let elsewhere = Upload(patient: clinic.id(.otherPatient), file: .wav)
            let noAudio = Upload(patient: clinic.id(.patient), file: UploadFile("a.txt", "text/plain", "hello"))
            for _ in 0..<3 {
                #expect(try await clinic.upload(elsewhere, as: .patient).status == 403)
                #expect(try await clinic.upload(noAudio, as: .patient).status == 415)
            }
            let noWave = Upload(patient: clinic.id(.patient), file: UploadFile("a.wav", "audio/wav", "no wave at all"))
            for _ in 0..<2 { #expect(try await clinic.upload(noWave, as: .patient).status == 415) }
            expectLimited(try await clinic.send(as: .patient), "2 recordings in an hour")
        }
    }

    @Test("A user's bytes within a day are limited, and an undeclared length counts as the maximum")
    func perDay() async throws {
        try await withClinic(["UPLOAD_MAX_BYTES": "10000", "UPLOAD_QUOTA_BYTES": "12000"]) { clinic async throws in
            #expect(try await clinic.send(size: 5000, as: .patient).status == 201)
            // 5,000 bytes were charged. A body without a declared length could have 10,000.
            let chunked = try await clinic.server.withWire { wire async throws in
                try await wire.send(clinic.sample().requestHead(token: clinic.token(.patient), isChunked: true))
                return try await wire.readResponse()
            }
            expectLimited(chunked, "Content-Length")
            #expect(try await clinic.send(size: 6000, as: .patient).status == 201)
            expectLimited(try await clinic.send(size: 4000, as: .patient), "12000 bytes in 24 hours")
            let scrape = try await clinic.scrape()
            #expect(scrape.value("therapybridge_uploads_refused_total", ["limit": "bytes-per-day"]) == 2)
        }
    }

    @Test("A user's parallel uploads are limited, and the server answers before the body")
    func atOnce() async throws {
        try await withClinic(["UPLOAD_MAX_CONCURRENT_PER_USER": "1"]) { clinic async throws in
            let id = SessionID.random()
            let first = clinic.sample(size: 100_000, session: id)
            try await clinic.beginUpload(first, of: id, upTo: 0) { wire async throws in
                let head = clinic.sample().requestHead(token: clinic.token(.patient))
                let answer = try await clinic.server.answer(
                    to: head.replacing("Host: test", with: "Host: test\r\nExpect: 100-continue"))
                #expect(answerStatuses(in: answer).last == 429, "\(answer)")
                #expect(answer.contains("1 recordings at the same time"))
                #expect(answer.lowercased().contains("retry-after"))
                // The limit does not affect another user.
                #expect(try await clinic.send(as: .therapist).status == 201)
                try await wire.send(first.recording + first.tail)
                #expect(try await wire.readResponse().status == 201)
            }
            #expect(try await clinic.send(as: .patient).status == 201)
            #expect(try await clinic.uploadedSessions() == 3)
        }
    }

    @Test("A broken upload no longer counts as parallel and is charged for the received bytes")
    func broken() async throws {
        try await withClinic(["UPLOAD_MAX_CONCURRENT_PER_USER": "1"]) { clinic async throws in
            let id = SessionID.random()
            let first = clinic.sample(size: 100_000, session: id)
            try await clinic.beginUpload(first, of: id, upTo: 20_000) { _ in }
            try await eventually("no upload counts as parallel") {
                try await clinic.database.query("SELECT FROM app.upload_charges WHERE leased_until IS NOT NULL").isEmpty
            }
            let charged = try await clinic.database.query("SELECT bytes FROM app.upload_charges")
            let row = try #require(charged.first)
            let bytes = try row.decode("bytes", as: Int64.self)
            #expect((0...21_000).contains(bytes))
            #expect(try await clinic.send(as: .patient).status == 201)
        }
    }

    @Test("The value 0 disables each limit")
    func none() async throws {
        let off = ["UPLOAD_MAX_CONCURRENT_PER_USER": "0", "UPLOADS_PER_HOUR": "0", "UPLOAD_QUOTA_BYTES": "0"]
        try await withClinic(off) { clinic async throws in
            for _ in 0..<5 { #expect(try await clinic.send(as: .patient).status == 201) }
        }
    }
}
