import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// An upload and its session, with the server's role.
@Suite(.deadline) struct UploadEntryTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let sessions: SessionStore
        let progress: ProgressStore
        let patient: UserID
        let principal: Principal
        let session = SessionID.random()

        /// Begins an upload of the session, the first one or another.
        func begin(again: Bool = false) async throws -> ExpectedRecording {
            let recording = ExpectedRecording(upload: UUID(), key: "\(UUID().uuidString.lowercased()).wav")
            if again {
                #expect(
                    try await sessions.beginAgain(
                        session, patient: patient, UploadedSession(filename: "b.wav"), awaiting: recording,
                        as: principal))
            } else {
                #expect(
                    try await sessions.add(
                        session, patient: patient, therapist: nil, UploadedSession(filename: "a.wav"),
                        awaiting: recording, as: principal))
            }
            return recording
        }

        func report(_ recording: ExpectedRecording, _ status: SessionStatus, _ percentage: Int = 0) async throws -> Bool
        {
            try await progress.reportUpload(
                recording.upload, of: session, status: status, progress: percentage,
                error: status == .failed ? "broken" : nil)
        }

        func enter(_ recording: ExpectedRecording) async throws -> Bool {
            try await sessions.enter(
                StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32), format: .wav), from: recording,
                into: session,
                as: principal)
        }

        func discarded() async throws -> Set<String> {
            Set(
                try await database.query("SELECT recording FROM app.discarded_recordings WHERE removed_at IS NULL").map
                {
                    try $0.decode(0, as: String.self)
                })
        }

        /// Moves the times of files for removal and of uploads into the past.
        func passes(_ time: String) async throws {
            try await database.query(
                """
                UPDATE app.discarded_recordings
                SET discarded_at = discarded_at - \(time)::interval, taken_at = taken_at - \(time)::interval
                """)
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let signIn = try await database.addSignIn(of: patient)
            try await database.withServerPool(size: 4) { pool in
                try await body(
                    Scene(
                        database: database, sessions: SessionStore(pool: pool), progress: ProgressStore(pool: pool),
                        patient: patient, principal: Principal(user: patient, signIn: signIn)))
            }
        }
    }

    @Test("The database knows the file of an upload before its first byte, until the recording is attached")
    func way() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            #expect(try await scene.discarded() == [recording.key])
            #expect(try await scene.report(recording, .uploading, 10))
            #expect(try await scene.sessions.hasEntered(recording, into: scene.session) == false)
            #expect(try await scene.enter(recording))
            #expect(try await scene.sessions.hasEntered(recording, into: scene.session))
            #expect(try await scene.discarded() == [])
            let state = try #require(try await scene.progress.progress(of: scene.session))
            #expect(state.status == .pending)
            #expect(state.progress == 20)
            // An upload attaches its recording once, and can report no more.
            #expect(try await scene.enter(recording) == false)
            #expect(try await scene.report(recording, .failed) == false)
            // The deletion of the session lists the file for removal.
            try await scene.database.query("DELETE FROM app.therapy_sessions")
            #expect(try await scene.discarded() == [recording.key])
        }
    }

    @Test("An upload that another one has replaced can neither report nor attach")
    func superseded() async throws {
        try await withScene { scene in
            let first = try await scene.begin()
            #expect(try await scene.report(first, .failed))
            let second = try await scene.begin(again: true)
            for status in [SessionStatus.uploading, .failed] { #expect(try await scene.report(first, status) == false) }
            #expect(try await scene.enter(first) == false)
            #expect(try await scene.report(second, .uploading))
            #expect(try await scene.enter(second))
            #expect(try await scene.discarded() == [first.key])
        }
    }

    @Test("An upload of a deleted session can neither report nor attach, and no session gets its id")
    func deleted() async throws {
        try await withScene { scene in
            let first = try await scene.begin()
            try await scene.database.query("DELETE FROM app.therapy_sessions")
            #expect(try await scene.report(first, .uploading) == false)
            #expect(try await scene.enter(first) == false)
            let error = await #expect(throws: PostgresError.self) { try await scene.begin() }
            #expect(error?.sqlState == .deletedSessionID)
            #expect(try await scene.report(first, .failed) == false)
            #expect(try await scene.enter(first) == false)
            #expect(try await scene.sessions.hasEntered(first, into: scene.session) == false)
            #expect(try await scene.discarded() == [first.key])
        }
    }

    @Test("An uploader without a right can no longer attach, but still learns what was attached")
    func rights() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            try await scene.database.query("UPDATE app.auth_sessions SET revoked_at = now()")
            #expect(try await scene.enter(recording) == false)
            try await scene.database.query("UPDATE app.auth_sessions SET revoked_at = NULL")
            #expect(try await scene.enter(recording))
            try await scene.database.query("UPDATE app.auth_sessions SET revoked_at = now()")
            #expect(try await scene.sessions.hasEntered(recording, into: scene.session))
        }
    }

    @Test("hasEntered waits for a transaction that is about to attach the recording")
    func settled() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            let answer = try await scene.database.withConnection { holder in
                try await holder.withTransaction { holder in
                    _ = try await holder.query(
                        "UPDATE app.therapy_sessions SET recording = upload_key WHERE id = \(scene.session)")
                    let answer = Task { try await scene.sessions.hasEntered(recording, into: scene.session) }
                    try await eventually("a statement waits for a lock") {
                        try await !scene.database.query(
                            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                        ).isEmpty
                    }
                    return answer
                }
            }
            #expect(try await answer.value)
        }
    }

    @Test("A file is due for removal when no upload can write it, for one server, and again after an hour")
    func discarding() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            let take = { @Sendable in try await scene.sessions.takeDiscardedRecordings() }
            #expect(try await take() == [])
            // Its upload is still under way.
            try await scene.database.query(
                """
                INSERT INTO app.upload_charges (id, user_id, bytes, leased_until)
                VALUES (\(recording.upload), \(scene.patient), 1, now())
                """)
            try await scene.passes("1 day")
            #expect(try await take() == [])
            try await scene.database.query("UPDATE app.upload_charges SET leased_until = now() - interval '11 minutes'")
            let taken = try await withThrowingTaskGroup(of: [String].self) { group in
                for _ in 0..<4 { group.addTask { try await take() } }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(taken == [recording.key])
            // The upload can no longer attach it.
            #expect(try await scene.enter(recording) == false)
            try await scene.passes("59 minutes")
            #expect(try await take() == [])
            try await scene.passes("2 minutes")
            #expect(try await take() == [recording.key])
            try await scene.sessions.noteRemoval(recording: recording.key)
            try await scene.passes("2 hours")
            #expect(try await take() == [])
        }
    }

    @Test("A session fails if its upload is dead, and not if it is slow")
    func abandoned() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            #expect(try await scene.report(recording, .uploading))
            try await scene.database.query(
                """
                INSERT INTO app.upload_charges (id, user_id, bytes, leased_until)
                VALUES (\(recording.upload), \(scene.patient), 1, now())
                """)
            try await scene.database.withConnection {
                try await $0.executeScript(
                    """
                    SET session_replication_role = replica;
                    UPDATE app.session_progress SET updated_at = now() - interval '1 day';
                    """)
            }
            #expect(try await scene.progress.failAbandonedUploads(olderThan: .seconds(600)) == 0)
            try await scene.database.query("UPDATE app.upload_charges SET leased_until = now() - interval '11 minutes'")
            #expect(try await scene.progress.failAbandonedUploads(olderThan: .seconds(600)) == 1)
            #expect(try await scene.progress.progress(of: scene.session)?.status == .failed)
        }
    }
}
