import Domain
import Foundation
import Postgres
import PostgresTestSupport
import Store
import Testing

/// A batch of reports against the same reports one by one.
@Suite struct ReportBatchTests {
    /// A random generator with a seed, so that a failure comes again.
    private struct Draw {
        private var state: UInt64

        init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

        mutating func below(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % limit
        }

        mutating func one<Element>(of elements: [Element]) -> Element { elements[below(elements.count)] }

        /// A random report.
        ///
        /// Most are valid, so that sessions make progress.
        mutating func report() -> Report {
            let statuses = SessionStatus.allCases.map(\.rawValue)
            return Report(
                "drawn", below(12) == 0 ? one(of: [nil, "", "sleeping", "PENDING"]) : one(of: statuses),
                below(12) == 0 ? one(of: [nil, -1, 101]) : below(101),
                message: one(of: [nil, nil, "", "a", "one\r\ntwo", String(repeating: "ä", count: 2001)]),
                error: one(of: [nil, nil, nil, "", "\u{1b}", "e"]),
                estimate: below(12) == 0 ? -1 : one(of: [nil, 0, 5]),
                attempt: below(12) == 0 ? 0 : one(of: [nil, nil, nil, 1, 1, 2, 3]),
                lease: one(of: [nil, nil, "a lease", "another"]))
        }
    }

    /// All rows of a session, without ids and times.
    private static func kept(_ session: SessionID, _ connection: PostgresConnection) async throws -> [String] {
        try await connection.query(
            """
            SELECT (to_jsonb(p) - '{session_id,created_at,updated_at,notified_at,stage_began_at,stage_half_at}'::text[])::text
                       || (p.stage_began_at IS NULL) || (p.stage_half_at IS NULL)
            FROM app.session_progress p WHERE session_id = \(session)
            UNION ALL
            (SELECT (to_jsonb(e) - '{session_id,at,xid,worked_seconds,half_seconds}'::text[])::text
                        || (e.worked_seconds IS NULL) || (e.half_seconds IS NULL) FROM app.session_events e
             WHERE session_id = \(session) ORDER BY version)
            UNION ALL
            SELECT 'lease ' || (worker IS NULL)::text FROM app.session_leases WHERE session_id = \(session)
            """
        ).map { try $0.decode(0, as: String.self) }
    }

