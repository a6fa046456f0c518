import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

@Suite("Rights to a resumable upload", .deadline) struct ResumableRightTests {
    @Test("Nobody but the user who began an upload can see, continue or end it; an administrator can end it")
    func others() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            // The colleague and the patient may upload for this patient, too.
            var others = [
                client.at(token: try await clinic.colleague()), client.at(token: clinic.token(.patient)),
                client.at(token: clinic.token(.otherPatient)), client.at(token: clinic.token(.stranger)),
                client.at(token: clinic.token(.pipeline)),
            ]
            let admin = client.at(token: clinic.token(.admin))
            for other in others + [admin] {
                let head = try await other.send(.HEAD)
                #expect(head.status == 404)
                #expect(head.headers["Upload-Offset"].isEmpty)
                expectProblem(try await other.patch(400..<1000), 404, "not-found")
            }
            for other in others { expectProblem(try await other.send(.DELETE), 404, "not-found") }
            // The same creation by another user of the patient reveals nothing of the upload.
            others.removeLast(3)
            for other in others {
                let answer = try await other.create()
                expectProblem(answer, 409, "conflict", detail: "session_id: ")
                #expect(answer.headers["Location"].isEmpty)
                #expect(answer.headers["Upload-Offset"].isEmpty)
            }
            #expect(try await client.offset() == 400)
            #expect(try await admin.send(.DELETE).status == 204)
            expectProblem(try await client.patch(400..<1000), 410, "gone")
            #expect(try await clinic.progress(of: client.session)["status"] as? String == "failed")
            let ended = try await clinic.database.audit("action = 'upload.end'")
            #expect(ended.map(\.user) == [clinic.id(.admin)])
            #expect(ended.map(\.session) == [client.session])
        }
    }

    @Test("A form with the id of another account's unfinished upload gets 409, and neither sees, continues nor ends it")
    func formOfAnother() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            let before = try await clinic.progress(of: client.session)
            // Both may upload for this patient.
            for token in [try await clinic.colleague(), clinic.token(.patient), clinic.token(.admin)] {
                for file in [
                    UploadFile("Sitzung.wav", "audio/wav", Array(client.content), size: 1000), .wav(size: 5000),
                ] {
                    let upload = Upload(patient: client.patient, file: file, session: client.session)
                    let answer = try await clinic.server.request(
                        .POST, "/api/sessions/upload", token: token, headers: ["Content-Type": Upload.contentType],
                        body: upload.body)
                    expectProblem(answer, 409, "conflict", detail: "session_id: belongs to another session.")
                    for header in ["Location", "Content-Location", "Upload-Offset", "Retry-After"] {
                        #expect(answer.headers[header].isEmpty, "\(header)")
                    }
                }
            }
            #expect(try await clinic.progress(of: client.session) as NSDictionary == before as NSDictionary)
            let refused = try await clinic.database.audit("action = 'session.upload' AND NOT is_allowed")
            #expect(Set(refused.map(\.session)) == [client.session])
            #expect(try await client.offset() == 400)
            #expect(try await client.patch(400..<1000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("The database itself shows an upload to no other user, and lets no other change it")
    func rowSecurity() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            try await clinic.database.withConnection { connection async throws in
                for (caller, isShown) in [
                    (Clinic.Caller.therapist, true), (.patient, false), (.admin, true), (.stranger, false),
                ] {
                    try await connection.withTransaction { connection async throws in
                        _ = try await connection.query(
                            """
                            SELECT set_config('app.user_id', \(clinic.id(caller).description), true),
                                   set_config('app.sign_in_id', (SELECT id::text FROM app.auth_sessions
                                                                 WHERE user_id = \(clinic.id(caller).rawValue) LIMIT 1), true)
                            """)
                        try await connection.executeScript("SET LOCAL ROLE therapybridge_server")
                        let rows = try await connection.query("SELECT FROM app.resumable_uploads")
                        #expect(rows.count == (isShown ? 1 : 0), "\(caller)")
                        let changed = try await connection.execute(
                            "UPDATE app.resumable_uploads SET expires_at = expires_at")
                        #expect(changed == (caller == .therapist ? 1 : 0), "\(caller)")
                    }
                }
            }
        }
    }

    @Test("A user who may no longer upload for the patient gets 404, and none of the later bytes are kept")
    func assignmentEnds() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(200_000)
            try await client.begin()
            #expect(try await client.patch(0..<1000).status == 204)
            try await clinic.database.endAssignment(of: clinic.id(.therapist), to: clinic.id(.patient))
            #expect(try await client.send(.HEAD).status == 404)
            expectProblem(try await client.patch(1000..<200_000), 404, "not-found")
            expectProblem(try await client.send(.DELETE), 404, "not-found")
            expectProblem(try await client.create(), 403, "forbidden")
            let rows = try await clinic.database.query("SELECT arrived, state FROM app.resumable_uploads")
            #expect(try rows[0].decode("arrived", as: Int64.self) == 1000)
            #expect(try rows[0].decode("state", as: String.self) == "open")
        }
    }

    @Test("A sign-in that ends in the middle of a request ends the request, and the next sign-in continues")
    func signInEnds() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(500_000)
            try await client.begin()
            let (token, signIn) = try await clinic.server.signIn(clinic.id(.therapist))
            let other = client.at(token: token)
            let answer = try await clinic.server.withWire { wire async throws in
                try await wire.send(other.patchHead(0..<500_000))
                try await wire.send(client.content.prefix(1000))
                // A silent client gets its bytes committed.
                try await eventually("the first bytes are committed") { try await client.offset() == 1000 }
                try await clinic.database.query(
                    "UPDATE app.auth_sessions SET revoked_at = now() WHERE id = \(signIn.rawValue)")
                // Its server cannot extend the lease any more.
                try await eventually("the lease has run out") { try await clinic.uploadHasNoWriter() }
                try await wire.send(client.content[1000..<100_000])
                return try await wire.readResponse()
            }
            expectProblem(answer, 401, "unauthorized")
            #expect(try await client.offset() == 1000)
            #expect(try await client.patch(1000..<500_000).status == 204)
            try await clinic.expectRecording(client)
        }
    }

    @Test("An upload and its ends are in the audit log")
    func audit() async throws {
        try await withClinic { clinic async throws in
            var client = clinic.resumable(1000)
            try await client.begin()
            #expect(try await client.patch(0..<400).status == 204)
            #expect(try await client.send(.HEAD).status == 200)
            #expect(try await client.send(.DELETE).status == 204)
            for action in ["session.upload", "upload.resume", "upload.end"] {
                let records = try await clinic.database.audit("action = '\(action)'")
                #expect(records.map(\.user) == [clinic.id(.therapist)], "\(action)")
                #expect(records.map(\.session) == [client.session], "\(action)")
                #expect(records.map(\.patient) == [clinic.id(.patient)], "\(action)")
                #expect(records.map(\.isAllowed) == [true], "\(action)")
            }
        }
    }
}

extension Clinic {
    /// True if no request writes an upload.
    func uploadHasNoWriter() async throws -> Bool {
        try await database.query(
            "SELECT FROM app.resumable_uploads WHERE writer IS NOT NULL AND leased_until > clock_timestamp()"
        ).isEmpty
    }
}
