import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The attempts of a session: which events use one up, and what follows the last one.
@Suite(.deadline) struct AttemptTests {
    private static let lapse = "The worker stopped before the recording was done."

    @Test("A lease that lapses after the status left pending uses up an attempt, and the last one fails the session")
    func lapses() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                for attempt in 1...3 {
                    let claim = try #require(try await connection.claim())
                    #expect(claim.attempt == attempt)
                    if attempt == 1 { try await connection.report(Report("transcribing", 44), session) }
                    #expect(try await connection.progress(of: session).status == .transcribing)
                    try await connection.expireLeases()
                }
                #expect(try await connection.claim() == nil)
                let state = try await connection.progress(of: session)
                #expect(state.status == .failed)
                #expect(state.attempt == 3)
                #expect(state.error == "Given up after 3 attempts. \(Self.lapse)")
                // A session that was given up leaves the queue, and a retry by hand begins the count anew.
                _ = try await connection.query("SELECT app.retry_session(\(session))")
                #expect(try await connection.claim()?.attempt == 4)
                #expect(try await connection.attemptsUsed(by: session) == 0)
            }
        }
    }

    @Test("The janitor fails a session whose lease lapsed in its last attempt, and leaves all others alone")
    func janitor() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.query("SELECT app.set_max_attempts(1)")
                var sessions: [String: SessionID] = [:]
                for name in ["lapsed", "pending", "held", "given back"] {
                    let session = try await connection.addSession(recording: name)
                    let claim = try #require(try await connection.claim())
                    if name != "pending" { try await connection.report(Report("transcribing", 30), session) }
                    if name == "given back" { #expect(try await connection.giveBack(claim)) }
                    sessions[name] = session
                }
                _ = try await connection.query(
                    """
                    UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 s'
                    WHERE session_id <> \(sessions["held"])
                    """)
                #expect(
                    try await connection.query("SELECT app.fail_lapsed_sessions()")[0].decode(0, as: Int32.self) == 1)
                for (name, session) in sessions {
                    let state = try await connection.progress(of: session)
                    #expect((state.status == .failed) == (name == "lapsed"), "\(name)")
                    if name == "lapsed" { #expect(state.error == Self.lapse) }
                }
            }
        }
    }

    @Test("A lapse at pending, and a lease that is given back, use up no attempt, and the next claim raises the number")
    func unused() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                for attempt in 1...5 {
                    #expect(try await connection.claim()?.attempt == attempt)
                    try await connection.expireLeases()
                }
                #expect(try await connection.attemptsUsed(by: session) == 0)
                for attempt in 6...10 {
                    let claim = try #require(try await connection.claim())
                    #expect(claim.attempt == attempt)
                    if attempt == 6 { try await connection.report(Report("transcribing", 30), session) }
                    #expect(try await connection.giveBack(claim))
                    // The lease does not stand any more.
                    #expect(try await connection.giveBack(claim) == false)
                    #expect(try await connection.keepLease(of: claim) == false)
                }
                #expect(try await connection.attemptsUsed(by: session) == 0)
                #expect(try await connection.progress(of: session).status == .transcribing)
            }
        }
    }

    @Test("A lease that has run out cannot be given back: its lapse counts")
    func lateGiveBack() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let claim = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 30), session)
                try await connection.expireLeases()
                #expect(try await connection.giveBack(claim) == false)
                _ = try await connection.claim()
                #expect(try await connection.attemptsUsed(by: session) == 1)
            }
        }
    }

    @Test(
        "A worker that ends its attempt gives the session back with the reason, and the last attempt fails the session")
    func ended() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                _ = try await connection.query("SELECT app.set_max_attempts(2)")
                let session = try await connection.addSession(recording: "key")
                let first = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 44), session)
                #expect(try await connection.endAttempt(first, "It was killed."))
                var state = try await connection.progress(of: session)
                #expect(state.status == .transcribing)
                #expect(state.message == "It was killed. Trying again.")
                #expect(try await connection.refusal(of: first.end("It was killed.")) == .insufficientPrivilege)
                let second = try #require(try await connection.claim())
                #expect(second.attempt == 2)
                #expect(try await connection.endAttempt(second, "It was killed.") == false)
                state = try await connection.progress(of: session)
                #expect(state.status == .failed)
                #expect(state.error == "Given up after 2 attempts. It was killed.")
            }
        }
    }

    @Test("A cancelled session leaves the queue, and its worker's lease ends")
    func cancelled() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let claim = try #require(try await connection.claim())
                try await connection.report(Report("transcribing", 44), session)
                #expect(try await connection.hasLease(claim))
                _ = try await connection.query("SELECT app.cancel_session(\(session))")
                #expect(try await connection.hasLease(claim) == false)
                let state = try await connection.progress(of: session)
                #expect(state.status == .failed)
                #expect(state.error == "Cancelled")
                #expect(
                    try await connection.refusal(of: "SELECT app.cancel_session(\(session))") == .checkViolation)
            }
        }
    }

    @Test(
        "A processed session is processed again only when that is asked for, and an unfinished one is not",
        arguments: SessionStatus.allCases)
    func again(status: SessionStatus) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: status, recording: "key")
                let refusal = try await connection.refusal(of: "SELECT app.retry_session(\(session), true)")
                if [.processed, .failed].contains(status) {
                    #expect(refusal == nil)
                    let state = try await connection.progress(of: session)
                    #expect(state.status == .pending)
                    #expect(state.progress == 20)
                    #expect(state.attempt == 2)
                    #expect(try await connection.claim()?.session == session)
                } else {
                    #expect(refusal == .checkViolation)
                }
            }
        }
    }

    @Test(
        "A pipeline can neither retry a failed session nor take up a processed one", arguments: ["failed", "processed"])
    func pipelineRetry(status: String) async throws {
        try await withDatabase { database in
            let session = try await database.withConnection {
                try await $0.addSession(in: SessionStatus(rawValue: status) ?? .failed, recording: "key")
            }
            try await database.withConnection(as: "therapybridge_pipeline") { pipeline in
                let refusal = try await pipeline.refusal(of: Report("pending", 20).query(of: session))
                #expect(refusal == .checkViolation)
            }
            #expect(try await database.history(of: session).last == "\(status) 1")
        }
    }

    @Test("While an upload is unfinished, a pipeline cannot report, and the upload goes on")
    func unfinishedUpload() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { connection in
                let session = try await connection.addSession(in: .uploading)
                _ = try await connection.query(
                    """
                    WITH upload AS (
                        INSERT INTO app.upload_charges (id, user_id, bytes, leased_until)
                        SELECT gen_random_uuid(), patient_id, 0, clock_timestamp() + interval '1 minute'
                        FROM app.therapy_sessions WHERE id = \(session) RETURNING id)
                    UPDATE app.therapy_sessions SET upload_id = upload.id, upload_key = 'k' FROM upload
                    WHERE therapy_sessions.id = \(session)
                    """)
                return session
            }
            try await database.withConnection(as: "therapybridge_pipeline") { pipeline in
                for report in [Report("pending", 20), Report("uploading", 19), Report("failed", 20)] {
                    let refusal = try await pipeline.refusal(of: report.query(of: session))
                    #expect(refusal == .checkViolation)
                }
            }
            try await database.withConnection { connection in
                #expect(try await connection.progress(of: session).status == .uploading)
                _ = try await connection.query(
                    "UPDATE app.therapy_sessions SET recording = upload_key WHERE id = \(session)")
                try await connection.report(Report("pending", 20), session)
            }
            try await database.withConnection(as: "therapybridge_pipeline") { pipeline in
                let refusal = try await pipeline.refusal(of: Report("transcribing", 20).query(of: session))
                #expect(refusal == nil)
            }
        }
    }
}

