import Domain
import Postgres
import PostgresTestSupport
import TestSupport
import Testing

/// The order of turns, and the table that claims read it from.
@Suite(.deadline) struct TurnOrderTests {
    /// The rule itself is a slow query: of all sessions that a worker can claim, it sorts each.
    @Test("After any events, a claim is of the patient served longest ago, and of the oldest session", arguments: 1...4)
    func order(seed: Int) async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                try await connection.executeScript(
                    """
                    DO $test$
                    DECLARE
                        patients uuid[] := ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 6));
                        held record; claimed record; expected uuid; chance float8; claims integer := 0;
                    BEGIN
                        PERFORM setseed(0.\(seed)), app.set_max_attempts(1000);
                        INSERT INTO app.users (id, email, full_name, role)
                        SELECT p, p || '@test.example', 'Test Person', 'patient' FROM unnest(patients) p;
                        CREATE TEMP TABLE held (session_id uuid, attempt integer, lease text);
                        FOR step IN 1..400 LOOP
                            chance := random();
                            SELECT h.* INTO held FROM held h ORDER BY random() LIMIT 1;
                            IF chance < 0.3 THEN
                                INSERT INTO app.therapy_sessions (patient_id, recording)
                                VALUES (patients[1 + floor(random() * 6)::integer], gen_random_uuid()::text);
                            ELSIF chance < 0.7 THEN
                                SELECT l.session_id INTO expected
                                FROM app.session_leases l JOIN app.session_progress p USING (session_id)
                                WHERE l.worker IS NULL AND p.status = 'pending' OR l.leased_until < clock_timestamp()
                                ORDER BY (SELECT max(t.served_at) FROM app.patient_turns t
                                          WHERE t.patient_id = l.patient_id) NULLS FIRST, l.queued_at LIMIT 1;
                                SELECT * INTO claimed FROM app.claim_session('worker', '1 hour');
                                IF claimed.session_id IS DISTINCT FROM expected THEN
                                    RAISE 'step %: claimed %, expected %', step, claimed.session_id, expected;
                                ELSIF expected IS NOT NULL THEN
                                    claims := claims + 1;
                                    DELETE FROM held h WHERE h.session_id = expected;
                                    INSERT INTO held VALUES (expected, claimed.attempt, claimed.lease);
                                END IF;
                            ELSIF held IS NULL THEN
                                CONTINUE;
                            ELSIF chance < 0.8 THEN
                                PERFORM app.give_lease_back(
                                    held.session_id, held.attempt, held.lease, keeps_place => random() < 0.5);
                            ELSIF chance < 0.85 THEN
                                UPDATE app.session_leases SET leased_until = clock_timestamp()
                                WHERE session_id = held.session_id;
                            ELSIF chance < 0.9 THEN
                                UPDATE app.therapy_sessions
                                SET patient_id = patients[1 + floor(random() * 6)::integer] WHERE id = held.session_id;
                            ELSE
                                PERFORM app.report_progress(held.session_id, 'failed', 0);
                                DELETE FROM held h WHERE h.session_id = held.session_id;
                            END IF;
                        END LOOP;
                        IF claims < 50 THEN RAISE 'only % claims', claims; END IF;
                        -- Rows that are out of date do not pile up.
                        IF (SELECT count(*) FROM app.patient_queue) > 12 THEN RAISE 'too many rows'; END IF;
                    END
                    $test$
                    """)
            }
        }
    }

    /// A claim deletes the row of a patient whose last session is done, at the moment when another session joins.
    @Test("Each session that joins the queue while others are claimed and done gets its turn")
    func joins() async throws {
        try await withDatabase { database in
            let patients = try await [database.addUser(.patient), database.addUser(.patient)]
            let joined = try await withThrowingTaskGroup(of: [SessionID].self) { group in
                for number in 0..<4 {
                    group.addTask {
                        try await database.withConnection { connection in
                            var sessions: [SessionID] = []
                            for step in 0..<40 {
                                sessions.append(
                                    try await connection.query(
                                        """
                                        INSERT INTO app.therapy_sessions (patient_id, recording)
                                        VALUES (\(patients[(step + number) % 2]), gen_random_uuid()::text) RETURNING id
                                        """)[0].decode("id", as: SessionID.self))
                            }
                            return sessions
                        }
                    }
                }
                for _ in 0..<4 {
                    group.addTask {
                        try await database.withConnection { connection in
                            var isOver = false
                            while !isOver {
                                while let claim = try await connection.claim() {
                                    _ = try await connection.query(
                                        """
                                        SELECT app.report_progress(\(claim.session), 'failed', 0, attempt => 1,
                                                                   lease => \(claim.lease))
                                        """)
                                }
                                isOver =
                                    try await connection.query(
                                        "SELECT count(*) FROM app.session_progress WHERE status = 'failed'")[0]
                                    .decode(0, as: Int64.self) == 160
                            }
                            return []
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(joined.count == 160)
            #expect(try await database.query("SELECT FROM app.session_leases").isEmpty)
        }
    }

    @Test("A patient whose row is missing waits for a turn again at the next look of the janitor")
    func restored() async throws {
        try await withDatabase { database in
            try await database.withConnection { connection in
                let session = try await connection.addSession(recording: "key")
                _ = try await connection.query("DELETE FROM app.patient_queue")
                #expect(try await connection.claim() == nil)
                _ = try await connection.query("SELECT app.fail_lapsed_sessions()")
                #expect(try await connection.claim()?.session == session)
            }
        }
    }
}
