-- Counts of sessions by status: kept by patient and by day, exact in every snapshot.
-- revision: 1
--
-- Each change of a count adds a row to app.session_count_changes, and app.fold_session_counts adds the rows up. A reader takes
-- both. The functions app.count_… read as their caller: app.list_sessions, which passes only patients that the acting user sees.
-- See decision 0043.

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL ROLE therapybridge_owner;
DO $$ BEGIN PERFORM app.enter_code('111_session_counts', 1); END $$;

-- FORCE ROW LEVEL SECURITY also binds the owner. SECURITY DEFINER functions and triggers run as the owner.
DROP POLICY IF EXISTS owner ON app.session_counts;
CREATE POLICY owner ON app.session_counts TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.session_day_counts;
CREATE POLICY owner ON app.session_day_counts TO therapybridge_owner USING (true) WITH CHECK (true);
DROP POLICY IF EXISTS owner ON app.session_count_changes;
CREATE POLICY owner ON app.session_count_changes TO therapybridge_owner USING (true) WITH CHECK (true);
REVOKE ALL ON app.session_counts, app.session_day_counts, app.session_count_changes
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;

-- The deletion of a session deletes its row of session_list last.
CREATE OR REPLACE FUNCTION app.count_deletion() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    INSERT INTO session_count_changes (patient_id, held_at, left_status) VALUES (OLD.patient_id, OLD.held_at, OLD.status);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.count_deletion IS 'Trigger: counts a session that was deleted';
CREATE OR REPLACE TRIGGER count_deletion AFTER DELETE ON app.session_list
    FOR EACH ROW EXECUTE FUNCTION app.count_deletion();

CREATE OR REPLACE FUNCTION app.count_nothing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, app, pg_temp AS $$
BEGIN
    DELETE FROM session_counts;
    DELETE FROM session_day_counts;
    DELETE FROM session_count_changes;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION app.count_nothing IS 'Trigger: all sessions were removed by TRUNCATE';
CREATE OR REPLACE TRIGGER count_nothing AFTER TRUNCATE ON app.session_list
    FOR EACH STATEMENT EXECUTE FUNCTION app.count_nothing();

-- A reader sees either the changes or their sum, because both change in one commit. No report waits: it only adds rows.
CREATE OR REPLACE FUNCTION app.fold_session_counts() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    folded bigint;
    patients uuid[];
    days date[];
BEGIN
    -- The letters "TherapyC". Another server adds up at this moment, and leaves nothing to do.
    IF NOT pg_try_advisory_xact_lock(x'5468657261707943'::bigint) THEN
        RETURN 0;
    END IF;
    WITH taken AS (
        DELETE FROM session_count_changes RETURNING patient_id, held_at, left_status, entered_status
    ), change AS (
        SELECT t.patient_id, (t.held_at AT TIME ZONE 'UTC')::date AS day, s.status, sum(s.n) AS n
        FROM taken t CROSS JOIN LATERAL (VALUES (t.entered_status, 1), (t.left_status, -1)) AS s (status, n)
        WHERE s.status IS NOT NULL GROUP BY 1, 2, 3
    ), of_patients AS (
        INSERT INTO session_counts AS c (patient_id, status, sessions)
        SELECT n.patient_id, n.status, sum(n.n) FROM change n GROUP BY n.patient_id, n.status
        ON CONFLICT ON CONSTRAINT session_counts_pkey DO UPDATE SET sessions = c.sessions + excluded.sessions
        RETURNING c.patient_id, c.sessions
    ), of_days AS (
        INSERT INTO session_day_counts AS c (day, status, sessions)
        SELECT n.day, n.status, sum(n.n) FROM change n GROUP BY n.day, n.status
        ON CONFLICT ON CONSTRAINT session_day_counts_pkey DO UPDATE SET sessions = c.sessions + excluded.sessions
        RETURNING c.day, c.sessions
    )
    SELECT (SELECT count(*) FROM taken), ARRAY(SELECT c.patient_id FROM of_patients c WHERE c.sessions = 0),
           ARRAY(SELECT c.day FROM of_days c WHERE c.sessions = 0)
    INTO folded, patients, days;
    -- Otherwise each patient and each day would have a row for each status in the end.
    DELETE FROM session_counts c WHERE c.patient_id = ANY (patients) AND c.sessions = 0;
    DELETE FROM session_day_counts c WHERE c.day = ANY (days) AND c.sessions = 0;
    RETURN folded;