    @Test(
        "A batch has the same effect as its reports one by one: answers, states, transitions and the queue",
        arguments: 1...12)
    func likeOneByOne(seed: UInt64) async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            // The owner's role would need no lease.
            try await database.withConnection(as: "therapybridge_pipeline") { pipeline async throws in
                try await database.withConnection(as: "postgres") { connection async throws in
                    var draw = Draw(seed: seed)
                    for _ in 0..<12 {
                        // Pairs of sessions with the same history.
                        var pairs: [(SessionID, SessionID)?] = [nil]
                        for _ in 0..<1 + draw.below(5) {
                            let status = draw.one(of: SessionStatus.allCases)
                            let hasRecording = draw.one(of: [false, true])
                            let (progress, takesOver) = (draw.below(40), draw.below(4) == 0)
                            let lease = draw.one(of: [nil, "1 hour", "-1 second"])
                            var pair: [SessionID] = []
                            for _ in 0..<2 {
                                let session = try await connection.addSession(
                                    in: status, at: progress, recording: hasRecording ? "\(UUID())" : nil)
                                if takesOver, status != .processed, status != .failed {
                                    try await connection.execute(
                                        "UPDATE app.session_progress SET attempt = 2 WHERE session_id = \(session)")
                                }
                                if let lease {
                                    try await connection.execute(
                                        """
                                        UPDATE app.session_leases SET worker = 'w', attempt = 1, lease_hash = sha256('a lease'),
                                            leased_until = now() + \(lease)::text::interval
                                        WHERE session_id = \(session)
                                        """)
                                }
                                pair.append(session)
                            }
                            pairs.append((pair[0], pair[1]))
                        }
                        let unknown = SessionID.random()
                        let reports = (0..<1 + draw.below(30)).map { _ in
                            (draw.below(15) == 0 ? 0 : 1 + draw.below(pairs.count - 1), draw.report())
                        }
                        let answers = try await connection.reportBatch(
                            reports.map { (pairs[$0]?.0 ?? unknown, $1) }, by: [reporter])
                        for (index, (pair, report)) in reports.enumerated() {
                            let expected = try await pipeline.answer(to: report, of: pairs[pair]?.1 ?? unknown)
                            #expect(answers[index] == expected, "seed \(seed), report \(index): \(report)")
                        }
                        for case let pair? in pairs {
                            #expect(
                                try await Self.kept(pair.0, connection) == Self.kept(pair.1, connection), "seed \(seed)"
                            )
                        }
                    }
                }
            }
        }
    }

    @Test("Each report of a session in one batch gets its own version, and each transition is recorded and announced")
    func severalOfOneSession() async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            try await withNotifications(of: database) { notifications in
                try await database.withConnection(as: "postgres") { connection async throws in
                    let (one, other) = (try await connection.addSession(), try await connection.addSession())
                    _ = try await notifications.received()
                    let answers = try await connection.reportBatch(
                        [
                            (one, Report("transcribing", 20)), (other, Report("preprocessing", 20)),
                            (one, Report("transcribing", 21)), (one, Report("diarizing", 55)),
                            (one, Report("uploading", 1)), (one, Report("transcribed", 60)),
                            (other, Report("transcribing", 30)), (one, Report("transcribed", 59)),
                            (one, Report("processed", 100)),
                        ], by: [reporter])
                    #expect(
                        answers == [
                            .version(2), .version(2), .version(3), .version(4),
                            .refusal(
                                "23514", "transition_not_allowed",
                                values: #"{"from" : "diarizing", "to" : "uploading"}"#), .version(5),
                            .version(3), .version(5), .version(6),
                        ])
                    #expect(try await connection.transitions(of: one).map(\.0) == [1, 2, 4, 5, 6])
                    #expect(try await connection.transitions(of: other).map(\.0) == [1, 2, 3])
                    // A percentage right after a transition is not announced, as without a batch.
                    #expect(
                        Set(try await notifications.received())
                            == Set([2, 4, 5, 6].map { "\(one) \($0)" } + [2, 3].map { "\(other) \($0)" }))
                }
            }
        }
    }

    @Test("A thousand reports of one session make a thousand versions")
    func thousand() async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                let session = try await database.withConnection { try await $0.addSession(in: .transcribing) }
                let answers = try await connection.reportBatch(
                    (0..<1000).map { (session, Report("transcribing", 50, message: "\($0)")) }, by: [reporter])
                #expect(answers == (3..<1003).map { .version($0) })
            }
        }
    }

    @Test("A null session is an unknown session")
    func noSession() async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            try await database.withConnection { connection async throws in
                let session = try await connection.addSession()
                let answers = try await connection.reportBatch(
                    [(nil, Report("transcribing", 1)), (session, Report("transcribing", 1))], by: [reporter])
                #expect(answers.map(\.code) == ["P0002", nil])
            }
        }
    }

    @Test("A plan from the time of a few sessions does not scan the whole table later")
    func plansOfSmallTables() async throws {
        try await withDatabase { database in
            let reporter = try await database.addReporter()
            let patient = try await database.addUser(.patient)
            func addSessions(_ count: Int32) async throws {
                try await database.query(
                    "INSERT INTO app.therapy_sessions (patient_id) SELECT \(patient) FROM generate_series(1, \(count))")
            }
            // Only this test gives the planner statistics.
            try await database.query("ALTER TABLE app.session_progress SET (autovacuum_enabled = false)")
            try await addSessions(3)
            try await database.query("ANALYZE app.session_progress")
            try await database.withConnection { connection async throws in
                func batch(_ count: Int) async throws -> [ReportAnswer] {
                    let sessions = try await connection.query("SELECT id FROM app.therapy_sessions").prefix(count)
                        .map { try $0.decode(0, as: SessionID.self) }
                    let statuses = ["transcribing", "processed", "done"]
                    return try await connection.reportBatch(
                        statuses.flatMap { status in sessions.map { ($0, Report(status, 1)) } }
                            + [(.random(), Report("transcribing", 1))], by: [reporter])
                }
                // The scans of this connection only: other connections report theirs at any time.
                func scans() async throws -> Int64 {
                    let rows = try await connection.query(
                        "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'app.session_progress'::regclass")
                    return try rows[0].decode(0, as: Int64.self)
                }
                // Often enough for a cached plan.
                for _ in 0..<8 { _ = try await batch(3) }
                try await addSessions(3000)
                // A transaction reports its scans at its end.
                try await connection.executeScript("BEGIN")
                let before = try await scans()
                let answers = try await batch(200)
                for (code, count) in [(nil, 200), ("22023", 200), ("23514", 200), ("P0002", 1)] {
                    #expect(answers.filter { $0.code == code }.count == count)
                }
                #expect(try await scans() == before)
                try await connection.executeScript("COMMIT")
            }
        }
    }
}
