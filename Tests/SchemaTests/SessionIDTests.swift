import Domain
import Postgres
import PostgresTestSupport
import Store
import TestSupport
import Testing

/// The ids of sessions: no session gets the id of a deleted one, from any writer.
@Suite(.deadline) struct SessionIDTests {
    @Test("A new session cannot have the id of a deleted one, of the same or another patient")
    func reused() async throws {
        try await withDatabase { database in
            let patients = [try await database.addUser(.patient), try await database.addUser(.patient)]
            let session = try await database.addSession(of: patients[0])
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
            // The streams need the row with the patient for a while only. The id stays.
            try await database.query("SELECT app.delete_expired_deletions(interval '-1 second')")
            #expect(try await database.query("SELECT FROM app.deleted_sessions").isEmpty)
            for patient in patients {
                for rest in ["", " ON CONFLICT DO NOTHING"] {
                    let state = try await database.withConnection {
                        try await $0.refusal(
                            of: """
                                INSERT INTO app.therapy_sessions (id, patient_id)
                                VALUES (\(session), \(patient))\(unescaped: rest)
                                """)
                    }
                    #expect(state == .deletedSessionID)
                }
            }
            let other = try await database.addSession(of: patients[1])
            let moved = try await database.withConnection {
                try await $0.refusal(of: "UPDATE app.therapy_sessions SET id = \(session) WHERE id = \(other)")
            }
            #expect(moved != nil)
            #expect(try await database.query("SELECT FROM app.therapy_sessions WHERE id = \(session)").isEmpty)
        }
    }

    /// The race between a deletion and an INSERT with the same id.
    ///
    /// The INSERT waits for the deletion, whose commit then frees the primary key. A check before the wait would find nothing.
    @Test("An INSERT that has waited for the deletion of its id is refused")
    func race() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let session = try await database.addSession(of: patient)
            try await database.withConnection { deleter in
                try await deleter.executeScript("BEGIN")
                _ = try await deleter.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
                async let state = database.withConnection { inserter in
                    try await inserter.refusal(
                        of: "INSERT INTO app.therapy_sessions (id, patient_id) VALUES (\(session), \(patient))")
                }
                try await database.untilSomeoneWaitsForALock()
                try await deleter.executeScript("COMMIT")
                #expect(try await state == .deletedSessionID)
            }
        }
    }

    @Test(
        "An INSERT whose snapshot is older than the deletion of its id is refused",
        arguments: ["REPEATABLE READ", "SERIALIZABLE"])
    func oldSnapshot(level: String) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let session = try await database.addSession(of: patient)
            try await database.withConnection { connection async throws in
                try await connection.executeScript("BEGIN ISOLATION LEVEL \(level)")
                // The snapshot is that of the first statement.
                _ = try await connection.query("SELECT FROM app.users")
                try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(session)")
                #expect(
                    try await connection.refusal(
                        of: "INSERT INTO app.therapy_sessions (id, patient_id) VALUES (\(session), \(patient))")
                        == .deletedSessionID)
            }
        }
    }

    @Test(
        "At every isolation level, a session with a new id can be added",
        arguments: ["REPEATABLE READ", "SERIALIZABLE"])
    func fresh(level: String) async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            try await database.withConnection { connection async throws in
                try await connection.executeScript("BEGIN ISOLATION LEVEL \(level)")
                _ = try await connection.query("INSERT INTO app.therapy_sessions (patient_id) VALUES (\(patient))")
                try await connection.executeScript("COMMIT")
            }
            #expect(try await database.query("SELECT FROM app.therapy_sessions").count == 1)
            #expect(try await database.query("SELECT FROM app.deleted_session_ids").isEmpty)
        }
    }

    /// Only an operator can change an id, and only of a session to which no other row refers.
    @Test("A session whose id changes leaves an id that no session gets again, and cannot get the id of a deleted one")
    func changed() async throws {
        try await withDatabase { database in
            let patient = try await database.addUser(.patient)
            let deleted = try await database.addSession(of: patient)
            try await database.query("DELETE FROM app.therapy_sessions WHERE id = \(deleted)")
            let (old, new) = (try await database.addSession(of: patient), SessionID.random())
            try await database.withConnection { connection in
                _ = try await connection.query("DELETE FROM app.session_events WHERE session_id = \(old)")
                _ = try await connection.query("DELETE FROM app.session_progress WHERE session_id = \(old)")
                let taken = try await connection.refusal(
                    of: "UPDATE app.therapy_sessions SET id = \(deleted) WHERE id = \(old)")
                #expect(taken == .deletedSessionID)
                _ = try await connection.query("UPDATE app.therapy_sessions SET id = \(new) WHERE id = \(old)")
                let added = try await connection.refusal(
                    of: "INSERT INTO app.therapy_sessions (id, patient_id) VALUES (\(old), \(patient))")
                #expect(added == .deletedSessionID)
            }
        }
    }

    @Test("The ids of sessions that TRUNCATE removes are kept as well")
    func truncated() async throws {
        try await withDatabase { database in
            let session = try await database.addSession(of: try await database.addUser(.patient))
            try await database.query("TRUNCATE app.therapy_sessions CASCADE")
            let kept = try await database.query("SELECT session_id FROM app.deleted_session_ids")
                .map { try $0.decode(0, as: SessionID.self) }
            #expect(kept == [session])
        }
    }

    @Test(
        "No role can remove or change a kept id, not even the owner or a superuser",
        arguments: ["therapybridge_server", "therapybridge_pipeline", "owner", "postgres"],
        [
            "DELETE FROM app.deleted_session_ids", "TRUNCATE app.deleted_session_ids",
            "UPDATE app.deleted_session_ids SET session_id = gen_random_uuid()",
        ])
    func forEver(role: String, statement: String) async throws {
        try await withDatabase { database in
            try await database.withConnection(as: role == "owner" ? "postgres" : role) { connection async throws in
                if role == "owner" { try await connection.executeScript("SET ROLE therapybridge_owner") }
                #expect(
                    try await connection.refusal(of: PostgresQuery(unescaped: statement)) == .insufficientPrivilege)
            }
        }
    }

    @Test("The table of kept ids names no patient")
    func columns() async throws {
        try await withDatabase { database in
            let columns = try await database.query(
                """
                SELECT attname::text FROM pg_attribute
                WHERE attrelid = 'app.deleted_session_ids'::regclass AND attnum > 0
                """
            ).map { try $0.decode(0, as: String.self) }
            #expect(columns == ["session_id"])
        }
    }
}