/// The turns of patients in the queue.
@Suite(.deadline) struct TurnTests {
    @Test("Forty uploads of one patient let the sessions of others wait for one session each")
    func turns() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let busy = try await connection.addPatient()
                for number in 0..<40 { _ = try await connection.addSession(of: busy, recording: "busy \(number)") }
                let others = try await [connection.addPatient(), connection.addPatient(), connection.addPatient()]
                for (index, other) in others.enumerated() {
                    for number in 0..<2 {
                        _ = try await connection.addSession(of: other, recording: "other \(index) \(number)")
                    }
                }
                var order: [UserID] = []
                while let claim = try await connection.claim() {
                    order.append(try await connection.patient(of: claim.session))
                }
                #expect(order.count == 46)
                let round = [busy] + others
                #expect(Array(order.prefix(8)) == round + round)
                #expect(order.dropFirst(8).allSatisfy { $0 == busy })
                // One record a patient is enough.
                let turns = try await connection.query("SELECT count(*) FROM app.patient_turns")[0].decode(
                    0, as: Int64.self)
                #expect(turns == 4)
            }
        }
    }

    @Test("A claim is the patient's turn however it ends, and a patient who comes later is served first")
    func anyEnd() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let (first, second) = try await (connection.addPatient(), connection.addPatient())
                let expected = try await connection.addSession(of: first, recording: "a")
                let claim = try #require(try await connection.claim())
                #expect(claim.session == expected)
                #expect(try await connection.giveBack(claim))
                let later = try await connection.addSession(of: second, recording: "b")
                #expect(try await connection.claim()?.session == later)
                #expect(try await connection.claim()?.session == expected)
            }
        }
    }

    @Test("A session that is given back waits behind its patient's other sessions, unless its worker only stops")
    func place() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let patient = try await connection.addPatient()
                let first = try await connection.addSession(of: patient, recording: "a")
                let second = try await connection.addSession(of: patient, recording: "b")
                func claimAndGiveBack(keepingPlace: Bool) async throws -> SessionID {
                    let claim = try #require(try await connection.claim())
                    let isGiven = try await connection.query(
                        """
                        SELECT app.give_lease_back(\(claim.session), \(Int32(claim.attempt)), \(claim.lease),
                                                   keeps_place => \(keepingPlace))
                        """)[0].decode(0, as: Bool.self)
                    #expect(isGiven)
                    return claim.session
                }
                #expect(try await claimAndGiveBack(keepingPlace: true) == first)
                #expect(try await claimAndGiveBack(keepingPlace: false) == first)
                #expect(try await claimAndGiveBack(keepingPlace: false) == second)
                #expect(try await claimAndGiveBack(keepingPlace: false) == first)
            }
        }
    }
}

