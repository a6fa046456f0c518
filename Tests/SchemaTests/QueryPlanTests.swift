import Foundation
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The plans of frequent statements: they use indexes and are not compiled, whatever the planner knows about the
/// tables.
@Suite(.deadline) struct QueryPlanTests {
    /// The rows, and what the planner knows about them.
    enum Age: String, CaseIterable {
        /// A few rows, never analysed.
        case young
        /// A few rows, analysed, as after the first autovacuum.
        case analysed
        /// Many rows, analysed.
        case large
        /// Many rows without statistics, as after a restore.
        case restored
        /// Many rows; the connection made its plans while there were few.
        case outgrown

        /// Fills the tables, and makes the connection's plans before if the age says so.
        fileprivate func fill(_ connection: PostgresConnection) async throws {
            let few = PlanStage(sessions: 10, patients: 5, therapists: 2)
            let many = PlanStage(sessions: 20_000, patients: 20_000, therapists: 50)
            switch self {
            case .young: try await few.fill(connection)
            case .analysed:
                try await few.fill(connection)
                try await connection.executeScript("ANALYZE")
            case .large:
                try await many.fill(connection)
                try await connection.executeScript("ANALYZE")
            case .restored: try await many.fill(connection)
            case .outgrown:
                try await few.fill(connection)
                for call in HotCall.all + HotCall.sessionLists + HotCall.searches {
                    _ = try await connection.plans(of: call)
                }
                try await many.fill(connection)
            }
        }
    }

    /// The tables that grow without limit.
    private static let largeTables: Set<String> = [
        "therapy_sessions", "session_progress", "session_list", "session_counts", "session_events", "audit_log",
        "users", "auth_sessions",
        "therapist_patients", "session_leases", "patient_turns", "patient_queue", "deleted_sessions", "rights_log",
        "hint_log", "transcript_segments", "transcripts", "notes", "result_history", "stage_failures",
        "discarded_recordings", "refresh_tokens", "stream_tickets", "attempt_limits", "upload_charges",
        "resumable_uploads",
    ]

