import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("Limits and ends of resumable uploads", .deadline) struct ResumableLimitTests {
    @Test("A repeated creation gets the unfinished upload, and another recording gets 409")
    func repeatedCreation() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            for body in [nil, client.content] {
                let again = try await client.create(body: body)
                #expect(again.status == 201)
                #expect(again.headers["Location"] == [client.path])
                #expect(again.headers["Upload-Offset"] == ["400"])
            }
            let longer = ResumableClient(
                server: client.server, token: client.token, content: Data(count: 1001), patient: client.patient,
                session: client.session)
            expectProblem(try await longer.create(), 409, "conflict", detail: "session_id: ")
            var renamed = client
            renamed.filename = "other.wav"
            expectProblem(try await renamed.create(), 409, "conflict", detail: "session_id: ")
            #expect(try await clinic.uploadedSessions() == 1)
            #expect(try await client.patch(400..<1000).status == 204)
            expectProblem(try await client.create(), 409, "conflict", detail: "session_id: ")
            try await clinic.expectRecording(client)
        }
    }

    @Test("Parallel creations with one id make one upload")
    func parallelCreations() async throws {
        try await withClinic { clinic async throws in
            let client = clinic.resumable(1000)
            let answers = try await withThrowingTaskGroup(of: TestResponse.self) { group in
                for _ in 0..<4 { group.addTask { try await client.create() } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.map(\.status) == [201, 201, 201, 201])
            #expect(Set(answers.compactMap { $0.headers.first(name: "Location") }).count == 1)
            #expect(try await clinic.database.query("SELECT FROM app.resumable_uploads").count == 1)
        }
    }

    @Test("DELETE ends an upload, and the same account may use its id again", arguments: [true, false])
    func end(usesForm: Bool) async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            #expect(try await client.send(.DELETE).status == 204)
            #expect(try clinic.storedFiles() == [])
            let progress = try await clinic.progress(of: client.session)
            #expect(progress["status"] as? String == "failed")
            #expect(progress["error"] as? String == "The upload was cancelled.")
            #expect(try await client.send(.HEAD).status == 410)
            expectProblem(try await client.send(.DELETE), 410, "gone")
            let other = client.at(token: try await clinic.colleague())
            expectProblem(try await other.create(), 409, "conflict")
            if usesForm {
                let upload = Upload(patient: client.patient, file: .wav(size: 1000), session: client.session)
                #expect(try await clinic.upload(upload, as: .therapist).status == 201)
            } else {
                try await client.begin()
                #expect(try await client.patch(0..<1000).status == 204)
            }
            try await clinic.expectRecording(client)
            #expect(try await clinic.progress(of: client.session)["attempt"] as? Int == 2)
        }
    }

    @Test("An upload without a new byte expires, and its session fails")
    func expiry() async throws {
        try await withClinic(["UPLOAD_RESUME_TTL": "1.5"]) { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            try await eventually("the session has failed") {
                try await clinic.progress(of: client.session)["status"] as? String == "failed"
            }
            expectProblem(try await client.patch(400..<1000), 410, "gone")
            try await eventually("the expiry is counted") {
                try await clinic.scrape().value("therapybridge_uploads_expired_total") == 1
            }
            try await client.begin()
            #expect(try await client.patch(0..<1000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test(
        "The deletion of an uploading session ends its upload, in the middle of a request, too",
        arguments: [true, false])
    func deletion(isWriting: Bool) async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(100_000)
            try await client.begin()
            if isWriting {
                let answer = try await clinic.server.withWire { wire async throws in
                    try await wire.send(client.patchHead(0..<100_000))
                    try await wire.send(client.content.prefix(50_000))
                    try await eventually("the request writes") { try await !clinic.uploadHasNoWriter() }
                    #expect(
                        try await clinic.request(.DELETE, "/api/sessions/\(client.session)", as: .therapist).status
                            == 204)
                    try await wire.send(client.content.dropFirst(50_000))
                    return try await wire.readResponse()
                }
                expectProblem(answer, 410, "gone")
            } else {
                #expect(
                    try await clinic.request(.DELETE, "/api/sessions/\(client.session)", as: .therapist).status == 204)
            }
            #expect(try await client.send(.HEAD).status == 410)
            expectProblem(try await client.create(), 409, "conflict", detail: "deleted")
            #expect(try await clinic.uploadedSessions() == 0)
        }
    }

    @Test(
        "The cancellation of an uploading session ends its upload, in the middle of a request, too",
        arguments: [true, false])
    func cancellation(isWriting: Bool) async throws {
        try await withClinic { clinic async throws in
            // The therapist who began the upload, a colleague with the right to manage, and an administrator.
            for token in [clinic.token(.therapist), try await clinic.colleague(), clinic.token(.admin)] {
                var client = clinic.resumable(100_000)
                try await client.begin()
                let upload = client
                let cancel = { @Sendable in
                    let path = "/api/sessions/\(upload.session)/cancel"
                    let cancelled = try await clinic.server.request(.POST, path, token: token)
                    #expect(cancelled.status == 202)
                    #expect(try cancelled.json()["status"] as? String == "failed")
                    #expect(try cancelled.json()["error"] as? String == "Cancelled")
                    expectProblem(
                        try await clinic.server.request(.POST, path, token: token), 409, "conflict", detail: "failed")
                }
                if isWriting {
                    let answer = try await clinic.server.withWire { wire async throws in
                        try await wire.send(client.patchHead(0..<100_000))
                        try await wire.send(client.content.prefix(50_000))
                        try await eventually("the request writes") { try await !clinic.uploadHasNoWriter() }
                        try await cancel()
                        try await wire.send(client.content.dropFirst(50_000))
                        return try await wire.readResponse()
                    }
                    expectProblem(answer, 410, "gone")
                } else {
                    #expect(try await client.patch(0..<40_000).status == 204)
                    try await cancel()
                }
                #expect(try await client.send(.HEAD).status == 410)
                expectProblem(try await client.patch(40_000..<100_000), 410, "gone")
                expectProblem(try await client.send(.DELETE), 410, "gone")
                let progress = try await clinic.progress(of: client.session)
                #expect(progress["status"] as? String == "failed")
                #expect(progress["error"] as? String == "Cancelled")
                // The account that began it uploads again under the same id.
                try await client.begin()
                #expect(try await client.patch(0..<100_000).status == 204)
                #expect(try await clinic.progress(of: client.session)["status"] as? String == "pending")
                let recording = try await clinic.request(
                    .GET, "/api/sessions/\(client.session)/recording", as: .therapist)
                #expect(recording.body == client.content)
            }
            for caller in [Clinic.Caller.patient, .stranger, .otherPatient] {
                let client = clinic.resumable(1000)
                #expect(try await client.create().status == 201)
                let path = "/api/sessions/\(client.session)/cancel"
                expectProblem(try await clinic.request(.POST, path, as: caller), 403, "forbidden")
                #expect(try await clinic.progress(of: client.session)["status"] as? String == "uploading")
            }
        }
    }

    @Test("A limit counts what arrives, also what is not kept, and an idle upload is not under way")
    func limits() async throws {
        let environment = [
            "UPLOAD_MAX_BYTES": "10000", "UPLOAD_QUOTA_BYTES": "20000", "UPLOADS_PER_HOUR": "3",
            "UPLOAD_MAX_CONCURRENT_PER_USER": "1",
        ]
        try await withClinic(environment) { clinic async throws in
            var (first, second) = (clinic.resumable(9000), clinic.resumable(9000))
            // Neither creation is an upload under way, and no byte has arrived.
            try await first.begin()
            try await second.begin()
            #expect(try await first.patch(0..<4000).status == 204)
            for _ in 0..<2 {
                let wrong = try await first.patch(
                    4000..<8000, headers: ["Upload-Checksum": ResumableClient.checksum(Data())])
                expectProblem(wrong, 460, "checksum-mismatch")
            }
            let row = try #require(
                try await clinic.database.query("SELECT sum(bytes)::bigint FROM app.upload_charges").first)
            #expect(try row.decode(0, as: Int64.self) == 12_000)
            #expect(try await second.patch(0..<5000).status == 204)
            let limited = try await first.patch(4000..<9000)
            expectProblem(limited, 429, "too-many-requests", detail: "20000 bytes")
            #expect(limited.headers["Retry-After"].count == 1)
            #expect(try await first.offset() == 4000)
            #expect(try await first.patch(4000..<7000).status == 204)
            // The fourth upload of the hour.
            try await clinic.database.query("UPDATE app.upload_charges SET bytes = 0")
            var third = clinic.resumable(100)
            try await third.begin()
            expectProblem(try await clinic.resumable(100).create(), 429, "too-many-requests", detail: "in an hour")
            // One request at a time.
            try await clinic.server.withWire { wire async throws in
                try await wire.send(first.patchHead(7000..<9000))
                try await wire.send(first.content[7000..<8000])
                try await eventually("the request writes") { try await !clinic.uploadHasNoWriter() }
                expectProblem(try await third.patch(0..<100), 429, "too-many-requests", detail: "at the same time")
                try await wire.send(first.content[8000..<9000])
                #expect(try await wire.readResponse().status == 204)
            }
            #expect(try await third.patch(0..<100).status == 204)
        }
    }

    @Test(
        "A request that has ended is no longer under way, even if the database was slow to end it",
        arguments: [true, false])
    func endedRequest(isLast: Bool) async throws {
        try await withClinic(["UPLOAD_MAX_CONCURRENT_PER_USER": "1"]) { clinic async throws in
            var (first, second) = (clinic.resumable(1000), clinic.resumable(1000))
            try await first.begin()
            try await second.begin()
            // The server extends the lease each second. Such an attempt waits for the end of the hold, and finds no hold: it must not
            // conclude that another request has taken over, whose charge would stay.
            try await clinic.database.query(
                """
                CREATE FUNCTION app.slow_end() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END'
                """)
            try await clinic.database.query(
                """
                CREATE TRIGGER slow_end BEFORE UPDATE ON app.resumable_uploads FOR EACH ROW
                WHEN (OLD.writer IS NOT NULL AND NEW.writer IS NULL) EXECUTE FUNCTION app.slow_end()
                """)
            #expect(try await first.patch(0..<(isLast ? 1000 : 400)).status == 204)
            #expect(try await second.patch(0..<400).status == 204)
        }
    }

    // Bytes that a silent request had committed are gone with the upload. The next bytes then got 500.
    @Test(
        "An upload that was ended in the middle of a request is no longer under way once the request has ended",
        arguments: [false, true])
    func endedUpload(afterSilence: Bool) async throws {
        try await withClinic(["UPLOAD_MAX_CONCURRENT_PER_USER": "1"]) { clinic async throws in
            var (first, second) = (clinic.resumable(100_000), clinic.resumable(1000))
            try await first.begin()
            try await second.begin()
            let (ending, other) = (first, second)
            try await clinic.server.withWire { wire async throws in
                try await wire.send(ending.patchHead(0..<100_000))
                try await wire.send(ending.content.prefix(50_000))
                try await eventually("the request writes") { try await !clinic.uploadHasNoWriter() }
                if afterSilence {
                    try await eventually("what arrived is committed") { try await ending.offset() == 50_000 }
                }
                #expect(try await ending.send(.DELETE).status == 204)
                try await wire.send(ending.content.dropFirst(50_000))
                expectProblem(try await wire.readResponse(), 410, "gone")
                #expect(try await other.patch(0..<1000).status == 204)
            }
        }
    }

    @Test("The percentage of an upload grows with its bytes, and a continued one goes on from there")
    func percentage() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(100_000)
            try await client.begin()
            #expect(try await client.patch(0..<50_000).status == 204)
            #expect(try await clinic.progress(of: client.session)["progress"] as? Int == 10)
            #expect(try await client.patch(50_000..<75_000).status == 204)
            #expect(try await clinic.progress(of: client.session)["progress"] as? Int == 15)
        }
    }
}