END
$$;
COMMENT ON FUNCTION app.fold_session_counts IS
    'Adds the changes of the counts up, and returns how many there were. One server at a time does this';

CREATE OR REPLACE FUNCTION app.count_by_patient(patients uuid[]) RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
        SELECT c.status, sum(c.n)::bigint FROM (
            SELECT t.status::text, t.sessions AS n FROM session_counts t WHERE t.patient_id = ANY ($1)
            UNION ALL
            SELECT s.status::text, s.n FROM session_count_changes n
            CROSS JOIN LATERAL (VALUES (n.entered_status, 1), (n.left_status, -1)) AS s (status, n)
            WHERE n.patient_id = ANY ($1)) AS c
        WHERE c.status IS NOT NULL
        GROUP BY c.status;
END
$$;
COMMENT ON FUNCTION app.count_by_patient IS 'How many sessions of the patients have each status';

CREATE OR REPLACE FUNCTION app.count_by_day(since timestamptz, until timestamptz)
RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    -- The days that the period has from their beginning to their end are in the table. The rest is counted in session_list.
    morning CONSTANT timestamp := $1 AT TIME ZONE 'UTC';
    evening CONSTANT timestamp := $2 AT TIME ZONE 'UTC';
    first_day CONSTANT date := CASE WHEN morning = morning::date THEN morning::date ELSE morning::date + 1 END;
    last_day CONSTANT date := greatest(first_day, evening::date);
    first_moment CONSTANT timestamptz := least(first_day::timestamp AT TIME ZONE 'UTC', $2);
    last_moment CONSTANT timestamptz := greatest(last_day::timestamp AT TIME ZONE 'UTC', first_moment);
BEGIN
    RETURN QUERY
        SELECT c.status, sum(c.n)::bigint FROM (
            SELECT t.status::text, t.sessions AS n FROM session_day_counts t WHERE t.day >= first_day AND t.day < last_day
            UNION ALL
            SELECT s.status::text, s.n FROM session_count_changes n
            CROSS JOIN LATERAL (VALUES (n.entered_status, 1), (n.left_status, -1)) AS s (status, n)
            WHERE (n.held_at AT TIME ZONE 'UTC')::date >= first_day AND (n.held_at AT TIME ZONE 'UTC')::date < last_day
            UNION ALL
            SELECT s.status::text, e.n FROM unnest(ARRAY(SELECT s.status FROM statuses s)) AS s (status)
            CROSS JOIN LATERAL (
                SELECT (SELECT count(*) FROM session_list l
                        WHERE l.status = s.status AND l.held_at >= $1 AND l.held_at < first_moment)
                     + (SELECT count(*) FROM session_list l
                        WHERE l.status = s.status AND l.held_at >= last_moment AND l.held_at < $2) AS n) AS e) AS c
        WHERE c.status IS NOT NULL
        GROUP BY c.status;
END
$$;
COMMENT ON FUNCTION app.count_by_day IS 'How many of all sessions in a period of held_at have each status';

-- Few patients are read by their keys, many by the index of the period.
CREATE OR REPLACE FUNCTION app.count_in_period(patients uuid[], since timestamptz, until timestamptz)
RETURNS TABLE (status text, sessions bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, app, pg_temp
SET jit = off SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
BEGIN
    IF cardinality($1) <= 500 THEN
        RETURN QUERY
            SELECT l.status::text, count(*) FROM session_list l
            WHERE l.patient_id = ANY ($1) AND l.held_at >= $2 AND l.held_at < $3
            GROUP BY l.status;
    ELSE
        -- IS TRUE keeps the planner from a join, which would read the patients' sessions of all times.
        RETURN QUERY
            SELECT s.status, (SELECT count(*) FROM session_list l
                              WHERE l.status = s.status AND l.held_at >= $2 AND l.held_at < $3
                                AND (l.patient_id IN (SELECT unnest($1))) IS TRUE)
            FROM unnest(ARRAY(SELECT s.status FROM statuses s)) AS s (status);
    END IF;
END
$$;
COMMENT ON FUNCTION app.count_in_period IS 'How many sessions of the patients in a period of held_at have each status';

REVOKE ALL ON FUNCTION app.count_deletion, app.count_nothing, app.fold_session_counts, app.count_by_patient, app.count_by_day,
    app.count_in_period
    FROM PUBLIC, therapybridge_server, therapybridge_pipeline;
GRANT EXECUTE ON FUNCTION app.fold_session_counts TO therapybridge_server;

COMMIT;
