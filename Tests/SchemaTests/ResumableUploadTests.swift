import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// Resumable uploads in the database, with the server's role.
@Suite("Resumable uploads in the database", .deadline) struct ResumableUploadTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let pool: PostgresPool
        let uploads: UploadStore
        let sessions: SessionStore
        let progress: ProgressStore
        let patient: UserID
        let principal: Principal

        /// Creates an upload of the patient, of 100 bytes.
        func create(lifetime: Duration = .seconds(600)) async throws -> ResumableUpload {
            let upload = ResumableUpload(
                id: .random(), session: .random(), patient: patient, user: patient, metadata: "filename YQ==",
                length: 100,
                expiresAt: .now())
            #expect(
                try await uploads.create(
                    upload, lifetime: lifetime, key: "\(upload.id).parts", therapist: nil,
                    UploadedSession(filename: "a.wav"), again: false, as: principal,
                    from: UploadOrigin(requestID: .random()))
            )
            return upload
        }

        func admit(_ id: UploadID, _ writer: UUID, at offset: Int64 = 0) async throws -> ResumableUpload.Admission? {
            try await uploads.change(id, as: principal) { upload, now in
                upload.admit(writer, at: offset, now: now)
            }?.decision
        }

        func commit(_ id: UploadID, _ writer: UUID, _ name: String, _ count: Int64) async throws -> Bool? {
            try await uploads.change(id, as: principal) { upload, now in
                upload.commit(
                    .init(name: name, byteCount: count), replacing: nil, isRecognized: true, by: writer, now: now,
                    lifetime: .seconds(600))
            }?.decision
        }

        func state(_ id: UploadID) async throws -> String? {
            try await database.query("SELECT state FROM app.resumable_uploads WHERE id = \(id)").first?
                .decode("state", as: String.self)
        }

        func status(_ upload: ResumableUpload) async throws -> SessionStatus? {
            try await progress.progress(of: upload.session, as: principal)?.status
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let signIn = try await database.addSignIn(of: patient)
            try await database.withServerPool(size: 4) { pool in
                try await body(
                    Scene(
                        database: database, pool: pool, uploads: UploadStore(pool: pool),
                        sessions: SessionStore(pool: pool),
                        progress: ProgressStore(pool: pool), patient: patient,
                        principal: Principal(user: patient, signIn: signIn)))
            }
        }
    }

    @Test("An upload is read as it was written, and its session is uploading from the creation on")
    func way() async throws {
        try await withScene { scene async throws in
            let upload = try await scene.create()
            #expect(try await scene.status(upload) == .uploading)
            let writer = UUID()
            #expect(try await scene.admit(upload.id, writer) == .admitted)
            #expect(try await scene.commit(upload.id, writer, "a", 60) == true)
            #expect(try await scene.commit(upload.id, writer, "b", 10) == true)
            let read = try #require(try await scene.uploads.upload(upload.id, as: scene.principal)).upload
            #expect(read.offset == 70)
            #expect(read.parts == [.init(name: "a", byteCount: 60), .init(name: "b", byteCount: 10)])
            #expect(read.isRecognized)
            #expect(read.lease?.writer == writer)
            #expect(read.metadata == "filename YQ==")
            let expected = ExpectedRecording(upload: upload.id.rawValue, key: "whole")
            #expect(try await scene.uploads.expect(expected, of: upload.session, as: scene.principal))
            let stored = StoredRecording(bytes: 100, sha256: [UInt8](repeating: 1, count: 32), format: .wav)
            for (who, isComplete) in [(UUID(), false), (writer, true), (writer, false)] {
                #expect(
                    try await scene.uploads.complete(
                        upload.id, by: who, lifetime: .seconds(600), with: stored, of: upload.session,
                        as: scene.principal) == isComplete)
            }
            #expect(try await scene.status(upload) == .pending)
            #expect(try await scene.state(upload.id) == "complete")
        }
    }

    @Test("The end of a request ends its charge, but not that of a request that has taken over")
    func release() async throws {
        try await withScene { scene async throws in
            let charges = UploadChargeStore(pool: scene.pool)
            let limits = UploadLimits(atOnce: 1, perHour: 0, bytesPerDay: 0)
            let upload = try await scene.create()
            let (first, second) = (UUID(), UUID())
            let release = { @Sendable (writer: UUID) in
                try await scene.uploads.release(upload.id, by: writer, charging: 10, as: scene.principal)
            }
            let isUnderWay = { @Sendable () async throws -> Bool in
                do {
                    // The request's server lives.
                    try await charges.keep(upload.id.rawValue)
                    let other = UUID()
                    try await charges.charge(other, of: scene.patient, bytes: 1, limits: limits)
                    try await charges.end(other, bytes: nil)
                    return false
                } catch is UploadRefusal { return true }
            }
            #expect(try await scene.admit(upload.id, first) == .admitted)
            try await charges.chargeRequest(of: upload.id.rawValue, of: scene.patient, bytes: 100, limits: limits)
            #expect(try await isUnderWay())
            // The first request has fallen silent.
            try await scene.database.query(
                "UPDATE app.resumable_uploads SET heard_at = heard_at - interval '6 seconds' WHERE id = \(upload.id)")
            #expect(try await scene.admit(upload.id, second) == .admitted)
            #expect(try await release(first)?.lease?.writer == second)
            #expect(try await isUnderWay())
            let after = try #require(try await release(second))
            #expect(after.lease == nil)
            #expect(try await !isUnderWay())
            let row = try #require(
                try await scene.database.query("SELECT bytes, reserved FROM app.upload_charges").first)
            #expect(try row.decode("bytes", as: Int64.self) == 20)
            #expect(try row.decode("reserved", as: Int64.self) == 0)
        }
    }

    @Test("The database refuses to lose bytes, to open an upload again, and a second upload of a session")
    func guarded() async throws {
        try await withScene { scene async throws in
            let upload = try await scene.create()
            let writer = UUID()
            #expect(try await scene.admit(upload.id, writer) == .admitted)
            #expect(try await scene.commit(upload.id, writer, "a", 60) == true)
            for change in [
                "arrived = 50, part_bytes = '{50}'", "part_bytes = '{61}'", "arrived = 70", "arrived = 101",
                "writer = NULL", "state = 'complete'", "parts = '{}'",
            ] {
                let error = await #expect(throws: PostgresError.self, "\(change)") {
                    try await scene.database.query("UPDATE app.resumable_uploads SET \(unescaped: change)")
                }
                #expect(error?.sqlState == .checkViolation, "\(change)")
            }
            let error = await #expect(throws: PostgresError.self) {
                try await scene.database.query(
                    """
                    INSERT INTO app.resumable_uploads (id, session_id, patient_id, user_id, metadata, length, expires_at)
                    SELECT gen_random_uuid(), session_id, patient_id, user_id, '', 1, now() FROM app.resumable_uploads
                    """)
            }
            #expect(error?.sqlState == .uniqueViolation)
            try await scene.database.query(
                """
                UPDATE app.resumable_uploads
                SET state = 'ended', writer = NULL, leased_until = NULL, heard_at = NULL
                """)
            await #expect(throws: PostgresError.self) {
                try await scene.database.query("UPDATE app.resumable_uploads SET state = 'open'")
            }
        }
    }

    @Test("An upload ends with its session, however the session fails or goes")
    func endings() async throws {
        try await withScene { scene async throws in
            let ways: [PostgresQuery] = [
                "DELETE FROM app.therapy_sessions",
                "UPDATE app.session_progress SET status = 'failed', error = 'Cancelled'",
            ]
            for way in ways {
                let upload = try await scene.create()
                let writer = UUID()
                #expect(try await scene.admit(upload.id, writer) == .admitted)
                try await scene.database.query(way)
                #expect(try await scene.state(upload.id) == "ended")
                #expect(try await scene.commit(upload.id, writer, "a", 60) == false)
                #expect(try await scene.admit(upload.id, UUID()) == .gone)
            }
        }
    }

    @Test("Expiry ends an upload without a writer, fails its session, and lets its files be removed")
    func expiry() async throws {
        try await withScene { scene async throws in
            let (upload, other) = (try await scene.create(), try await scene.create())
            let writer = UUID()
            #expect(try await scene.admit(upload.id, writer) == .admitted)
            #expect(try await scene.uploads.expire() == 0)
            // The lease outlasts the test on a loaded machine too.
            try await scene.database.query(
                """
                UPDATE app.resumable_uploads
                SET expires_at = now() - interval '1 second', leased_until = now() + interval '1 hour'
                WHERE id = \(upload.id.rawValue)
                """)
            #expect(try await scene.uploads.expire() == 0)
            try await scene.database.query(
                "UPDATE app.discarded_recordings SET discarded_at = now() - interval '1 day'")
            #expect(try await scene.sessions.takeDiscardedRecordings() == [])
            try await scene.database.query(
                "UPDATE app.resumable_uploads SET leased_until = now() - interval '1 second' WHERE writer IS NOT NULL")
            #expect(try await scene.uploads.expire(other.id) == 0)
            #expect(try await scene.uploads.expire() == 1)
            #expect(try await scene.state(upload.id) == "ended")
            #expect(try await scene.status(upload) == .failed)
            #expect(try await scene.status(other) == .uploading)
            #expect(try await scene.sessions.takeDiscardedRecordings() == ["\(upload.id).parts"])
            // The row answers for a while, and goes then.
            try await scene.uploads.forgetOld(age: .seconds(600))
            #expect(try await scene.state(upload.id) == "ended")
            try await scene.uploads.forgetOld(age: .zero)
            #expect(try await scene.state(upload.id) == nil)
            #expect(try await scene.state(other.id) == "open")
        }
    }

    @Test("An abandoned upload by the form fails, and an unfinished resumable one does not")
    func abandoned() async throws {
        try await withScene { scene async throws in
            let upload = try await scene.create()
            try await scene.database.withConnection {
                try await $0.executeScript(
                    """
                    SET session_replication_role = replica;
                    UPDATE app.session_progress SET updated_at = now() - interval '1 day';
                    """)
            }
            #expect(try await scene.progress.failAbandonedUploads(olderThan: .seconds(600)) == 0)
            #expect(
                try await scene.sessions.failSilentUpload(
                    of: upload.session, silentFor: .zero, as: scene.principal) == false)
            #expect(try await scene.status(upload) == .uploading)
        }
    }
}
