import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The privileges of the roles.
@Suite(.deadline) struct GrantTests {
    /// The functions of docs/pipeline.md, "Work by SQL".
    private static let pipelineFunctions: Set<String> = [
        "report_progress", "claim_session", "keep_lease", "store_transcript", "store_notes",
    ]

    @Test("The pipeline's role can call its five documented functions and no others")
    func pipelineFunctions() async throws {
        try await withDatabase { database in
            let callable = try await database.query(
                """
                SELECT DISTINCT proname::text FROM pg_proc
                WHERE pronamespace = 'app'::regnamespace
                  AND has_function_privilege('therapybridge_pipeline', oid, 'EXECUTE')
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(Set(callable) == Self.pipelineFunctions)
        }
    }

    @Test("The pipeline's role has no privilege on a table, column or sequence, and can create nothing")
    func pipelineTables() async throws {
        try await withDatabase { database in
            let rights = try await database.query(
                """
                SELECT c.relname::text, p.privilege FROM pg_class c
                CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
                    AS p (privilege)
                WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
                  AND (has_table_privilege('therapybridge_pipeline', c.oid, p.privilege)
                       OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                          AND has_any_column_privilege('therapybridge_pipeline', c.oid, p.privilege))
                UNION ALL
                SELECT c.relname::text, 'sequence' FROM pg_class c
                WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'S'
                  -- CASE, since PostgreSQL may otherwise ask this of what is no sequence.
                  AND CASE WHEN c.relkind = 'S'
                           THEN has_sequence_privilege('therapybridge_pipeline', c.oid, 'USAGE, SELECT, UPDATE') END
                UNION ALL
                SELECT nspname::text, 'CREATE' FROM pg_namespace
                WHERE nspname IN ('app', 'public') AND has_schema_privilege('therapybridge_pipeline', oid, 'CREATE')
                """
            ).map { try "\($0.decode(0, as: String.self)): \($0.decode(1, as: String.self))" }
            #expect(rights == [])
        }
    }

    @Test(
        "The pipeline's role reads and writes only by its functions",
        arguments: [
            "SELECT FROM app.users", "SELECT FROM app.therapy_sessions", "SELECT FROM app.session_progress",
            "SELECT FROM app.transcripts", "SELECT FROM app.notes", "SELECT FROM app.result_history",
            "SELECT app.lock_for_correction(gen_random_uuid())", "SELECT app.correct_notes(gen_random_uuid(), '{}')",
            "SELECT app.correct_transcript(gen_random_uuid(), '[]')", "UPDATE app.session_progress SET progress = 99",
            "INSERT INTO app.users (email, full_name, role) VALUES ('a@b', 'x', 'admin')",
            "SELECT app.retry_session(gen_random_uuid())",
            "SELECT app.authorize_sessions(ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()])",
            "SET ROLE therapybridge_owner", "SET ROLE therapybridge_server", "SET session_replication_role = replica",
        ])
    func pipelineStatements(statement: String) async throws {
        try await expectRefused(statement, to: "therapybridge_pipeline")
    }

    @Test(
        "The server's role writes progress only by functions, and owns nothing",
        arguments: [
            "UPDATE app.session_progress SET progress = 99", "UPDATE app.session_progress SET version = version",
            "INSERT INTO app.session_progress (session_id) VALUES (gen_random_uuid())",
            "DELETE FROM app.session_progress",
            "UPDATE app.session_events SET message = ''", "DELETE FROM app.session_events",
            "INSERT INTO app.session_events SELECT * FROM app.session_events",
            "TRUNCATE app.session_progress", "TRUNCATE app.session_events", "TRUNCATE app.therapy_sessions CASCADE",
            "ALTER TABLE app.session_progress DISABLE TRIGGER USER", "ALTER TABLE app.session_progress ADD x integer",
            "DROP TABLE app.session_events", "DROP FUNCTION app.report_progress",
            "CREATE TABLE app.mine (x integer)",
            "CREATE FUNCTION app.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "INSERT INTO app.status_transitions VALUES ('processed', 'pending')", "DELETE FROM app.status_transitions",
            "UPDATE app.statuses SET floor = 0", "SELECT FROM app.rights_log", "DELETE FROM app.rights_log",
            "UPDATE app.log_horizon SET xid = '0'",
            // Each of these reads as its caller, for any patients: only app.list_sessions may call it.
            "SELECT app.count_by_patient(NULL)", "SELECT app.count_by_day('-infinity', 'infinity')",
            "SELECT app.count_in_period('{}', '-infinity', 'infinity')", "SELECT app.search_people(NULL, 'a')",
            "SELECT app.sessions_of('{}', '{}', NULL, '-infinity', 'infinity', 1)",
            "SELECT app.search_files(NULL, '{}', 'a', '-infinity', 'infinity', 1)",
            "SELECT app.count_files(NULL, '{}', 'a', '-infinity', 'infinity', NULL)",
            "SELECT app.file_condition(true, true, true)",
            "SELECT app.sessions_between('-infinity', 'infinity', 1)", "SELECT FROM app.session_counts",
            "SELECT FROM app.session_day_counts", "SELECT FROM app.session_count_changes",
            "UPDATE app.schema_migrations SET checksum = ''", "DELETE FROM app.schema_migrations",
            "UPDATE app.schema_code SET is_stale = false", "DELETE FROM app.schema_code",
            "SELECT app.enter_code('010_access', 2)", "INSERT INTO app.roles VALUES ('owner')",
            "SELECT app.permits('admin', 'see')", "SELECT app.patients_of(gen_random_uuid(), 'therapist', 'see')",
            "SELECT app.events_since(pg_current_snapshot())", "SELECT app.deletions_since(pg_current_snapshot())",
            "INSERT INTO app.session_leases (session_id) VALUES (gen_random_uuid())",
            "UPDATE app.session_leases SET worker = 'me'", "DELETE FROM app.session_leases",
            "SELECT FROM app.transcript_segments", "INSERT INTO app.transcripts VALUES (gen_random_uuid(), 1, '{}')",
            "UPDATE app.notes SET body = '{}'", "UPDATE app.transcripts SET body = '{}'",
            "DELETE FROM app.notes", "DELETE FROM app.result_history", "UPDATE app.result_history SET body = '{}'",
            "INSERT INTO app.result_history (session_id, kind) VALUES (gen_random_uuid(), 'notes')",
            "SELECT app.require_history_room(gen_random_uuid())", "SELECT app.history_limits()",
            "UPDATE app.therapy_sessions SET patient_id = patient_id", "UPDATE app.therapy_sessions SET id = id",
            "UPDATE app.therapy_sessions SET recording = 'a'", "UPDATE app.therapy_sessions SET bytes = 1",
            "UPDATE app.therapy_sessions SET sha256 = NULL", "UPDATE app.therapy_sessions SET uploaded_by = NULL",
            "UPDATE app.therapy_sessions SET therapist_id = NULL",
            "INSERT INTO app.therapy_sessions (patient_id, recording) VALUES (gen_random_uuid(), 'a')",
            "INSERT INTO app.therapy_sessions (patient_id, sha256) VALUES (gen_random_uuid(), NULL)",
            "SELECT FROM app.discarded_recordings", "DELETE FROM app.discarded_recordings",
            "DELETE FROM app.resumable_uploads", "UPDATE app.resumable_uploads SET user_id = user_id",
            "UPDATE app.resumable_uploads SET length = length",
            "UPDATE app.resumable_uploads SET session_id = session_id",
            "INSERT INTO app.resumable_uploads (id, state) VALUES (gen_random_uuid(), 'complete')",
            "INSERT INTO app.discarded_recordings VALUES ('a')",
            "SELECT app.write_progress_batch(\(String(repeating: "NULL, ", count: 12))true)",
            "UPDATE app.users SET id = id", "UPDATE app.users SET email = email", "DELETE FROM app.users",
            "SELECT password_hash FROM app.users", "UPDATE app.users SET password_hash = NULL",
            "SELECT FROM app.auth_sessions", "UPDATE app.auth_sessions SET expires_at = 'infinity'",
            "UPDATE app.auth_sessions SET revoked_at = NULL",
            "INSERT INTO app.auth_sessions (user_id, expires_at) SELECT id, 'infinity' FROM app.users",
            "SELECT FROM app.refresh_tokens", "DELETE FROM app.refresh_tokens",
            "SELECT FROM app.stream_tickets", "DELETE FROM app.stream_tickets",
            "UPDATE app.therapist_patients SET patient_id = patient_id", "DELETE FROM app.therapist_patients",
            "SELECT app.acting_user()", "SELECT app.acting_role()", "INSERT INTO app.rights_log DEFAULT VALUES",
            "SELECT app.begin_operator_sign_in(gen_random_uuid(), '1 h')",
            "SELECT app.end_surplus_sign_ins(gen_random_uuid(), 0)",
            "SELECT FROM app.identity_providers", "INSERT INTO app.identity_providers VALUES ('mine')",
            "SELECT FROM app.password_changes", "INSERT INTO app.password_changes SELECT id FROM app.users",
            "SELECT app.is_same_hash('a', 'a')",
            "SELECT FROM app.attempt_limits", "DELETE FROM app.attempt_limits",
            "UPDATE app.attempt_limits SET clear_at = now()",
            "INSERT INTO app.audit_log (action) VALUES ('user.add')", "UPDATE app.audit_log SET is_allowed = true",
            "DELETE FROM app.audit_log",
            "SET ROLE therapybridge_owner", "SET session_replication_role = replica",
        ])
    func serverStatements(statement: String) async throws {
        try await expectRefused(statement, to: "therapybridge_server")
    }

    @Test("The server's role has no TRUNCATE, REFERENCES or TRIGGER privilege on any table")
    func serverTables() async throws {
        try await withDatabase { database in
            let rights = try await database.query(
                """
                SELECT c.relname::text FROM pg_class c
                WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p')
                  AND has_table_privilege('therapybridge_server', c.oid, 'TRUNCATE, REFERENCES, TRIGGER')
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(rights == [])
        }
    }

    @Test("The server's role can report and authorize")
    func serverCan() async throws {
        try await withDatabase { database in
            let session = try await database.withConnection { try await $0.addSession() }
            try await database.withConnection(as: "therapybridge_server") { connection async throws in
                #expect(try await connection.report(Report("transcribing", 20), session) == 2)
                #expect(
                    try await connection.query(
                        "SELECT * FROM app.authorize_sessions(\([UserID.random()]), \([SignInID.random()]), \([session]))"
                    ).count == 1)
            }
        }
    }

