import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The queue: claims, leases and takeovers.
@Suite(.deadline) struct ClaimTests {
    @Test(
        "A worker can claim only a pending session with a recording", arguments: SessionStatus.allCases, [true, false])
    func offered(status: SessionStatus, hasRecording: Bool) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(in: status, recording: hasRecording ? "key" : nil)
                let claim = try await connection.claim()
                if status == .pending && hasRecording {
                    #expect(claim == Claim(session: session, attempt: 1, recording: "key"))
                    #expect(claim?.status == "pending")
                    #expect(try await connection.progress(of: session).attempt == 1)
                } else {
                    #expect(claim == nil)
                }
            }
        }
    }

    @Test("Workers claim the session that has waited longest, and each session once")
    func order() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                var sessions: [SessionID] = []
                for _ in 0..<3 { sessions.append(try await connection.addSession(recording: "\(UUID())")) }
                for session in sessions { #expect(try await connection.claim()?.session == session) }
                #expect(try await connection.claim() == nil)
            }
        }
    }

    @Test("Each session goes to one of twenty concurrent workers")
    func race() async throws {
        try await withDatabase { database in
            let sessions = try await database.withConnection { connection in
                var sessions: [SessionID] = []
                for _ in 0..<60 { sessions.append(try await connection.addSession(recording: "\(UUID())")) }
                return sessions
            }
            let claims = try await claims(by: 20, on: database)
            #expect(claims.count == 60)
            #expect(Set(claims.map(\.session)) == Set(sessions))
            #expect(claims.allSatisfy { $0.attempt == 1 })
        }
    }

    @Test("One of twenty concurrent workers takes over each lease that ran out")
    func takeOverRace() async throws {
        try await withDatabase { database in
            let sessions = try await database.withConnection { connection in
                var sessions: [SessionID] = []
                for _ in 0..<20 {
                    let session = try await connection.addSession(recording: "\(UUID())")
                    sessions.append(session)
                    _ = try await connection.claim()
                    try await connection.report(Report("transcribing", 44), session)
                }
                try await connection.expireLeases()
                return sessions
            }
            let claims = try await claims(by: 20, on: database)
            #expect(claims.count == 20)
            #expect(Set(claims.map(\.session)) == Set(sessions))
            #expect(claims.allSatisfy { $0.attempt == 2 })
            try await database.withConnection { connection in
                for session in sessions {
                    let row = try await connection.progress(of: session)
                    #expect(row == ProgressRow(status: .transcribing, progress: 20, version: 3, attempt: 2))
                }
            }
        }
    }

    @Test("After a takeover, the reports of the former worker are stale, and it cannot store results")
    func fencing() async throws {
        try await withDatabase { database in
            try await database.withConnection(as: "therapybridge_pipeline") { worker in
                let session = try await database.withConnection { try await $0.addSession(recording: "key") }
                let old = try #require(try await worker.claim("old"))
                try await worker.report(Report("transcribing", 44, attempt: old.attempt), session)
                try await database.withConnection { try await $0.expireLeases() }
                let new = try #require(try await worker.claim("new"))
                #expect(new == Claim(session: session, attempt: 2, recording: "key"))
                #expect(new.status == "transcribing")
                #expect(new.lease != old.lease)

                let version = try await worker.report(Report("transcribing", 99, attempt: old.attempt), session)
                #expect(version == 3)
                #expect(try await worker.report(Report("failed", 99, error: "x", attempt: old.attempt), session) == 3)
                #expect(try await worker.keepLease(of: old) == false)
                #expect(try await worker.refusal(of: old.storeTranscript) == .insufficientPrivilege)
                #expect(try await worker.refusal(of: old.storeNotes) == .insufficientPrivilege)

                #expect(try await worker.keepLease(of: new))
                #expect(try await worker.refusal(of: new.storeTranscript) == nil)
                #expect(try await worker.report(Report("transcribing", 50, attempt: new.attempt), session) == 4)
            }
        }
    }

    @Test("A session that moved to another patient stays in the queue when the former patient is deleted")
    func movedSession() async throws {
        try await withDatabase { database in
            let other = try await database.addUser(.patient)
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                _ = try await connection.query("UPDATE app.therapy_sessions SET patient_id = \(other)")
                let patient = try await connection.query("SELECT patient_id FROM app.session_leases")[0]
                    .decode("patient_id", as: UserID.self)
                #expect(patient == other)
                _ = try await connection.query("DELETE FROM app.users WHERE id <> \(other)")
                #expect(try await connection.claim()?.session == session)
            }
        }
    }

    @Test("keep_lease extends a lease, even one that ran out, if no other worker has the session")
    func keepLease() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                let claim = try #require(try await connection.claim())
                try await connection.expireLeases()
                #expect(try await connection.keepLease(of: claim))
                #expect(try await connection.claim() == nil)
                #expect(try await connection.progress(of: session).attempt == 1)
            }
        }
    }

    @Test(
        "keep_lease returns false for another attempt and for an unclaimed, finished or deleted session"
    )
    func noLease() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                var claim = Claim(session: session, attempt: 1, recording: "key")
                #expect(try await connection.keepLease(of: claim) == false)
                claim = try #require(try await connection.claim())
                var next = claim
                next.attempt = 2
                #expect(try await connection.keepLease(of: next) == false)
                try await connection.report(Report("failed", 20), session)
                #expect(try await connection.keepLease(of: claim) == false)
                _ = try await connection.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
                #expect(try await connection.keepLease(of: claim) == false)
            }
        }
    }

    @Test("After a retry, a worker claims the failed session with the next attempt")
    func retried() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                _ = try await connection.claim()
                try await connection.report(Report("failed", 20), session)
                #expect(try await connection.claim() == nil)
                _ = try await connection.query("SELECT app.retry_session(\(session))")
                #expect(try await connection.claim() == Claim(session: session, attempt: 2, recording: "key"))
            }
        }
    }

    @Test("A worker does not take over a finished session")
    func finishedLease() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                _ = try await connection.claim()
                for status in ["transcribing", "transcribed", "processed"] {
                    try await connection.report(Report(status, 20), session)
                }
                try await connection.expireLeases()
                #expect(try await connection.claim() == nil)
            }
        }
    }

    @Test(
        "A lease lasts 1 second to 1 day, and a worker has a name",
        arguments: [
            "SELECT app.claim_session('w', interval '0')", "SELECT app.claim_session('w', interval '-1 minute')",
            "SELECT app.claim_session('w', interval '2 days')", "SELECT app.claim_session('w', NULL)",
            "SELECT app.claim_session('', interval '1 minute')", "SELECT app.claim_session(NULL, interval '1 minute')",
        ])
    func limits(call: String) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                #expect(
                    try await connection.refusal(of: PostgresQuery(unescaped: call)) == .invalidParameterValue)
                #expect(try await connection.claim()?.session == session)
            }
        }
    }

    /// The claims of concurrent workers that claim until no session waits.
    private func claims(by workers: Int, on database: TestDatabase) async throws -> [Claim] {
        try await withThrowingTaskGroup(of: [Claim].self) { group in
            for number in 0..<workers {
                group.addTask {
                    try await database.withConnection(as: "therapybridge_pipeline") { connection in
                        var claims: [Claim] = []
                        while let claim = try await connection.claim("worker \(number)") { claims.append(claim) }
                        return claims
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }
}

/// A worker's claim.
struct Claim {
    var session: SessionID
    var attempt: Int
    var recording: String
    var status: String?
    var lease: String?

    var storeTranscript: PostgresQuery {
        #"SELECT app.store_transcript(\#(session), \#(Int32(attempt)), '{"text": "", "segments": []}', \#(lease))"#
    }
    var storeNotes: PostgresQuery { "SELECT app.store_notes(\(session), \(Int32(attempt)), '{}', \(lease))" }
}

extension Claim: Hashable {
    /// The lease is random, and the status is the session's: neither tells one claim from another.
    static func == (one: Claim, other: Claim) -> Bool {
        (one.session, one.attempt, one.recording) == (other.session, other.attempt, other.recording)
    }

    func hash(into hasher: inout Hasher) { hasher.combine(session) }
}

extension PostgresConnection {
    func claim(_ worker: String = "worker") async throws -> Claim? {
        try await query(
            "SELECT session_id, attempt, status, recording, lease FROM app.claim_session(\(worker), interval '60 seconds')"
        ).first.map {
            Claim(
                session: try $0.decode("session_id", as: SessionID.self),
                attempt: Int(try $0.decode("attempt", as: Int32.self)),
                recording: try $0.decode("recording", as: String.self),
                status: try $0.decode("status", as: String.self), lease: try $0.decode("lease", as: String.self))
        }
    }

    func keepLease(of claim: Claim) async throws -> Bool {
        try await query(
            "SELECT app.keep_lease(\(claim.session), \(Int32(claim.attempt)), interval '60 seconds', \(claim.lease))"
        )[0].decode(0, as: Bool.self)
    }

    /// Lets all leases run out now; needs a superuser.
    func expireLeases() async throws {
        _ = try await query("UPDATE app.session_leases SET leased_until = clock_timestamp() - interval '1 ms'")
    }
}
