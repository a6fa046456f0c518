import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// What is left to somebody who has the server's role, and acts by it as a patient.
@Suite("With the server's role alone", .deadline) struct RecordingSecurityTests {
    private struct Scene: Sendable {
        let database: TestDatabase
        let sessions: SessionStore
        let pool: PostgresPool
        /// Who acts, and somebody else.
        let principal: Principal
        let other: Principal
        /// A session of the other, with its recording.
        let session = SessionID.random()
        let recording = ExpectedRecording(upload: UUID(), key: "theirs.wav")

        /// What becomes of a statement of the acting patient's.
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
                    session, patient: who.user, therapist: nil, date: nil, filename: "a.wav", mediaType: "audio/wav",
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
                let stored = StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32))
                #expect(try await scene.sessions.enter(stored, from: scene.recording, into: scene.session, as: other))
                try await body(scene)
            }
        }
    }

    @Test("a recording of somebody else's is neither entered into another session nor expected by one")
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

    @Test("nothing is uploaded in another's name")
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

    @Test("another's upload is not entered")
    func otherUpload() async throws {
        try await withScene { scene in
            let (session, recording) = (SessionID.random(), ExpectedRecording(upload: UUID(), key: "next.wav"))
            try await scene.add(session, awaiting: recording, as: scene.other)
            let stored = StoredRecording(bytes: 1, sha256: [UInt8](repeating: 2, count: 32))
            #expect(try await !scene.sessions.enter(stored, from: recording, into: session, as: scene.principal))
            #expect(
                try await !scene.sessions.enter(
                    stored, from: recording, into: session,
                    as: Principal(user: scene.other.user, signIn: scene.principal.signIn)))
            #expect(try await scene.sessions.enter(stored, from: recording, into: session, as: scene.other))
        }
    }

    @Test("a file is given up by the upload that was to bring it, or once it was due to be removed, and no sooner")
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

            // A slow upload is under way although its time is over.
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

            // What a session had goes with it.
            try await scene.database.query("DELETE FROM app.therapy_sessions WHERE id = \(scene.session)")
            #expect(try await isKnown(scene.recording))
            try await scene.sessions.noteRemoval(recording: scene.recording.key)
            #expect(try await !isKnown(scene.recording))
            // Whether its file is gone or not: the key is nobody's any more.
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

    @Test("what is uploaded keeps its name and its date")
    func uploaded() async throws {
        try await withScene { scene in
            let own = SessionID.random()
            let recording = ExpectedRecording(upload: UUID(), key: "own.wav")
            try await scene.add(own, awaiting: recording, as: scene.principal)
            let change: PostgresQuery = "UPDATE app.therapy_sessions SET filename = 'other' WHERE id = \(own)"
            #expect(await scene.refusal(of: change) == nil)
            let stored = StoredRecording(bytes: 7, sha256: [UInt8](repeating: 1, count: 32))
            #expect(try await scene.sessions.enter(stored, from: recording, into: own, as: scene.principal))
            #expect(
                await scene.refusal(of: "UPDATE app.therapy_sessions SET filename = 'third' WHERE id = \(own)") == nil)
            let row = try await scene.database.query("SELECT filename FROM app.therapy_sessions WHERE id = \(own)")[0]
            #expect(try row.decode("filename", as: String.self) == "other")
        }
    }

    @Test("no two sessions have one recording, whoever enters it")
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

    @Test("a session that is made or deleted without word to the audit log is on record all the same")
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
                            action, isAllowed: true, by: admin, session: session, patient: patient, requestID: "r")
                    }
                    try await announce(.upload)
                    #expect(
                        try await sessions.add(
                            session, patient: patient, therapist: nil, date: nil, filename: "a", mediaType: "audio/wav",
                            awaiting: ExpectedRecording(upload: UUID(), key: "\(session).wav"), as: admin))
                    try await announce(.delete)
                    #expect(try await sessions.delete(session, as: admin))
                    let records = try await database.audit("session_id = '\(session)'")
                    #expect(
                        records.map(\.action)
                            == [isAnnounced ? "session.upload" : "session.add", "session.delete"])
                    #expect(records.allSatisfy { $0.user == admin.user && $0.patient == patient })
                }
            }
        }
    }
}
