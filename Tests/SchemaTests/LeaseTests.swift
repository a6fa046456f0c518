import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// What a worker may do with its lease, and what nobody may do without it.
@Suite(.deadline) struct LeaseTests {
    /// A lease that a caller sends.
    enum Sent: String, CaseIterable, Sendable { case none, wrong, right }
    /// What became of the claim.
    enum Claimed: String, CaseIterable, Sendable { case standing, lapsed, finished, takenOver }

    @Test(
        "A result is stored under the lease that stands, and raises 42501 otherwise", arguments: Sent.allCases,
        Claimed.allCases)
    func storing(sent: Sent, state: Claimed) async throws {
        try await withDatabase { database in
            var claim = try await database.claimedSession()
            try await database.bring(claim, into: state)
            claim.send(sent)
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                let expected = state == .standing && sent == .right ? nil : SQLState.insufficientPrivilege
                #expect(try await worker.refusal(of: claim.storeTranscript) == expected)
                #expect(try await worker.refusal(of: claim.storeNotes) == expected)
            }
            let stored = expectedRows(sent, state)
            #expect(try await database.query("SELECT FROM app.transcripts").count == stored)
            #expect(try await database.query("SELECT FROM app.notes").count == stored)
        }
    }

    private func expectedRows(_ sent: Sent, _ state: Claimed) -> Int { state == .standing && sent == .right ? 1 : 0 }

    @Test("The server's role stores nothing without the lease either, and the owner's role needs none")
    func storingRoles() async throws {
        try await withDatabase { database in
            var claim = try await database.claimedSession()
            try await database.query("SELECT app.report_progress(\(claim.session), 'failed', 20)")
            claim.lease = nil
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                #expect(try await connection.refusal(of: claim.storeNotes) == .insufficientPrivilege)
            }
            try await database.withConnection { connection async throws in
                // What counts is the role in force and not the one that has connected.
                try await connection.executeScript("SET ROLE therapybridge_pipeline")
                #expect(try await connection.refusal(of: claim.storeNotes) == .insufficientPrivilege)
                try await connection.executeScript("SET ROLE therapybridge_owner")
                #expect(try await connection.refusal(of: claim.storeNotes) == nil)
                try await connection.executeScript("RESET ROLE")
                #expect(try await connection.refusal(of: claim.storeTranscript) == nil)
            }
        }
    }

    @Test(
        "While a lease stands, only its worker ends a stage or the session; other reports need no lease",
        arguments: [
            ("failed", true), ("transcribed", true), ("processed", true), ("diarizing", false), ("transcribing", false),
        ])
    func needed(status: String, needsLease: Bool) async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(
                in: status == "processed" ? ["transcribing", "transcribed"] : ["transcribing"])
            let before = try await database.withConnection { try await $0.progress(of: claim.session) }
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                let report = Report(status, 70)
                #expect(
                    try await worker.refusal(of: report.query(of: claim.session))
                        == (needsLease ? .insufficientPrivilege : nil))
                if needsLease {
                    #expect(try await database.withConnection { try await $0.progress(of: claim.session) } == before)
                }
                var wrong = Report(status, 71)
                wrong.lease = "wrong"
                #expect(try await worker.refusal(of: wrong.query(of: claim.session)) == .insufficientPrivilege)
                var right = Report(status, 72)
                right.lease = claim.lease
                #expect(try await worker.refusal(of: right.query(of: claim.session)) == nil)
            }
        }
    }

    @Test("Without a lease that stands, every pipeline may end the session, but not with a lease that has run out")
    func lapsed() async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(in: ["transcribing"])
            try await database.bring(claim, into: .lapsed)
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                var report = Report("failed", 20)
                report.lease = claim.lease
                #expect(try await worker.refusal(of: report.query(of: claim.session)) == .insufficientPrivilege)
                report.lease = nil
                #expect(try await worker.refusal(of: report.query(of: claim.session)) == nil)
            }
        }
    }

    @Test("The owner's role needs no lease for a report, but a lease that it gives has to stand")
    func ownerReports() async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(in: ["transcribing"])
            try await database.withConnection { connection async throws in
                var report = Report("failed", 20)
                report.lease = "wrong"
                #expect(try await connection.refusal(of: report.query(of: claim.session)) == .insufficientPrivilege)
                report.lease = nil
                #expect(try await connection.refusal(of: report.query(of: claim.session)) == nil)
            }
        }
    }

    @Test(
        "A stale report is answered with the version, whatever its lease",
        arguments: [
            Report("lower progress", "transcribing", 29, attempt: 1), Report("the same", "transcribing", 30),
            Report("the same words", "transcribing", 30, message: "one\r\ntwo"), Report("failed", 20, attempt: 1),
        ])
    func stale(report: Report) async throws {
        try await withDatabase { database in
            var claim = try await database.claimedSession(in: ["transcribing"])
            if report.status == "failed" {
                try await database.bring(claim, into: .takenOver)
            }
            let version = try await database.withConnection {
                try await $0.report(Report("transcribing", 30, message: "one two"), claim.session)
            }
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                for sent in Sent.allCases {
                    claim.send(sent)
                    var report = report
                    report.lease = claim.lease
                    #expect(try await worker.report(report, claim.session) == version)
                }
            }
        }
    }

    @Test("keep_lease needs the lease, and returns false without it")
    func keeping() async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession()
            try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                for sent in Sent.allCases {
                    var sender = claim
                    sender.send(sent)
                    #expect(try await worker.keepLease(of: sender) == (sent == .right))
                }
            }
        }
    }

    @Test("keep_standing_lease needs the lease that stands", arguments: Sent.allCases, Claimed.allCases)
    func keepingStanding(sent: Sent, state: Claimed) async throws {
        try await withDatabase { database in
            var claim = try await database.claimedSession()
            try await database.bring(claim, into: state)
            claim.send(sent)
            try await database.withConnection(as: "therapybridge_server") { server async throws in
                let isKept = try await server.query(
                    """
                    SELECT app.keep_standing_lease(\(claim.session), \(Int32(claim.attempt)), interval '60 seconds',
                                                   \(claim.lease))
                    """)[0].decode(0, as: Bool.self)
                #expect(isKept == (state == .standing && sent == .right))
            }
        }
    }

    @Test("Each lease is a secret of its own, and the database has only its hash")
    func secret() async throws {
        try await withDatabase { database in
            let first = try #require(try await database.claimedSession().lease)
            let second = try #require(try await database.claimedSession().lease)
            #expect(first != second)
            #expect(first.count >= 32)
            let rows = try await database.query("SELECT l::text FROM app.session_leases l")
            for row in try rows.map({ try $0.decode(0, as: String.self) }) {
                #expect(!row.contains(first))
                #expect(!row.contains(second))
            }
        }
    }

    @Test("Each function of the pipeline has the documented signature and no other overload")
    func signatures() async throws {
        try await withDatabase { database in
            let signatures = try await database.query(
                """
                SELECT proname || '(' || pg_get_function_arguments(oid) || ') ' || pg_get_function_result(oid)
                FROM pg_proc WHERE pronamespace = 'app'::regnamespace
                  AND has_function_privilege('therapybridge_pipeline', oid, 'EXECUTE') ORDER BY 1
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(
                signatures == [
                    "claim_session(worker text, duration interval) TABLE(session_id uuid, attempt integer, status text, "
                        + "recording text, leased_until timestamp with time zone, lease text)",
                    "keep_lease(session_id uuid, attempt integer, duration interval, lease text DEFAULT NULL::text) boolean",
                    "report_progress(session_id uuid, status text, progress integer, message text DEFAULT NULL::text, "
                        + "error text DEFAULT NULL::text, estimated_time_remaining integer DEFAULT NULL::integer, "
                        + "attempt integer DEFAULT NULL::integer, lease text DEFAULT NULL::text) bigint",
                    "store_notes(session_id uuid, attempt integer, notes json, lease text DEFAULT NULL::text) void",
                    "store_transcript(session_id uuid, attempt integer, transcript jsonb, lease text DEFAULT NULL::text) void",
                ])
        }
    }

    /// A claim changes the lease and not the progress.
    ///
    /// Under REPEATABLE READ, a transaction with an older snapshot would not see the lease, and would need none.
    @Test("A pipeline cannot get round a lease with a snapshot that is older than the claim")
    func olderSnapshot() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                try await connection.report(Report("transcribing", 20), session)
                try await connection.execute(
                    "UPDATE app.session_leases SET worker = 'w', attempt = 1, leased_until = now() - interval '1 s'")
                return session
            }
            try await database.withConnection(as: "therapybridge_pipeline") { stranger async throws in
                try await stranger.executeScript("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
                try await database.query(
                    "UPDATE app.session_leases SET lease_hash = sha256('x'), leased_until = now() + interval '1 h'")
                #expect(
                    try await stranger.refusal(of: Report("failed", 20).query(of: session)) == .serializationFailure)
            }
        }
    }

    @Test("A session whose lease another transaction holds stops no worker: the next session is claimed")
    func heldLease() async throws {
        try await withDatabase { database in
            let held = try await database.claimedSession()
            let other = try await database.withConnection { try await $0.addSession(recording: "other") }
            try await database.withConnection(as: "therapybridge_pipeline") { holder async throws in
                try await holder.executeScript("BEGIN")
                #expect(try await holder.keepLease(of: held))
                try await database.withConnection(as: "therapybridge_pipeline") { worker async throws in
                    #expect(try await worker.claim()?.session == other)
                    #expect(try await worker.claim() == nil)
                }
                try await holder.executeScript("ROLLBACK")
            }
        }
    }
}

/// Reports over HTTP, as the server's statement writes them.
@Suite(.deadline) struct BatchLeaseTests {
    @Test(
        "In a batch, a pipeline needs the lease that stands, and an administrator needs none",
        arguments: [Role.pipeline, .admin])
    func roles(role: Role) async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(in: ["transcribing"])
            let reporter = try await database.addReporter(role)
            try await database.withConnection(as: "therapybridge_server") { server async throws in
                func answer(_ report: Report) async throws -> ReportAnswer {
                    try await server.reportBatch([(claim.session, report)], by: [reporter])[0]
                }
                let wrong = try await answer(Report("transcribing", 30, lease: "wrong"))
                #expect(wrong == .refusal("42501", "lease_not_standing"))
                #expect(try await answer(Report("transcribing", 1, lease: "wrong")).code == nil, "stale")
                #expect(try await answer(Report("transcribing", 30)).code == nil)
                let ended = try await answer(Report("transcribed", 60))
                #expect(ended == (role == .admin ? .version(4) : .refusal("42501", "lease_required")))
                let right = try await answer(Report("failed", 60, lease: claim.lease))
                #expect(right.code == nil)
            }
        }
    }

    @Test("The first report of a batch can end the lease of the next one")
    func severalOfOneSession() async throws {
        try await withDatabase { database in
            let claim = try await database.claimedSession(in: ["transcribing"])
            let reporter = try await database.addReporter()
            try await database.withConnection(as: "therapybridge_server") { server async throws in
                let answers = try await server.reportBatch(
                    [
                        (claim.session, Report("transcribed", 60, lease: claim.lease)),
                        (claim.session, Report("processed", 100, lease: claim.lease)),
                        (claim.session, Report("failed", 100, lease: claim.lease)),
                        (claim.session, Report("processed", 100, lease: claim.lease)),
                    ], by: [reporter])
                #expect(
                    answers == [.version(3), .version(4), .refusal("42501", "lease_not_standing"), .version(4)])
            }
        }
    }
}

extension Claim {
    /// Replaces the lease by what a caller sends.
    fileprivate mutating func send(_ sent: LeaseTests.Sent) {
        switch sent {
        case .none: lease = nil
        case .wrong: lease = "wrong"
        case .right: break
        }
    }
}

extension TestDatabase {
    /// Adds a session, and lets a pipeline claim it and report some statuses.
    func claimedSession(in statuses: [String] = []) async throws -> Claim {
        let session = try await withConnection { try await $0.addSession(recording: "\(UUID())") }
        return try await withConnection(as: "therapybridge_pipeline") { worker in
            let claim = try #require(try await worker.claim())
            #expect(claim.session == session)
            for status in statuses { try await worker.report(Report(status, 25, lease: claim.lease), session) }
            return claim
        }
    }

    /// Lets a lease run out, its session fail, or another worker take it over.
    fileprivate func bring(_ claim: Claim, into state: LeaseTests.Claimed) async throws {
        switch state {
        case .standing: break
        case .lapsed: try await withConnection { try await $0.expireLeases() }
        case .finished: try await query("SELECT app.report_progress(\(claim.session), 'failed', 20)")
        case .takenOver:
            try await withConnection { connection in
                try await connection.expireLeases()
                #expect(try await connection.claim("other")?.session == claim.session)
            }
        }
    }
}
