import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// What an attacker with the server's role can do as a patient.
@Suite(.deadline) struct RecordingSecurityTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let sessions: SessionStore
        let pool: PostgresPool
        /// The acting user, and another user.
        let principal: Principal
        let other: Principal
        /// A session of the other user, with its recording.
        let session = SessionID.random()
        let recording = ExpectedRecording(upload: UUID(), key: "theirs.wav")

        /// The SQLSTATE of a statement of the acting user; nil if the database did not refuse it.
        func refusal(of statement: PostgresQuery) async -> SQLState? {
            do {
                _ = try await pool.withConnection { try await $0.query(statement, as: principal) }
                return nil
            } catch {
                return (error as? PostgresError)?.sqlState
            }
        }

        func add(_ session: SessionID, awaiting recording: ExpectedRecording, as who: Principal) async throws {
            #expect(
                try await sessions.add(
                    session, patient: who.user, therapist: nil, UploadedSession(filename: "a.wav"),
                    awaiting: recording, as: who))
        }
    }

    private func withScene(_ body: @escaping @Sendable (Scene) async throws -> Void) async throws {
        try await withDatabase { database in
            func signedIn() async throws -> Principal {
                let user = try await database.addUser(.patient)
                return Principal(user: user, signIn: try await database.addSignIn(of: user))
            }
            let (principal, other) = (try await signedIn(), try await signedIn())
            try await database.withServerPool(size: 2) { pool in
                let scene = Scene(
                    database: database, sessions: SessionStore(pool: pool), pool: pool, principal: principal,
                    other: other)
                try await scene.add(scene.session, awaiting: scene.recording, as: other)
                let stored = StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32), format: .wav)
                #expect(try await scene.sessions.enter(stored, from: scene.recording, into: scene.session, as: other))
                try await body(scene)
            }
        }
    }

    @Test("A user can neither attach nor expect the recording of another user")
    func otherRecording() async throws {
        try await withScene { scene in
            let (user, key) = (scene.principal.user, scene.recording.key)
            for column in ["recording", "upload_key"] {
                let state = await scene.refusal(
                    of:
                        """
                        INSERT INTO app.therapy_sessions (patient_id, uploaded_by, upload_id, \(unescaped: column))
                        VALUES (\(user), \(user), gen_random_uuid(), \(key))
                        """)
                #expect(state == (column == "recording" ? .insufficientPrivilege : .uniqueViolation))
            }
            let own = SessionID.random()
            try await scene.add(own, awaiting: ExpectedRecording(upload: UUID(), key: "own.wav"), as: scene.principal)
            #expect(
                await scene.refusal(of: "UPDATE app.therapy_sessions SET recording = \(key) WHERE id = \(own)")
                    == .insufficientPrivilege)
            #expect(
                await scene.refusal(of: "UPDATE app.therapy_sessions SET upload_key = \(key) WHERE id = \(own)")
                    == .uniqueViolation)
            #expect(try await scene.sessions.recording(of: scene.session, as: scene.other)?.key == key)
        }
    }

    @Test("A user cannot upload in the name of another")
    func otherName() async throws {
        try await withScene { scene in
            for uploader in [scene.other.user, nil] {
                let state = await scene.refusal(
                    of:
                        """
                        INSERT INTO app.therapy_sessions (patient_id, uploaded_by)
                        VALUES (\(scene.principal.user), \(uploader))
                        """)
                #expect(state == .insufficientPrivilege)
            }
        }
    }

    @Test("A user cannot attach the upload of another")
    func otherUpload() async throws {
        try await withScene { scene in
            let (session, recording) = (SessionID.random(), ExpectedRecording(upload: UUID(), key: "next.wav"))
            try await scene.add(session, awaiting: recording, as: scene.other)
            let stored = StoredRecording(bytes: 1, sha256: [UInt8](repeating: 2, count: 32), format: .wav)
            #expect(try await !scene.sessions.enter(stored, from: recording, into: session, as: scene.principal))
            #expect(
                try await !scene.sessions.enter(
                    stored, from: recording, into: session,
                    as: Principal(user: scene.other.user, signIn: scene.principal.signIn)))
            #expect(try await scene.sessions.enter(stored, from: recording, into: session, as: scene.other))
        }
    }

    @Test("Only its own upload can give up a file, until the file is due for removal")
    func givingUp() async throws {
        try await withScene { scene in
            func expected() async throws -> ExpectedRecording {
                let recording = ExpectedRecording(upload: UUID(), key: "\(UUID().uuidString.lowercased()).wav")
                try await scene.add(.random(), awaiting: recording, as: scene.principal)
                return recording
            }
            func isKnown(_ recording: ExpectedRecording) async throws -> Bool {
                try await !scene.database.query(
                    "SELECT FROM app.discarded_recordings WHERE recording = \(recording.key) AND removed_at IS NULL"
                ).isEmpty
            }
            let (first, second) = (try await expected(), try await expected())
            for upload in [nil, second.upload] {
                try await scene.sessions.noteRemoval(recording: first.key, of: upload)
                #expect(try await isKnown(first))
            }
            try await scene.sessions.noteRemoval(recording: first.key, of: first.upload)
            #expect(try await !isKnown(first))

            // A slow upload is under way although its file is due for removal.
            try await scene.database.query(
                """
                INSERT INTO app.upload_charges (id, user_id, bytes, leased_until)
                VALUES (\(second.upload), \(scene.principal.user), 1, now() + interval '1 minute')
                """)
            try await scene.database.query(
                "UPDATE app.discarded_recordings SET discarded_at = discarded_at - interval '1 hour'")
            try await scene.sessions.noteRemoval(recording: second.key)
            #expect(try await isKnown(second))
            try await scene.database.query("UPDATE app.upload_charges SET leased_until = NULL")
            try await scene.sessions.noteRemoval(recording: second.key)
            #expect(try await !isKnown(second))

            // The deletion of a session lists its file for removal.
            try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(scene.session)")
            #expect(try await isKnown(scene.recording))
            try await scene.sessions.noteRemoval(recording: scene.recording.key)
            #expect(try await !isKnown(scene.recording))
            // Whether the file is removed or not, no other recording can get the key.
            #expect(
                await scene.refusal(
                    of:
                        """
                        INSERT INTO app.therapy_sessions (patient_id, uploaded_by, upload_id, upload_key)
                        VALUES (\(scene.principal.user), \(scene.principal.user), gen_random_uuid(), \(scene.recording.key))
                        """) == .uniqueViolation)
            #expect(try await scene.sessions.takeDiscardedRecordings() == [])
        }
    }

    @Test("A session with a recording keeps its file name and its date")
    func uploaded() async throws {
        try await withScene { scene in
            let own = SessionID.random()
            let recording = ExpectedRecording(upload: UUID(), key: "own.wav")
            try await scene.add(own, awaiting: recording, as: scene.principal)
            let change: PostgresQuery = "UPDATE app.therapy_sessions SET filename = 'other' WHERE id = \(own)"
            #expect(await scene.refusal(of: change) == nil)
            let stored = StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32), format: .wav)
            #expect(try await scene.sessions.enter(stored, from: recording, into: own, as: scene.principal))
            #expect(
                await scene.refusal(of: "UPDATE app.therapy_sessions SET filename = 'third' WHERE id = \(own)") == nil)
            let row = try await scene.database.query("SELECT filename FROM app.therapy_sessions WHERE id = \(own)")[0]
            #expect(try row.decode("filename", as: String.self) == "other")
        }
    }

    @Test("Two sessions cannot have the same recording, from any writer")
    func oneSession() async throws {
        try await withScene { scene in
            let error = await #expect(throws: PostgresError.self) {
                try await scene.database.query(
                    """
                    INSERT INTO app.therapy_sessions (patient_id, recording)
                    VALUES (\(scene.principal.user), \(scene.recording.key))
                    """)
            }
            #expect(error?.sqlState == .uniqueViolation)
        }
    }

    @Test("The log has every added or deleted session, even if the server did not record it")
    func unannounced() async throws {
        try await withDatabase { database in
            let (user, patient) = (try await database.addUser(.admin), try await database.addUser(.patient))
            let admin = Principal(user: user, signIn: try await database.addSignIn(of: user))
            try await database.withServerPool(size: 1) { pool in
                let (sessions, audit) = (SessionStore(pool: pool), AuditStore(pool: pool))
                for isAnnounced in [false, true] {
                    let session = SessionID.random()
                    func announce(_ action: AuditAction) async throws {
                        guard isAnnounced else { return }
                        try await audit.record(
                            AuditedAccess(action, by: admin, session: session, patient: patient), isAllowed: true,
                            requestID: .random())
                    }
                    try await announce(.upload)
                    #expect(
                        try await sessions.add(
                            session, patient: patient, therapist: nil, UploadedSession(filename: "a"),
                            awaiting: ExpectedRecording(upload: UUID(), key: "\(session).wav"), as: admin))
                    try await announce(.delete)
                    #expect(try await sessions.delete(session, as: admin))
                    let records = try await database.audit("session_id = '\(session)'")
                    #expect(
                        records.map(\.action)
                            == [isAnnounced ? "session.upload" : "session.add", "session.delete"])
                    #expect(records.allSatisfy { $0.user == admin.user })
                    #expect(records.allSatisfy { $0.patient == patient })
                }
            }
        }
    }
}
