import Domain
import Foundation
import NIOHTTP1
import Postgres
import TestSupport
import Testing

/// The second guard: where the routes' own check lets everybody in, the database still shows nothing.
@Suite(.timeLimit(.minutes(10))) struct GateRemovedTests {
    /// Everything that a session has, read and changed by its routes.
    private static let routes: [(HTTPMethod, String)] = [
        (.GET, ""), (.GET, "/events"), (.GET, "/transcript"), (.GET, "/notes"), (.GET, "/recording"),
        (.POST, "/retry"), (.DELETE, ""),
    ]

    @Test("With the routes' check taken out, strangers still get nothing and change nothing")
    func strangers() async throws {
        try await withClinic { clinic in
            let words = "a word that is the patient's alone"
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
            // It is the row that is hidden and not the route that is broken.
            let own = try await clinic.request(.GET, of: "/transcript", as: .patient)
            #expect(own.status == 200 && own.text.contains(words))
            #expect(try await clinic.request(.GET, of: "/notes", as: .patient).status == 404)
            #expect(try await clinic.request(.DELETE, of: "", as: .patient).status == 404)
            #expect(try await clinic.request(.POST, of: "/retry", as: .therapist).status == 202)
        }
    }
}

extension Clinic {
    /// Takes the check out that the routes make: whoever is signed in has every right that the question is about.
    fileprivate func letEverybodyIn() async throws {
        try await database.withConnection { connection in
            try await connection.executeScript(
                """
                ALTER FUNCTION app.open_sessions RENAME TO honest_open_sessions;
                CREATE FUNCTION app.open_sessions(user_ids uuid[], auth_session_ids uuid[], session_ids uuid[])
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
                ALTER FUNCTION app.open_sessions OWNER TO therapybridge_owner;
                GRANT EXECUTE ON FUNCTION app.open_sessions TO therapybridge_server;
                """)
        }
    }
}
