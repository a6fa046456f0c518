import Domain
import Foundation
import NIOHTTP1
import Postgres
import PostgresTestSupport
import ServerTestSupport
import TestSupport
import Testing

/// Row-level security as the second check: if a route allowed every caller, the database would still hide the rows.
@Suite(.deadline) struct GateRemovedTests {
    /// The routes that read and change the data of a session.
    private static let routes: [(HTTPMethod, String, body: String?)] = [
        (.GET, "", nil), (.GET, "/events", nil), (.GET, "/transcript", nil), (.GET, "/notes", nil),
        (.GET, "/history", nil), (.GET, "/recording", nil), (.GET, "/failure", nil), (.POST, "/retry", nil),
        (.POST, "/cancel", nil), (.PATCH, "/transcript", #"{"segments":[{"index":0,"text":"a"}]}"#),
        (.PUT, "/notes", "{}"), (.DELETE, "", nil),
    ]

    @Test("Without the check of the routes, callers without a right still get nothing and change nothing")
    func strangers() async throws {
        try await withClinic { clinic in
            let words = "a word that is the patient's alone"
            CanaryWatch.shared.plant(words)
            try await clinic.database.query(
                "UPDATE app.therapy_sessions SET filename = \(words), recording = 'key' WHERE id = \(clinic.session)")
            try await clinic.database.query(
                """
                INSERT INTO app.transcripts
                VALUES (\(clinic.session), 1, jsonb_build_object('text', \(words)::text, 'segments', '[]'::jsonb))
                """)
            try await clinic.database.query(
                "INSERT INTO app.notes VALUES (\(clinic.session), 1, jsonb_build_object('text', \(words)::text))")
            try await clinic.database.query(
                """
                INSERT INTO app.result_history (session_id, kind, attempt, body, stored_at)
                VALUES (\(clinic.session), 'notes', 1, json_build_object('text', \(words)::text), now())
                """)
            try await clinic.database.query(
                """
                INSERT INTO app.stage_failures (session_id, attempt, stage, output_tail)
                VALUES (\(clinic.session), 1, 'notes', \(words))
                """)
            try await clinic.database.report(clinic.session, .failed, 0, error: words)
            try await clinic.disableAuthorization()
            for caller in [Clinic.Caller.otherPatient, .stranger, .former, .nominal, .pipeline] {
                // A pipeline is asked for its lease.
                for (method, path, body) in Self.routes
                where caller != .pipeline || path != "/recording" && method != .PUT {
                    let headers = body == nil ? [:] : ["Content-Type": "application/json", "If-Match": "\"a\""]
                    let answer = try await clinic.request(method, of: path, as: caller, headers: headers, body: body)
                    #expect(answer.status == 404 || answer.text == #"{"items":[]}"#, "\(caller) \(method) \(path)")
                    #expect(!answer.text.contains(words), "\(caller) \(method) \(path)")
                }
            }
            // Row-level security hides the rows. The routes themselves still work.
            let own = try await clinic.request(.GET, of: "/transcript", as: .patient)
            #expect(own.status == 200)
            #expect(own.text.contains(words))
            #expect(try await clinic.request(.GET, of: "/notes", as: .patient).status == 404)
            #expect(try await clinic.request(.GET, of: "/history", as: .patient).text == #"{"items":[]}"#)
            #expect(try await clinic.request(.GET, of: "/history", as: .therapist).text.contains(words))
            #expect(try await clinic.request(.GET, of: "/failure", as: .therapist).status == 404)
            #expect(try await clinic.request(.GET, of: "/failure", as: .admin).text.contains(words))
            #expect(try await clinic.request(.DELETE, of: "", as: .patient).status == 404)
            #expect(try await clinic.request(.POST, of: "/retry", as: .therapist).status == 202)
        }
    }

    @Test("If every caller counts as an administrator, callers still see and change no other account")
    func accounts() async throws {
        try await withClinic { clinic in
            try await clinic.makeEveryCallerAdmin()
            for caller in [Clinic.Caller.otherPatient, .stranger, .former, .nominal, .pipeline] {
                // Each caller sees the caller's own account alone.
                let own = try await clinic.request(.GET, "/api/users", as: caller)
                #expect(own.status == 200, "\(caller)")
                #expect(own.text.contains("\(clinic.id(caller))"), "\(caller)")
                for other in Clinic.Caller.allCases where other != caller {
                    #expect(!own.text.contains("\(clinic.id(other))"), "\(caller) \(other)")
                    let one = try await clinic.request(.GET, "/api/users/\(clinic.id(other))", as: caller)
                    #expect(one.status == 404, "\(caller) \(other)")
                }
                #expect(
                    try await clinic.request(.GET, "/api/patients", as: caller).text.contains("@")
                        == (caller == .otherPatient))
                let change = try await clinic.request(
                    .PATCH, "/api/users/\(clinic.id(caller))", as: caller,
                    headers: ["Content-Type": "application/json"],
                    body: #"{"role":"admin"}"#)
                #expect(change.status == 403, "\(caller)")
                let tie = "/api/therapists/\(clinic.id(.stranger))/patients/\(clinic.id(.patient))"
                #expect(try await clinic.request(.PUT, tie, as: caller).status == 404, "\(caller)")
                let new = #"{"email":"\#(caller.rawValue)@new.example","full_name":"N","role":"admin"}"#
                #expect(try await clinic.post("/api/users", new, as: caller).status >= 400, "\(caller)")
            }
            let rows = try await clinic.database.query(
                """
                SELECT (SELECT count(*) FROM app.users WHERE role = 'admin') AS admins,
                       (SELECT count(*) FROM app.therapist_patients WHERE is_active) AS ties
                """)
            #expect(try rows[0].decode("admins", as: Int.self) == 1)
            #expect(try rows[0].decode("ties", as: Int.self) == 1)
            let all = try await clinic.request(.GET, "/api/users", as: .admin)
            #expect(Clinic.Caller.allCases.allSatisfy { all.text.contains("\(clinic.id($0))") })
        }
    }
}

extension Clinic {
    /// Makes the server believe that every signed-in caller is an administrator.
    fileprivate func makeEveryCallerAdmin() async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                ALTER FUNCTION app.account_signed_in RENAME TO original_account_signed_in;
                CREATE FUNCTION app.account_signed_in(user_id uuid, sign_in uuid)
                RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean)
                LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
                    SELECT id, email, full_name, 'admin', is_active FROM original_account_signed_in($1, $2)
                $$;
                ALTER FUNCTION app.account_signed_in OWNER TO therapybridge_owner;
                GRANT EXECUTE ON FUNCTION app.account_signed_in TO therapybridge_server;
                """)
        }
    }

    /// Disables the check of the routes: every signed-in caller has every right to every session.
    fileprivate func disableAuthorization() async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                ALTER FUNCTION app.authorize_sessions RENAME TO original_authorize_sessions;
                CREATE FUNCTION app.authorize_sessions(user_ids uuid[], auth_session_ids uuid[], session_ids uuid[])
                RETURNS TABLE (
                    ordinal bigint,
                    user_found boolean, user_active boolean, user_role text, signed_in boolean,
                    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
                    session_id uuid, status text, progress smallint, message text, error text,
                    estimated_time_remaining integer, segments integer, version bigint, attempt integer,
                    created_at timestamptz, updated_at timestamptz)
                LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
                    SELECT ordinal, true, true, 'admin', true, true, true, true, true, true, session_id, status, progress,
                           message, error, estimated_time_remaining, segments, version, attempt, created_at, updated_at
                    FROM original_authorize_sessions($1, $2, $3)
                $$;
                ALTER FUNCTION app.authorize_sessions OWNER TO therapybridge_owner;
                GRANT EXECUTE ON FUNCTION app.authorize_sessions TO therapybridge_server;
                """)
        }
    }
}
