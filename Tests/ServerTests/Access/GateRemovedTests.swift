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
    private static let routes: [(HTTPMethod, String)] = [
        (.GET, ""), (.GET, "/events"), (.GET, "/transcript"), (.GET, "/notes"), (.GET, "/recording"),
        (.POST, "/retry"), (.DELETE, ""),
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
            try await clinic.database.report(clinic.session, .failed, 0, error: words)
            try await clinic.letEverybodyIn()
            for who in [Clinic.Who.otherPatient, .stranger, .former, .nominal, .pipeline] {
                for (method, path) in Self.routes where !(who == .pipeline && path == "/recording") {
                    let answer = try await clinic.request(method, of: path, as: who)
                    #expect(answer.status == 404 || answer.text == #"{"items":[]}"#, "\(who) \(method) \(path)")
                    #expect(!answer.text.contains(words), "\(who) \(method) \(path)")
                }
            }
            // Row-level security hides the rows. The routes themselves still work.
            let own = try await clinic.request(.GET, of: "/transcript", as: .patient)
            #expect(own.status == 200)
            #expect(own.text.contains(words))
            #expect(try await clinic.request(.GET, of: "/notes", as: .patient).status == 404)
            #expect(try await clinic.request(.DELETE, of: "", as: .patient).status == 404)
            #expect(try await clinic.request(.POST, of: "/retry", as: .therapist).status == 202)
        }
    }

    @Test("If every caller counts as an administrator, callers still see and change no other account")
    func accounts() async throws {
        try await withClinic { clinic in
            try await clinic.takeEverybodyForAdministrators()
            for who in [Clinic.Who.otherPatient, .stranger, .former, .nominal, .pipeline] {
                // Each caller sees the caller's own account alone.
                let own = try await clinic.request(.GET, "/api/users", as: who)
                #expect(own.status == 200, "\(who)")
                #expect(own.text.contains("\(clinic.id(who))"), "\(who)")
                for other in Clinic.Who.allCases where other != who {
                    #expect(!own.text.contains("\(clinic.id(other))"), "\(who) \(other)")
                    let one = try await clinic.request(.GET, "/api/users/\(clinic.id(other))", as: who)
                    #expect(one.status == 404, "\(who) \(other)")
                }
                #expect(
                    try await clinic.request(.GET, "/api/patients", as: who).text.contains("@")
                        == (who == .otherPatient))
                let change = try await clinic.request(
                    .PATCH, "/api/users/\(clinic.id(who))", as: who, headers: ["Content-Type": "application/json"],
                    body: #"{"role":"admin"}"#)
                #expect(change.status == 403, "\(who)")
                let tie = "/api/therapists/\(clinic.id(.stranger))/patients/\(clinic.id(.patient))"
                #expect(try await clinic.request(.PUT, tie, as: who).status == 404, "\(who)")
                let new = #"{"email":"\#(who.rawValue)@new.example","full_name":"N","role":"admin"}"#
                #expect(try await clinic.post("/api/users", new, as: who).status >= 400, "\(who)")
            }
            let rows = try await clinic.database.query(
                """
                SELECT (SELECT count(*) FROM app.users WHERE role = 'admin') AS admins,
                       (SELECT count(*) FROM app.therapist_patients WHERE is_active) AS ties
                """)
            #expect(try rows[0].decode("admins", as: Int.self) == 1)
            #expect(try rows[0].decode("ties", as: Int.self) == 1)
            let all = try await clinic.request(.GET, "/api/users", as: .admin)
            #expect(Clinic.Who.allCases.allSatisfy { all.text.contains("\(clinic.id($0))") })
        }
    }
}

extension Clinic {
    /// Makes the server believe that every signed-in caller is an administrator.
    fileprivate func takeEverybodyForAdministrators() async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                ALTER FUNCTION app.account_signed_in RENAME TO honest_account_signed_in;
                CREATE FUNCTION app.account_signed_in(user_id uuid, sign_in uuid)
                RETURNS TABLE (id uuid, email text, full_name text, role text, is_active boolean)
                LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
                    SELECT id, email, full_name, 'admin', is_active FROM honest_account_signed_in($1, $2)
                $$;
                ALTER FUNCTION app.account_signed_in OWNER TO therapybridge_owner;
                GRANT EXECUTE ON FUNCTION app.account_signed_in TO therapybridge_server;
                """)
        }
    }

    /// Disables the check of the routes: every signed-in caller has every right to every session.
    fileprivate func letEverybodyIn() async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                ALTER FUNCTION app.authorize_sessions RENAME TO honest_open_sessions;
                CREATE FUNCTION app.authorize_sessions(user_ids uuid[], auth_session_ids uuid[], session_ids uuid[])
                RETURNS TABLE (
                    ordinal bigint,
                    user_found boolean, user_active boolean, user_role text, signed_in boolean,
                    session_found boolean, is_patient boolean, is_assigned boolean, may_see boolean, may_manage boolean,
                    session_id uuid, status text, progress smallint, message text, error text,
                    estimated_time_remaining integer, version bigint, attempt integer,
                    created_at timestamptz, updated_at timestamptz, rights_epoch bigint)
                LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
                    SELECT ordinal, true, true, 'admin', true, true, true, true, true, true, session_id, status, progress,
                           message, error, estimated_time_remaining, version, attempt, created_at, updated_at, rights_epoch
                    FROM honest_open_sessions($1, $2, $3)
                $$;
                ALTER FUNCTION app.authorize_sessions OWNER TO therapybridge_owner;
                GRANT EXECUTE ON FUNCTION app.authorize_sessions TO therapybridge_server;
                """)
        }
    }
}