    @Test(
        "No hot statement scans a whole table or is compiled, whatever the age of the database", arguments: Age.allCases
    )
    func plans(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                for call in HotCall.all {
                    let plans = try await connection.plans(of: call)
                    #expect(!plans.isEmpty, "\(call.name)")
                    // The names of the partitions of the audit log begin with its own name.
                    let scanned = plans.flatMap(\.wholeScans)
                        .filter { Self.largeTables.contains($0) || $0.hasPrefix("audit_log") }
                    #expect(scanned == [], "\(call.name)")
                    #expect(!plans.contains { $0.isCompiled }, "\(call.name)")
                }
            }
        }
    }

    @Test(
        "No list of sessions reads a whole table in its function, whatever the age of the database",
        arguments: Age.allCases)
    func sessionLists(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                for call in HotCall.sessionLists {
                    let plans = try await connection.plans(of: call).filter { !$0.isOf(call.sql) }
                    #expect(plans.contains { $0.tables.contains("session_list") }, "\(call.name)")
                    let scanned = plans.flatMap(\.wholeScans).filter { Self.largeTables.contains($0) }
                    #expect(scanned == [], "\(call.name)")
                    #expect(!plans.contains { $0.isCompiled }, "\(call.name)")
                }
            }
        }
    }

    @Test(
        "A search through all sessions reads the narrow table from its beginning to its end, and never by an index",
        arguments: Age.allCases)
    func searches(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                for call in HotCall.searches {
                    let plans = try await connection.plans(of: call).filter { !$0.isOf(call.sql) }
                    // After many files, the search counts from the row on where it stopped.
                    let scans = plans.flatMap { $0.scansWithoutIndex(ofTable: "session_list") }
                    #expect(scans.contains("Seq Scan"), "\(call.name)")
                    #expect(Set(scans).isSubset(of: ["Seq Scan", "Tid Range Scan"]), "\(call.name)")
                    // The page of a search that finds very many follows the index of its order until it is full.
                    let isWalk = { (plan: StatementPlan) in !plan.wholeScans.contains("session_list") }
                    #expect(plans.filter { !$0.indexes(onTable: "session_list").isEmpty }.allSatisfy(isWalk))
                    #expect(!plans.contains { $0.isCompiled }, "\(call.name)")
                }
            }
        }
    }

    // A table of a few rows is read whole most quickly.
    @Test("No list scans a whole large table, with statistics or without", arguments: [Age.large, .restored])
    func lists(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                for call in HotCall.lists {
                    let plans = try await connection.plans(of: call)
                    // The server's connections have JIT off. A pooler does not carry that, and a list may be compiled.
                    #expect(plans.contains { $0.isOf(call.sql) }, "\(call.name)")
                    let scanned = plans.flatMap(\.wholeScans).filter { Self.largeTables.contains($0) }
                    #expect(scanned == [], "\(call.name)")
                }
            }
        }
    }

    @Test("The audit log finds a rare action and a refusal by index", arguments: [Age.large, .restored])
    func audit(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                let indexes = [("action = 'user.change'", "_action_at_idx"), ("NOT is_allowed", "_at_id_idx")]
                for (condition, index) in indexes {
                    let plans = try await connection.plans(of: .audit(condition))
                    let used = plans.flatMap { $0.indexes(onTable: "audit_log") }
                    // The primary key has the order, and would read every record until the page is full.
                    #expect(used.contains { $0.hasSuffix(index) }, "\(condition)")
                    #expect(used.filter { $0.hasSuffix("_pkey") } == [], "\(condition)")
                }
            }
        }
    }

    @Test(
        "A report finds the record of an earlier one by session and sign-in, whatever the age of the database",
        arguments: Age.allCases)
    func recentReport(age: Age) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await age.fill(connection)
                let plans = try await connection.plans(of: .reportBatch)
                let indexes = plans.flatMap { $0.indexes(onTable: "audit_log") }
                #expect(!indexes.isEmpty)
                // Any other index would read all records that the caller has made in the last minutes, for each report.
                #expect(indexes.filter { !$0.contains("session_id_auth_session_id_action_at") } == [])
            }
        }
    }

    @Test(
        "The check of a late report reads nothing, and the check of one about a pending session reads that session alone"
    )
    func pipelineFault() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await PlanStage(sessions: 10, patients: 5, therapists: 2).fill(connection)
                func tables(_ present: String, _ next: String) async throws -> [String] {
                    let arguments =
                        "\(PlanStage.id(.session, "5")), '\(present)', '\(next)', \(PlanStage.id(.pipeline, "1"))"
                    let call = HotCall("pipeline_fault", "SELECT app.pipeline_fault(\(arguments))")
                    return try await connection.plans(of: call).flatMap(\.tables)
                }
                #expect(try await tables("processed", "transcribing") == [])
                #expect(try await tables("failed", "failed") == [])
                #expect(try await tables("pending", "transcribing") == ["therapy_sessions"])
                #expect(try await tables("failed", "pending") == ["users"])
            }
        }
    }

    @Test("The test recognizes a plan that scans a whole table, by its index too, and a compiled plan")
    func canFail() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await PlanStage(sessions: 10, patients: 5, therapists: 2).fill(connection)
                try await connection.executeScript(
                    """
                    CREATE FUNCTION app.scan() RETURNS bigint LANGUAGE plpgsql AS $$
                    BEGIN RETURN (SELECT count(*) FROM app.session_progress); END $$;
                    CREATE FUNCTION app.sort() RETURNS bigint LANGUAGE plpgsql SET enable_seqscan = off SET enable_sort = off AS $$
                    BEGIN RETURN (SELECT count(*) FROM (SELECT FROM app.users ORDER BY id OFFSET 0) AS u); END $$
                    """)
                let plans = try await connection.plans(of: HotCall("scan", "SELECT app.scan()"))
                #expect(plans.flatMap(\.wholeScans) == ["session_progress"])
                let sorted = try await connection.plans(of: HotCall("sort", "SELECT app.sort()"))
                #expect(sorted.flatMap(\.wholeScans) == ["users"])
                let hasCompiler = try await connection.query("SELECT pg_jit_available()")[0].decode(0, as: Bool.self)
                #expect(plans.contains { $0.isCompiled } == hasCompiler)
            }
        }
    }
}

/// A statement as the server sends it.
private struct HotCall {
    let name: String
    let sql: String
    /// The acting user of a plain statement, as SQL; nil for a call of functions.
    let user: String?

    init(_ name: String, _ sql: String, user: String? = nil) {
        self.name = name
        self.sql = sql
        self.user = user
    }