    @Test("PUBLIC can execute no function of the schema")
    func noPublicFunctions() async throws {
        try await withDatabase { database in
            let open = try await database.query(
                """
                SELECT p.oid::regprocedure::text FROM pg_proc p
                CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
                WHERE p.pronamespace = 'app'::regnamespace AND a.grantee = 0
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(open == [])
        }
    }

    @Test("Every SECURITY DEFINER function pins its search_path, with pg_temp at the end")
    func pinnedSearchPaths() async throws {
        try await withDatabase { database in
            let functions = try await database.query(
                """
                SELECT p.oid::regprocedure::text AS name, p.prosecdef AS is_definer,
                       coalesce((SELECT setting FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%'), '')
                           AS setting
                FROM pg_proc p WHERE p.pronamespace = 'app'::regnamespace
                """
            ).map {
                (
                    name: try $0.decode("name", as: String.self), isDefiner: try $0.decode("is_definer", as: Bool.self),
                    setting: try $0.decode("setting", as: String.self)
                )
            }
            try #require(functions.contains { $0.isDefiner })
            for function in functions where function.isDefiner {
                #expect(function.setting.hasSuffix("pg_temp"), "\(function.name)")
            }
        }
    }

    @Test("Every function that the server can call turns JIT off, unless it only calls such functions")
    func compilation() async throws {
        // app.searchable runs no statement, and PostgreSQL inlines it.
        let callers: Set = ["acting_id", "acting_may_all", "require_pipeline", "searchable"]
        try await withDatabase { database in
            let compiled = try await database.query(
                """
                SELECT DISTINCT proname::text FROM pg_proc
                WHERE pronamespace = 'app'::regnamespace
                  AND has_function_privilege('therapybridge_server', oid, 'EXECUTE')
                  AND NOT coalesce('jit=off' = ANY (proconfig), false)
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(Set(compiled) == callers)
        }
    }

    @Test("therapybridge_owner owns the schema and everything in it")
    func owner() async throws {
        try await withDatabase { database in
            let strangers = try await database.query(
                """
                SELECT relname::text FROM pg_class
                WHERE relnamespace = 'app'::regnamespace AND relowner <> 'therapybridge_owner'::regrole
                UNION ALL
                SELECT proname::text FROM pg_proc
                WHERE pronamespace = 'app'::regnamespace AND proowner <> 'therapybridge_owner'::regrole
                UNION ALL
                SELECT nspname::text FROM pg_namespace
                WHERE nspname = 'app' AND nspowner <> 'therapybridge_owner'::regrole
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(strangers == [])
        }
    }

    @Test("The roles have no attributes of the cluster, no memberships and no passwords")
    func roles() async throws {
        try await withDatabase { database in
            let roles = try await database.query(
                """
                SELECT rolname::text, rolcanlogin,
                       rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS has_powers,
                       rolpassword IS NOT NULL AS has_password,
                       EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) AS is_member
                FROM pg_authid r WHERE rolname LIKE 'therapybridge%' ORDER BY rolname
                """)
            #expect(
                try roles.decode((String, Bool).self).map { "\($0) \($1)" } == [
                    "therapybridge_owner false", "therapybridge_pipeline true", "therapybridge_server true",
                ])
            for row in roles {
                #expect(try !row.decode("has_powers", as: Bool.self))
                #expect(try !row.decode("has_password", as: Bool.self))
                #expect(try !row.decode("is_member", as: Bool.self))
            }
        }
    }

    private func expectRefused(_ statement: String, to role: String) async throws {
        try await withDatabase { database in
            _ = try await database.withConnection { try await $0.addSession() }
            try await database.withConnection(as: role) { connection async throws in
                #expect(try await connection.refusal(of: PostgresQuery(unescaped: statement)) == .insufficientPrivilege)
            }
        }
    }
}