extension Claim {
    fileprivate func end(_ reason: String) -> PostgresQuery {
        "SELECT app.end_attempt(\(session), \(Int32(attempt)), \(lease), \(reason))"
    }
}

extension PostgresConnection {
    fileprivate func attemptsUsed(by session: SessionID) async throws -> Int {
        Int(
            try await query("SELECT attempts_used FROM app.session_leases WHERE session_id = \(session)")[0]
                .decode(0, as: Int32.self))
    }

    fileprivate func giveBack(_ claim: Claim) async throws -> Bool {
        try await query("SELECT app.give_lease_back(\(claim.session), \(Int32(claim.attempt)), \(claim.lease))")[0]
            .decode(0, as: Bool.self)
    }

    fileprivate func hasLease(_ claim: Claim) async throws -> Bool {
        try await query("SELECT app.has_lease(\(claim.session), \(Int32(claim.attempt)), \(claim.lease))")[0]
            .decode(0, as: Bool.self)
    }

    fileprivate func endAttempt(_ claim: Claim, _ reason: String) async throws -> Bool {
        try await query(claim.end(reason))[0].decode(0, as: Bool.self)
    }

    fileprivate func addPatient() async throws -> UserID {
        let patient = UserID.random()
        _ = try await query(
            """
            INSERT INTO app.users (id, email, full_name, role)
            VALUES (\(patient), \("\(patient)@test.example"), 'Test Person', 'patient')
            """)
        return patient
    }

    fileprivate func addSession(of patient: UserID, recording: String) async throws -> SessionID {
        let session = SessionID.random()
        _ = try await query(
            "INSERT INTO app.therapy_sessions (id, patient_id, recording) VALUES (\(session), \(patient), \(recording))"
        )
        return session
    }

    fileprivate func patient(of session: SessionID) async throws -> UserID {
        try await query("SELECT patient_id FROM app.therapy_sessions WHERE id = \(session)")[0].decode(
            0, as: UserID.self)
    }
}

extension TestDatabase {
    /// The transitions of a session, each with its status and attempt.
    fileprivate func history(of session: SessionID) async throws -> [String] {
        try await query(
            "SELECT status || ' ' || attempt FROM app.session_events WHERE session_id = \(session) ORDER BY version"
        ).map { try $0.decode(0, as: String.self) }
    }
}