    private static let user = PlanStage.id(.therapist, "2")
    private static let admin = PlanStage.id(.admin, "1")
    private static let token = "sha256(\(user)::text::bytea)"
    private static let newToken = "sha256('new')"
    private static let segments = #"[{"start": 0, "end": 1, "text": "a"}]"#
    /// A session without a lease, and one whose lease stands; both are being transcribed.
    private static let unleased = PlanStage.id(.session, "5")
    private static let leased = PlanStage.id(.session, "8")
    /// A session with a transcript and notes.
    private static let processed = PlanStage.id(.session, "9")
    private static let sessions = "ARRAY[\(PlanStage.id(.session, "5")), \(PlanStage.id(.session, "6"))]"
    private static let users = "ARRAY[\(user), \(user)]"
    private static let patients = "ARRAY[\(PlanStage.id(.patient, "1")), \(PlanStage.id(.patient, "2"))]"
    private static let pipeline = "ARRAY[\(PlanStage.id(.pipeline, "1"))]"
    private static let now = "pg_current_snapshot()::text"
    /// A position before all transactions: everything is new after it.
    private static let ancient = "'3:3:'"

    /// Reports of one caller about two sessions.
    static let reportBatch = HotCall(
        "report_progress_batch",
        """
        SELECT * FROM app.report_progress_batch(
            \(pipeline), \(pipeline), ARRAY[1, 1], \(sessions), ARRAY['transcribed', 'processed'], ARRAY[60, 100],
            ARRAY['now', 'now'], ARRAY[NULL, NULL], ARRAY[NULL, NULL]::integer[], ARRAY[NULL, NULL]::integer[],
            ARRAY[NULL, 'a'], ARRAY[true, true], true)
        """)

