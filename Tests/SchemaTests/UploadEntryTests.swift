import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// How an upload and its session know each other, with the server's role.
@Suite("An upload and its session", .deadline) struct UploadEntryTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let sessions: SessionStore
        let progress: ProgressStore
        let patient: UserID
        let principal: Principal
        let session = SessionID.random()

        /// Begins an upload, the first or another one.
        func begin(again: Bool = false) async throws -> ExpectedRecording {
            let recording = ExpectedRecording(upload: UUID(), key: "\(UUID().uuidString.lowercased()).wav")
            if again {
                #expect(
                    try await sessions.beginAgain(
                        session, date: nil, filename: "b.wav", mediaType: "audio/wav", awaiting: recording,
                        as: principal))
            } else {
                #expect(
                    try await sessions.add(
                        session, patient: patient, therapist: nil, date: nil, filename: "a.wav", mediaType: "audio/wav",
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
                StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32)), from: recording, into: session,
                as: principal)
        }

        func discarded() async throws -> Set<String> {
            Set(
                try await database.query("SELECT recording FROM app.discarded_recordings WHERE removed_at IS NULL").map
                {
                    try $0.decode(0, as: String.self)
                })
        }

        /// Lets time pass for whatever is to be removed.
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

    @Test("its file is known before its first byte, and is the session's once it is entered")
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
            #expect(state.status == .pending && state.progress == 20)
            // It is entered once, and has nothing more to say.
            #expect(try await scene.enter(recording) == false)
            #expect(try await scene.report(recording, .failed) == false)
            // With the session goes the file.
            try await scene.database.query("DELETE FROM app.therapy_sessions")
            #expect(try await scene.discarded() == [recording.key])
        }
    }

    @Test("one whose place another has taken says nothing and enters nothing")
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

    @Test("one whose session was deleted says nothing of another that has taken the id since")
    func deleted() async throws {
        try await withScene { scene in
            let first = try await scene.begin()
            try await scene.database.query("DELETE FROM app.therapy_sessions")
            #expect(try await scene.report(first, .uploading) == false)
            #expect(try await scene.enter(first) == false)
            let second = try await scene.begin()
            #expect(try await scene.report(first, .failed) == false)
            #expect(try await scene.enter(first) == false)
            #expect(try await scene.sessions.hasEntered(first, into: scene.session) == false)
            #expect(try await scene.enter(second))
        }
    }

    @Test("what has lost the right to see its session enters nothing, and is still told what was entered")
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

    @Test("a question waits for who is about to enter it")
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

    @Test("a file is given out to be removed when nobody can write it any more, to one server, and again after an hour")
    func discarding() async throws {
        try await withScene { scene in
            let recording = try await scene.begin()
            let take = { @Sendable in try await scene.sessions.takeDiscardedRecordings() }
            #expect(try await take() == [])
            // Its upload is still heard of.
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
            // From then on it is too late.
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

    @Test("a session fails whose upload is not heard of any more, and not one that is only slow")
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