    static let all = [
        HotCall("partial_transcript", "SELECT * FROM app.partial_transcript(\(PlanStage.id(.session, "5")))"),
        HotCall("read_changes", "SELECT * FROM app.read_changes(\(sessions), ARRAY[1, 9]::bigint[], \(now))"),
        HotCall("read_rights", "SELECT * FROM app.read_rights(\(now))"),
        HotCall("read_rights, all", "SELECT count(*) FROM app.read_rights(\(ancient))"),
        HotCall("read_hints", "SELECT * FROM app.read_hints(\(now), \(now), 20000)"),
        HotCall("read_hints, all", "SELECT count(*) FROM app.read_hints(\(ancient), \(now), 20000)"),
        HotCall("read_transitions", "SELECT * FROM app.read_transitions(\(sessions), ARRAY[1, 2]::bigint[], 1000)"),
        HotCall("read_feed", "SELECT * FROM app.read_feed(\(now), \(sessions), \(now))"),
        HotCall("read_feed, all", "SELECT count(*) FROM app.read_feed(\(ancient), \(sessions), \(ancient))"),
        HotCall("read_missed", "SELECT * FROM app.read_missed(\(now), \(now), \(patients), 10001)"),
        HotCall("read_missed, all", "SELECT count(*) FROM app.read_missed(\(ancient), \(now), NULL, 10001)"),
        HotCall("read_missed, old", "SELECT count(*) FROM app.read_missed(\(ancient), \(now), \(patients), 10001)"),
        HotCall("read_missed_deletions", "SELECT * FROM app.read_missed_deletions(\(now), \(now), \(patients))"),
        HotCall("read_revoked", "SELECT * FROM app.read_revoked(\(user), \(patients), \(sessions), \(patients))"),
        HotCall("authorize_sessions", "SELECT * FROM app.authorize_sessions(\(users), \(users), \(sessions))"),
        HotCall("authorize_caseload", "SELECT * FROM app.authorize_caseload(\(user), \(user), \(patients))"),
        HotCall(
            "authorize_caseload, admin",
            "SELECT * FROM app.authorize_caseload(\(PlanStage.id(.admin, "1")), \(PlanStage.id(.admin, "1")), NULL)"),
        HotCall(
            "admit",
            """
            SELECT * FROM app.admit(\(users), \(users), \(sessions), ARRAY['status.read', 'stream.open'],
                                    ARRAY['see', 'manage'], ARRAY['a', 'b'])
            """),
        HotCall("admit_caseload", "SELECT * FROM app.admit_caseload(\(user), \(user), 'caseload.open', 'a')"),
        HotCall("record_access", "SELECT app.record_access(\(user), \(user), 'sessions.list', true, NULL, NULL, 'a')"),
        HotCall("account_signed_in", "SELECT * FROM app.account_signed_in(\(user), \(user))"),
        HotCall("peek_ticket", "SELECT * FROM app.peek_ticket('\\x00', NULL)"),
        HotCall("claim_session", "SELECT * FROM app.claim_session('worker', '60 s')"),
        HotCall(
            "report_progress",
            "SELECT app.report_progress(\(PlanStage.id(.session, "5")), 'transcribed', 60, 'now')"),
        HotCall("report_upload", "SELECT app.report_upload(\(unleased), \(unleased), 'pending', 20, 'a', NULL)"),
        HotCall("claimed_patient", "SELECT app.claimed_patient(\(leased))"),
        HotCall("keep_lease", "SELECT app.keep_lease(\(leased), 1, '60 s', 'lease')"),
        HotCall("has_lease", "SELECT app.has_lease(\(leased), 1, 'lease')"),
        HotCall("session_language", "SELECT app.session_language(\(leased))"),
        HotCall("recording_length", "SELECT * FROM app.recording_length(\(leased))"),
        HotCall("set_length", "SELECT app.set_length(\(leased), 60, 60)"),
        HotCall("add_segments", "SELECT app.add_segments(\(leased), 1, 0, '\(segments)', 'lease')"),
        HotCall(
            "store_transcript, partial",
            """
            SELECT app.store_transcript(
                \(leased), 1, '{"is_final": false, "duration_seconds": 2, "segments": \(segments)}', 'lease')
            """),
        HotCall(
            "store_transcript",
            #"SELECT app.store_transcript(\#(leased), 1, '{"text": "a", "segments": \#(segments)}', 'lease')"#),
        HotCall(
            "charge_upload", "SELECT * FROM app.charge_upload(gen_random_uuid(), \(user), 1, 9, 999999, 999999, '60 s')"
        ),
        HotCall("keep_upload", "SELECT app.keep_upload(\(unleased), '60 s', '0')"),
        HotCall("add_upload_bytes", "SELECT app.add_upload_bytes(\(unleased), 1, true)"),
        HotCall("end_upload", "SELECT app.end_upload(\(unleased), 1)"),
        HotCall("usual_recording_bytes", "SELECT app.usual_recording_bytes()"),
        HotCall("claim_discarded", "SELECT app.claim_discarded(100)"),
        HotCall(
            "begin_sign_in",
            "SELECT * FROM app.begin_sign_in(\(user), 'hash', \(newToken), '60 s', '60 s', 2, 'agent', '192.0.2.1')"),
        HotCall(
            "refresh_sign_in",
            "SELECT * FROM app.refresh_sign_in(\(token), \(newToken), '60 s', '60 s', '10 s', 'agent', '192.0.2.1')"),
        HotCall("end_sign_in_of", "SELECT app.end_sign_in_of(\(token))"),
        HotCall("charge_attempt", "SELECT app.charge_attempt(ARRAY[sha256('1'), sha256('2')], ARRAY[5, 5], '60 s')"),
        HotCall(
            "issue_ticket", "SELECT app.issue_ticket(\(newToken), \(user), \(user), \(leased), now(), '60 s', 9)"),
        HotCall("spend_ticket", "SELECT * FROM app.spend_ticket(\(token), NULL)"),
        reportBatch,
    ]

    /// The lists, which the server reads by plain statements as the acting user.
    static let lists =
        [
            HotCall("earlier_results", "SELECT id, bytes FROM app.earlier_results(\(processed))", user: admin),
            HotCall(
                "entries of the history",
                """
                SELECT kind, replaced_at, replaced_by, attempt, body::text AS content FROM app.result_history
                WHERE session_id = \(processed) AND id = ANY ('{9, 10}') ORDER BY id DESC
                """, user: user),
            HotCall("correct_notes", "SELECT app.correct_notes(\(processed), '{\"a\": 1}')", user: admin),
            HotCall("correct_transcript", "SELECT app.correct_transcript(\(processed), '[]')", user: admin),
            HotCall("users", #"SELECT id FROM app.users ORDER BY lower(email COLLATE "C") LIMIT 101"#, user: admin),
            HotCall(
                "patients of a therapist",
                people(
                    "p.role = 'patient' AND p.is_active",
                    from: """
                        (SELECT u.* FROM app.acting_patients('upload') AS a (id) CROSS JOIN LATERAL (
                            SELECT id, email, full_name, role, is_active FROM app.users WHERE id = a.id OFFSET 0) AS u)
                        """),
                user: user),
            HotCall(
                "patients of an administrator",
                people(
                    """
                    p.role = 'patient' AND p.is_active AND ((SELECT app.acting_may_all('upload'))
                        OR p.id = ANY (ARRAY(SELECT app.acting_patients('upload'))))
                    """), user: admin),
            HotCall(
                "therapists of a patient",
                people("p.role = 'therapist' AND p.is_active AND p.id = ANY (ARRAY(SELECT app.acting_therapists()))"),
                user: PlanStage.id(.patient, "1")),
        ] + sessionLists

    /// The newest records that fulfil a condition, as an administrator reads them.
    static func audit(_ condition: String) -> HotCall {
        HotCall(
            "audit, \(condition)",
            "SELECT id, at FROM app.audit_log WHERE \(condition) ORDER BY at DESC, id DESC LIMIT 51", user: admin)
    }

    private static func people(_ condition: String, from accounts: String = "app.users") -> String {
        """
        SELECT p.id FROM \(accounts) AS p CROSS JOIN (SELECT app.searchable(NULL) AS words OFFSET 0) AS q
        WHERE \(condition) AND (q.words IS NULL OR strpos(app.searchable(p.full_name), q.words) > 0)
        ORDER BY lower(p.full_name), p.id LIMIT 51
        """
    }

    /// The lists of sessions but a search through all of them, which reads the whole table.
    static let sessionLists: [HotCall] = [
        ("of an administrator", "NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, 51, true", admin),
        ("by session_date", "NULL, NULL, NULL, NULL, NULL, true, NULL, NULL, 51, true", admin),
        ("of a status", "'{transcribing}', NULL, NULL, NULL, NULL, false, NULL, NULL, 51, false", admin),
        ("of two, by session_date", "'{pending,failed}', NULL, NULL, NULL, NULL, true, NULL, NULL, 51, false", admin),
        ("on a later page", "NULL, NULL, NULL, NULL, NULL, false, now(), \(processed), 51, false", admin),
        ("of a period", "NULL, NULL, NULL, now() - interval '1 day', now(), false, NULL, NULL, 51, false", admin),
        (
            "of a period, by session_date",
            "NULL, NULL, NULL, now() - interval '1 day', now(), true, NULL, NULL, 51, true", admin
        ),
        ("of a patient", "NULL, \(PlanStage.id(.patient, "1")), NULL, NULL, NULL, false, NULL, NULL, 51, true", admin),
        ("of a therapist", "NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, 51, true", user),
        ("of a therapist, searched", "'{processed}', NULL, 'test', NULL, NULL, true, NULL, NULL, 51, true", user),
        ("of all patients", "NULL, NULL, NULL, NULL, NULL, false, NULL, NULL, 51, true", PlanStage.id(.therapist, "0")),
        (
            "of all patients, on a later page", "NULL, NULL, NULL, NULL, NULL, true, now(), \(processed), 51, false",
            PlanStage.id(.therapist, "0")
        ),
        (
            "of all patients, of a period",
            "NULL, NULL, NULL, now() - interval '1 day', now(), false, NULL, NULL, 51, true",
            PlanStage.id(.therapist, "0")
        ),
    ].map { list($0, $1, $2) }

    /// Searches through all sessions: one that finds few, and one that finds all.
    static let searches: [HotCall] = [
        ("with a rare word", "NULL, NULL, 'qqq', NULL, NULL, false, NULL, NULL, 51, true", admin),
        ("with a frequent word", "NULL, NULL, 'session', NULL, NULL, false, NULL, NULL, 51, true", admin),
        ("with a frequent name", "NULL, NULL, 'test', NULL, NULL, true, NULL, NULL, 51, true", admin),
    ].map { list($0, $1, $2) }

    private static func list(_ name: String, _ arguments: String, _ user: String) -> HotCall {
        HotCall(
            "sessions \(name)",
            """
            SELECT n.counted_status, n.counted_sessions, n.patient_name, t.id, p.status
            FROM app.list_sessions(\(arguments)) n
            LEFT JOIN LATERAL (SELECT * FROM app.therapy_sessions s WHERE s.id = n.session_id OFFSET 0) t ON true
            LEFT JOIN LATERAL (SELECT * FROM app.session_progress s WHERE s.session_id = n.session_id OFFSET 0) p ON true
            WHERE n.counted_status IS NOT NULL OR t.id IS NOT NULL AND p.session_id IS NOT NULL
            ORDER BY n.place
            """, user: user)
    }
}

/// The users and sessions for the plans.
///
/// Every session has five transitions, and one in a thousand is in progress. Therapist 0 has all patients.
private struct PlanStage {
    var sessions: Int
    var patients: Int
    var therapists: Int

    enum Kind: Int { case session = 1, patient, therapist, admin, pipeline }

    /// The id of the nth of a kind, as SQL.
    static func id(_ kind: Kind, _ number: String) -> String {
        "('00000000-0000-4000-800\(kind.rawValue)-' || lpad((\(number))::text, 12, '0'))::uuid"
    }

    /// Fills the tables without triggers and without autovacuum.
    func fill(_ connection: PostgresConnection) async throws {
        let session = Self.id(.session, "g")
        let patient = Self.id(.patient, "1 + g % \(patients)")
        let therapist = Self.id(.therapist, "1 + g % \(therapists)")
        try await connection.executeScript(
            """
            DO $$
            DECLARE
                name regclass;
            BEGIN
                FOR name IN SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' LOOP
                    EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', name);
                END LOOP;
            END $$;
            SET session_replication_role = replica;
            INSERT INTO app.users (id, email, full_name, role)
            SELECT u.id, u.id || '@test.example', 'Test Person', u.role FROM (
                SELECT \(Self.id(.patient, "g")), 'patient' FROM generate_series(1, \(patients)) AS g
                UNION ALL SELECT \(Self.id(.therapist, "g")), 'therapist' FROM generate_series(0, \(therapists)) AS g
                UNION ALL SELECT \(Self.id(.admin, "1")), 'admin'
                UNION ALL SELECT \(Self.id(.pipeline, "1")), 'pipeline') AS u (id, role)
            ON CONFLICT DO NOTHING;
            INSERT INTO app.auth_sessions (id, user_id, expires_at) SELECT id, id, now() + interval '1 day' FROM app.users
            ON CONFLICT DO NOTHING;
            INSERT INTO app.therapist_patients (therapist_id, patient_id)
            SELECT \(therapist), \(patient) FROM generate_series(1, \(patients)) AS g
            UNION ALL SELECT \(Self.id(.therapist, "0")), \(patient) FROM generate_series(1, \(patients)) AS g
            ON CONFLICT DO NOTHING;
            INSERT INTO app.therapy_sessions (id, patient_id, recording)
            SELECT \(session), \(patient), 'recording ' || g FROM generate_series(1, \(sessions)) AS g
            ON CONFLICT DO NOTHING;
            INSERT INTO app.session_progress (session_id, status, progress, version)
            SELECT \(session), CASE g % 1000 WHEN 5 THEN 'transcribing' WHEN 6 THEN 'transcribed' WHEN 7 THEN 'pending'
                                            WHEN 8 THEN 'transcribing' ELSE 'processed' END, 50, 5
            FROM generate_series(1, \(sessions)) AS g ON CONFLICT DO NOTHING;
            INSERT INTO app.session_list (session_id, patient_id, status, created_at, held_at, filename)
            SELECT p.session_id, t.patient_id, p.status, t.created_at, t.created_at, 'session'::bytea
            FROM app.session_progress p JOIN app.therapy_sessions t ON t.id = p.session_id ON CONFLICT DO NOTHING;
            DELETE FROM app.session_counts;
            DELETE FROM app.session_day_counts;
            INSERT INTO app.session_counts SELECT l.patient_id, l.status, count(*) FROM app.session_list l GROUP BY 1, 2;
            INSERT INTO app.session_day_counts
            SELECT (l.held_at AT TIME ZONE 'UTC')::date, l.status, count(*) FROM app.session_list l GROUP BY 1, 2;
            INSERT INTO app.session_events (session_id, version, attempt, status, progress, at, xid)
            SELECT \(session), v, 1, 'pending', 0, now(), (3 + g % 400)::text::xid8
            FROM generate_series(1, \(sessions)) AS g, generate_series(1, 5) AS v ON CONFLICT DO NOTHING;
            INSERT INTO app.session_leases (session_id, patient_id)
            SELECT \(session), \(patient) FROM generate_series(5, \(sessions), 1000) AS g
            ON CONFLICT DO NOTHING;
            INSERT INTO app.session_leases (session_id, patient_id, attempt, lease_hash, leased_until)
            SELECT \(session), \(patient), 1, app.lease_digest('lease'), now() + interval '1 day'
            FROM generate_series(8, \(sessions), 1000) AS g ON CONFLICT DO NOTHING;
            INSERT INTO app.transcript_segments (session_id, number, attempt, body)
            SELECT \(session), n, 1, '{}' FROM generate_series(5, \(sessions), 1000) AS g, generate_series(0, 99) AS n
            ON CONFLICT DO NOTHING;
            INSERT INTO app.patient_turns (patient_id) SELECT \(patient) FROM generate_series(1, \(patients)) AS g;
            -- A claim comes to a row that is out of date, then to a session that waits. All other rows come after it.
            INSERT INTO app.patient_queue (patient_id, served_at, queued_at)
            SELECT gen_random_uuid(), 'infinity'::timestamptz, now() FROM generate_series(1, \(patients))
            UNION ALL SELECT \(patient), '-infinity', now() FROM generate_series(5, 5) AS g
            UNION ALL SELECT \(patient), app.patient_served_at(\(patient)), now() FROM generate_series(7, 7) AS g;
            INSERT INTO app.session_leases (session_id, patient_id) SELECT \(session), \(patient) FROM generate_series(7, 7) AS g
            ON CONFLICT DO NOTHING;
            INSERT INTO app.deleted_sessions (session_id, patient_id, xid)
            SELECT gen_random_uuid(), \(patient), (3 + g % 400)::text::xid8 FROM generate_series(1, \(sessions / 10)) AS g;
            INSERT INTO app.hint_log (xid, session_id, version)
            SELECT (3 + g % 400)::text::xid8, \(session), 5 FROM generate_series(1, \(sessions)) AS g;
            INSERT INTO app.rights_log (xid, user_id, patient_id)
            SELECT (3 + g % 400)::text::xid8, \(therapist), \(patient) FROM generate_series(1, \(sessions / 10)) AS g;
            INSERT INTO app.audit_log (action, user_id, auth_session_id, session_id, patient_id)
            SELECT 'status.read', \(therapist), \(therapist), \(session), \(patient)
            FROM generate_series(1, \(sessions)) AS g;
            INSERT INTO app.transcripts (session_id, attempt, body)
            SELECT \(session), 1, '{}' FROM generate_series(1, \(sessions)) AS g WHERE g % 1000 NOT IN (5, 8)
            ON CONFLICT DO NOTHING;
            INSERT INTO app.notes (session_id, attempt, body)
            SELECT \(session), 1, '{}' FROM generate_series(1, \(sessions)) AS g WHERE g % 1000 NOT IN (5, 6, 8)
            ON CONFLICT DO NOTHING;
            INSERT INTO app.result_history (session_id, kind, attempt, body, stored_at)
            SELECT \(session), 'notes', 1, '{}', now() FROM generate_series(1, \(sessions)) AS g;
            INSERT INTO app.stage_failures (session_id, attempt, stage, output_tail)
            SELECT \(session), 1, 'notes', '' FROM generate_series(1, \(sessions)) AS g;
            INSERT INTO app.discarded_recordings (recording, removed_at)
            SELECT 'discarded ' || g, now() FROM generate_series(1, \(sessions)) AS g ON CONFLICT DO NOTHING;
            INSERT INTO app.refresh_tokens (token_hash, auth_session_id, expires_at)
            SELECT sha256(id::text::bytea), id, expires_at FROM app.auth_sessions ON CONFLICT DO NOTHING;
            INSERT INTO app.stream_tickets (ticket_hash, auth_session_id, access_expires_at, expires_at)
            SELECT sha256(id::text::bytea), id, expires_at, expires_at FROM app.auth_sessions ON CONFLICT DO NOTHING;
            INSERT INTO app.attempt_limits (subject, clear_at)
            SELECT sha256(g::text::bytea), now() FROM generate_series(1, \(sessions)) AS g ON CONFLICT DO NOTHING;
            INSERT INTO app.upload_charges (id, user_id, bytes)
            SELECT \(session), \(therapist), 1 FROM generate_series(1, \(sessions)) AS g ON CONFLICT DO NOTHING;
            INSERT INTO app.resumable_uploads (id, session_id, patient_id, user_id, metadata, length, state, expires_at)
            SELECT \(session), \(session), \(patient), \(therapist), '', 1, 'ended', now()
            FROM generate_series(1, \(sessions)) AS g ON CONFLICT DO NOTHING;
            RESET session_replication_role
            """)
    }
}

/// A plan in the output of auto_explain.
private struct StatementPlan: Decodable {
    private let text: String
    private let root: Node
    private let compilation: Compilation?

    private enum CodingKeys: String, CodingKey {
        case text = "Query Text"
        case root = "Plan"
        case compilation = "JIT"
    }

    private struct Compilation: Decodable {}

    private struct Node: Decodable {
        let type: String
        let table: String?
        let index: String?
        let indexCondition: String?
        let children: [Node]?

        private enum CodingKeys: String, CodingKey {
            case type = "Node Type"
            case table = "Relation Name"
            case index = "Index Name"
            case indexCondition = "Index Cond"
            case children = "Plans"
        }

        /// This node, and all below it.
        var all: [Node] { [self] + (children ?? []).flatMap(\.all) }

        /// The tables that this node and those below it read from their beginning to their end.
        ///
        /// An index without a condition gives the whole table in its order. Below a limit, the reading ends early. The index of
        /// unfinished sessions has only the rows that a reader of all of them needs.
        var wholeScans: [String] {
            let isWholeIndex = indexCondition == nil && index != nil && index != "session_progress_unfinished_idx"
            return (type == "Seq Scan" || isWholeIndex ? [table].compactMap(\.self) : [])
                + (type == "Limit" ? [] : (children ?? []).flatMap(\.wholeScans))
        }
    }

    /// The tables that the plan scans whole.
    var wholeScans: [String] { root.wholeScans }
    /// The tables that the plan reads.
    var tables: [String] { root.all.compactMap(\.table) }
    /// The indexes that the plan uses on a table or on its partitions, whose names begin with the table's.
    func indexes(onTable table: String) -> [String] { root.all.compactMap(\.index).filter { $0.hasPrefix(table) } }
    /// How the plan reads a table where it uses none of its indexes.
    func scansWithoutIndex(ofTable table: String) -> [String] {
        root.all.filter { $0.table == table && $0.index == nil }.map(\.type)
    }
    /// Whether PostgreSQL would compile the plan.
    var isCompiled: Bool { compilation != nil }

    func isOf(_ sql: String) -> Bool { text == sql }
}

extension PostgresConnection {
    /// Runs a statement and rolls it back.
    ///
    /// - Returns: The plans of the statements in its functions and their triggers; with an acting user, the plan of the
    ///   statement itself too.
    fileprivate func plans(of call: HotCall) async throws -> [StatementPlan] {
        try await executeScript(
            """
            LOAD 'auto_explain';
            SET auto_explain.log_nested_statements = on;
            SET auto_explain.log_min_duration = 0;
            SET auto_explain.log_format = json;
            SET jit = on;
            SET jit_above_cost = 0;
            SET client_min_messages = log;
            BEGIN
            """)
        if let user = call.user {
            try await executeScript(
                """
                SET LOCAL ROLE therapybridge_server;
                SELECT set_config('app.user_id', (\(user))::text, true),
                       set_config('app.sign_in_id', (\(user))::text, true)
                """)
        }
        if call.user == nil {
            _ = try await query(PostgresQuery(unescaped: call.sql))
        } else {
            // As a script, since auto_explain prints the plan of a prepared statement only when the next one begins.
            try await executeScript(call.sql)
        }
        let notices = await lastNotices()
        try await executeScript("ROLLBACK; RESET client_min_messages; RESET auto_explain.log_min_duration")
        try #require(notices.count < 64, "\(call.name): the connection keeps no more")
        return try notices.compactMap { notice in
            guard let start = notice.message.range(of: "plan:\n") else { return nil }
            return try JSONDecoder().decode(StatementPlan.self, from: Data(notice.message[start.upperBound...].utf8))
        }.filter { call.user != nil || !$0.isOf(call.sql) }
    }
}
